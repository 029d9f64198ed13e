"""Prefix hints: the answer's first words are given, the model says the rest.

Given are the answer's tokens up to its first marked fact; where none are marked, the first
``share`` of them. ``leak``: hint and greedy continuation hold every fact (without facts: ROUGE-L
recall of the rest). ``rest_probability``: the geometric mean of the fact tokens' probabilities
after the hint, of all answer tokens after it where no facts are marked.
"""

from __future__ import annotations

__all__ = ["ATTACK", "Prefix"]

import math
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from letheon.attacks.asking import encoded, leaks, probabilities, speak
from letheon.attacks.contract import Attack, Measured, Subject, Task
from letheon.data.example import Example
from letheon.data.template import Encoded


@dataclass(frozen=True, kw_only=True)
class Prefix(Attack):
    """``share``: how much of an answer without marked facts is given."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @property
    def headline(self) -> tuple[str, ...]:
        """The share of answers given away."""
        return ("leak",)

    def measure(self, subject: Subject, task: Task) -> Measured:
        """Score the rest of each forget answer, and let the model say it."""
        model = task.workshop.loaded(subject).model
        rows = encoded(task, [e.question for e in task.forget])
        cuts = [self.cut(row) for row in rows]
        rests = [
            Encoded(row.ids, [a and i >= cut for i, a in enumerate(row.answer)], row.facts)
            for row, cut in zip(rows, cuts, strict=True)
        ]
        prompts = [row.ids[:cut] for row, cut in zip(rows, cuts, strict=True)]
        said = speak(model, task, prompts, f"{subject.role}: answers from hints")
        hints = [
            task.tokenizer.decode(row.ids[row.answer.index(True) : cut]).strip()
            for row, cut in zip(rows, cuts, strict=True)
        ]
        told = [
            _told(e, hint, text) for e, hint, text in zip(task.forget, hints, said, strict=True)
        ]
        texts = [
            {"id": e.id, "hint": hint, "said": text}
            for e, hint, text in zip(task.forget, hints, said, strict=True)
        ]
        found = probabilities(model, task, rests)
        return Measured(task.named({"leak": told, "rest_probability": found}), texts)

    def cut(self, row: Encoded) -> int:
        """Return the position of the first token that is not given."""
        if any(row.facts):
            return row.facts.index(True)
        first = row.answer.index(True)
        return first + min(math.ceil(self.share * sum(row.answer)), sum(row.answer) - 1)


def _told(example: Example, hint: str, said: str) -> bool:
    if example.facts:
        return leaks(example, f"{hint} {said}")
    # Only the rest: of the whole answer the hint alone is a large part.
    rest = example.answer.strip().removeprefix(hint).strip()
    return leaks(replace(example, answer=rest or example.answer), said)


ATTACK = Prefix
