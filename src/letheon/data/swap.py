"""What is left of a forgotten answer, where no gold model says it: swapped answers, rare words."""

from __future__ import annotations

__all__ = ["Known", "rare_words", "said", "swapped"]

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from letheon.data.example import Example
from letheon.errors import DataError

# A word that a smaller share of answers has is what an answer says, not how it says it.
_RARE = 0.15


@dataclass(frozen=True)
class Known:
    """Of the model before it forgets: ``swapped``, the probability of another row's answer; of
    each forget row the ``words`` that only few answers have.
    """

    swapped: float
    words: Sequence[frozenset[str]]


def rare_words(rows: Sequence[Example], others: Sequence[Example]) -> list[frozenset[str]]:
    """Return of each row the words of its answer that are not asked with and that few rows say.

    Words are lower-cased runs of letters and digits. Few: at most one row in seven of ``rows`` and
    ``others``, and each word may be a row's own.
    """
    around = [*rows, *others]
    counts = Counter(word for row in around for word in _words(row.answer))
    most = max(1.0, _RARE * len(around))
    return [
        frozenset(w for w in _words(row.answer) - _words(row.question) if counts[w] <= most)
        for row in rows
    ]


def said(words: frozenset[str], text: str) -> float:
    """Return the share of ``words`` that a text has; 0 where there are none."""
    return len(words & _words(text)) / len(words) if words else 0.0


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


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
