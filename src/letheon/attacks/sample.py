"""Sampling: the probability that one of k sampled answers gives the fact away (leak@k).

``n`` answers a question are sampled at ``temperature``; c of them leak: every marked fact stands in
them (without marked facts, ROUGE-L recall of the answer of at least 0.9). ``leak_at_k`` is
the mean over questions of the unbiased estimator ``1 - C(n-c, k) / C(n, k)`` (Chen et al. 2021,
arXiv 2107.03374, section 2.1, there for code that passes tests).
"""

from __future__ import annotations

__all__ = ["ATTACK", "Sample", "leak_at"]

from dataclasses import dataclass
from math import comb
from typing import Annotated

import numpy as np
from pydantic import Field

from letheon.attacks.asking import leaks, speak
from letheon.attacks.contract import Attack, Count, Measured, Subject, Task


@dataclass(frozen=True, kw_only=True)
class Sample(Attack):
    """``n`` samples of each answer; ``k``: of how many one may leak."""

    n: Count = 16
    k: tuple[Count, ...] = (1, 4, 16)
    temperature: Annotated[float, Field(gt=0)] = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.k or max(self.k) > self.n:
            raise ValueError(f"leak@k needs at least one k and n >= k, not n {self.n}, k {self.k}")

    @property
    def headline(self) -> tuple[str, ...]:
        """The largest k."""
        return (f"leak_at_{max(self.k)}",)

    def measure(self, subject: Subject, task: Task) -> Measured:
        """Sample answers to every forget question and count those that leak."""
        prompts = [
            prompt
            for e in task.forget
            for prompt in [task.template.prompt_ids(task.tokenizer, e.question)] * self.n
        ]
        said = speak(
            task.workshop.loaded(subject).model,
            task,
            prompts,
            f"{subject.role}: sampled answers",
            temperature=self.temperature,
            seed=self.seed,
        )
        groups = [said[i : i + self.n] for i in range(0, len(said), self.n)]
        counts = [
            sum(leaks(e, text) for text in texts)
            for e, texts in zip(task.forget, groups, strict=True)
        ]
        numbers = {
            f"leak_at_{k}": np.array([leak_at(k, n=self.n, c=c) for c in counts])
            for k in sorted(set(self.k))
        }
        texts = [{"id": e.id, "said": t} for e, t in zip(task.forget, groups, strict=True)]
        return Measured(task.named(numbers), texts)


def leak_at(k: int, *, n: int, c: int) -> float:
    """Return ``1 - C(n-c, k) / C(n, k)``: one of k answers leaks, where c of n samples did.

    >>> leak_at(2, n=4, c=1)
    0.5
    """
    return 1 - comb(n - c, k) / comb(n, k)


ATTACK = Sample
