"""Quantisation: the weights rounded to eight bits (LLM.int8) and to four (nf4).

A change too small for the rounding is undone by it (Zhang et al. 2024, arXiv 2410.16454). The
checkpoint is loaded through bitsandbytes, which rounds the linear layers and leaves embeddings and
head; of the forget answers are measured ``fact_probability_BITS`` (``probability_BITS`` where no
facts are marked), ``extraction_strength_BITS`` and, of greedy answers, ``rouge_l_recall_BITS``.
"""

from __future__ import annotations

__all__ = ["ATTACK", "Quantise"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from letheon import models
from letheon.attacks.asking import answer_scores, encoded, probability, speak
from letheon.attacks.contract import Attack, Measured, Subject, Task
from letheon.metrics.extraction_strength import strength
from letheon.metrics.rouge import rouge_l


@dataclass(frozen=True, kw_only=True)
class Quantise(Attack):
    """``bits``: what the weights are rounded to."""

    bits: tuple[Literal["8bit", "4bit"], ...] = ("8bit", "4bit")

    def __post_init__(self) -> None:
        if not self.bits:
            raise ValueError("bits names at least one of 8bit and 4bit")

    @property
    def headline(self) -> tuple[str, ...]:
        """The probability after the coarsest rounding."""
        coarsest = min(self.bits)
        return (f"fact_probability_{coarsest}", f"probability_{coarsest}")

    def check(self, task: Task, method: Subject) -> Sequence[str]:
        """Raise ModelError without bitsandbytes, or a device for it."""
        for bits in self.bits:
            models.check_quantise(bits)
        return ()

    def measure(self, subject: Subject, task: Task) -> Measured:
        """Score the forget answers of the rounded model."""
        numbers: dict[str, Any] = {}
        texts: list[dict[str, str]] = []
        rows = encoded(task, [e.question for e in task.forget])
        prompts = [task.template.prompt_ids(task.tokenizer, e.question) for e in task.forget]
        for bits in dict.fromkeys(self.bits):
            model = task.workshop.fresh(subject.source.model_copy(update={"quantise": bits}))
            scores = answer_scores(model, task, rows)
            said = speak(model, task, prompts, f"{subject.role}: answers in {bits}")
            answers = zip(said, task.forget, strict=True)
            numbers |= {
                f"{task.probability}_{bits}": [probability(s) for s in scores],
                f"extraction_strength_{bits}": [strength(s.match) for s in scores],
                f"rouge_l_recall_{bits}": [rouge_l(t, e.answer).recall for t, e in answers],
            }
            texts += [
                {"id": e.id, "bits": bits, "said": text}
                for e, text in zip(task.forget, said, strict=True)
            ]
        return Measured(task.named({k: np.array(v) for k, v in numbers.items()}), texts)


ATTACK = Quantise
