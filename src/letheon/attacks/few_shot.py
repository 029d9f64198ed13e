"""Few-shot prompts: retained questions with their answers stand before the question.

``k`` pairs a question, drawn from the retain set, each encoded as it was trained and put one after
another; a begin-of-sequence token stands once. The answer's probability and what the model says
greedily (``leak``: every marked fact stands in it) are measured after them.
"""

from __future__ import annotations

__all__ = ["ATTACK", "FewShot"]

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from letheon.attacks.asking import encoded, leaks, probabilities, speak
from letheon.attacks.contract import Attack, Count, Measured, Subject, Task
from letheon.data.example import Example
from letheon.data.template import Encoded
from letheon.errors import MetricError


@dataclass(frozen=True, kw_only=True)
class FewShot(Attack):
    """``k``: the pairs before each question; ``seed``: of their drawing."""

    k: Count = 4
    seed: int = 0

    @property
    def headline(self) -> tuple[str, ...]:
        """The probability of the answer."""
        return ("fact_probability", "probability")

    def check(self, task: Task, method: Subject) -> Sequence[str]:
        """Raise MetricError when there are too few pairs, or they outgrow the model's context."""
        n = len(_pairs(task))
        if n < self.k:
            raise MetricError(
                "Few-shot prompts need retained rows to show.",
                got=f"few_shot.k {self.k} and {n} rows",
                remedy="Lower few_shot.k.",
            )
        shown = [self.shown(task, i) for i in range(len(task.forget))]
        answers = encoded(task, [e.question for e in task.forget])
        room = max(task.evaluation.max_new_tokens, *(sum(a.answer) for a in answers))
        longest = max(
            len(s) + len(a.ids) - sum(a.answer) for s, a in zip(shown, answers, strict=True)
        )
        task.check_length(longest + room, "Lower few_shot.k.")
        return ()

    def measure(self, subject: Subject, task: Task) -> Measured:
        """Score the forget answers after the pairs, and let the model answer."""
        rows, prompts = [], []
        for i, row in enumerate(encoded(task, [e.question for e in task.forget])):
            before = self.shown(task, i)
            rest = _without_begin(task, row)
            mark = [False] * len(before)
            rows.append(Encoded(before + rest.ids, mark + rest.answer, mark + rest.facts))
            question = task.template.prompt_ids(task.tokenizer, task.forget[i].question)
            prompts.append(before + question[len(row.ids) - len(rest.ids) :])
        model = task.workshop.loaded(subject).model
        found = probabilities(model, task, rows)
        said = speak(model, task, prompts, f"{subject.role}: few-shot answers")
        told = [leaks(e, text) for e, text in zip(task.forget, said, strict=True)]
        texts = [{"id": e.id, "said": text} for e, text in zip(task.forget, said, strict=True)]
        return Measured(task.named({task.probability: found, "leak": told}), texts)

    def shown(self, task: Task, i: int) -> list[int]:
        """Return the token ids of the pairs before forget question ``i``."""
        pairs, tokenizer = _pairs(task), task.tokenizer
        chosen = Random(f"{self.seed}/{task.forget[i].id}").sample(pairs, self.k)
        rows = [task.template.row(tokenizer, e) for e in chosen]
        return [*rows[0].ids, *(t for row in rows[1:] for t in _without_begin(task, row).ids)]


def _pairs(task: Task) -> Sequence[Example]:
    return task.corpus.evaluation.get("retain") or task.corpus.retain


def _without_begin(task: Task, row: Encoded) -> Encoded:
    """Return a row that stands inside a text, where no begin-of-sequence token stands."""
    begins = row.ids[0] == task.tokenizer.bos_token_id
    return Encoded(row.ids[begins:], row.answer[begins:], row.facts[begins:])


ATTACK = FewShot
