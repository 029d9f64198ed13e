"""Answers to other questions: how likely an answer of the same form is that nobody taught."""

from __future__ import annotations

__all__ = ["swapped"]

from collections.abc import Sequence
from dataclasses import replace

from letheon.data.example import Example
from letheon.errors import DataError


def swapped(rows: Sequence[Example], others: Sequence[Example] = ()) -> tuple[Example, ...]:
    """Return each of ``rows`` with the answer of the next row, or of ``others``, that differs.

    Without facts and paraphrases, which belong to the row's own answer. Raises DataError where all
    answers are the same.
    """
    around = [*rows, *others]
    found = []
    for k, row in enumerate(rows):
        turned = [*around[k + 1 :], *around[:k]]
        answer = next((other.answer for other in turned if other.answer != row.answer), None)
        if answer is None:
            raise DataError(
                "The score swap_gap compares with answers of other rows.",
                got=f"{len(around)} rows, all answered {row.answer!r:.60}",
                remedy="Add rows to retain, or stop and select by other scores.",
            )
        found.append(replace(row, answer=answer, facts=(), alternates={}))
    return tuple(found)
