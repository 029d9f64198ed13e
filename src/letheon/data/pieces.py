"""Rows too long for a model, cut into consecutive pieces that fit."""

from __future__ import annotations

__all__ = ["fit", "pieces"]

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from letheon.data.example import Corpus, Example
from letheon.data.row import shown
from letheon.data.template import Template
from letheon.errors import DataError

# Tokens that a tokenizer may put before and after a text.
_ENDS = 4


def fit(corpus: Corpus, tokenizer: Any, template: Template, *, limit: int) -> Corpus:
    """Return ``corpus`` with every row longer than ``limit`` tokens in :func:`pieces`."""
    around = len(template.prompt(tokenizer, "?").encode()) + _ENDS
    known: dict[int, tuple[Example, ...]] = {}

    def cut(rows: tuple[Example, ...]) -> tuple[Example, ...]:
        # Roles that are trained on are evaluated too: one tuple, cut once.
        if id(rows) not in known:
            known[id(rows)] = tuple(
                piece
                for row in rows
                for piece in (
                    # Surely short at a token a byte: it saves encoding.
                    [row]
                    if around + len((row.question + row.answer).encode()) <= limit
                    else pieces(row, tokenizer, template, limit=limit)
                )
            )
        return known[id(rows)]

    return replace(
        corpus,
        forget=cut(corpus.forget),
        retain=cut(corpus.retain),
        background=cut(corpus.background),
        forgotten=cut(corpus.forgotten),
        evaluation={role: cut(rows) for role, rows in corpus.evaluation.items()},
    )


def pieces(
    example: Example, tokenizer: Any, template: Template, *, limit: int
) -> Iterator[Example]:
    """Yield consecutive parts of the answer, each of at most ``limit`` tokens with what is before.

    The first keeps question and alternates, and no end token follows it; the others are texts
    without a question. All share the unit; ids are the row's with ``#0``, ``#1`` ... after it.
    Together they are the answer, cut before white space where there is some. A fact that is cut
    goes on in the next piece. A row that fits is yielded as it is.

    Raises :class:`~letheon.errors.DataError` when the question leaves no room.
    """

    def width(row: Example) -> int:
        return len(template.row(tokenizer, row).ids) if row.answer.strip() else 0

    if width(example) <= limit:
        yield example
        return
    start, number = 0, 0
    while example.answer[start:].strip():
        rest = _rest(example, start, number)
        end = start + _longest(rest, width, limit)
        yield replace(
            rest,
            answer=example.answer[start:end],
            facts=_within(example.facts, start, end),
        )
        start, number = end, number + 1


def _rest(example: Example, start: int, number: int) -> Example:
    """Return what is left of the row from ``start`` on, as a piece."""
    return replace(
        example,
        id=f"{example.id}#{number}",
        question="" if number else example.question,
        answer=example.answer[start:],
        facts=(),
        alternates={} if number else example.alternates,
        cut=True,
    )


def _longest(row: Example, width: Callable[[Example], int], limit: int) -> int:
    """Return how many characters of the answer fit, up to a white space where there is one."""
    text = row.answer

    def upto(end: int) -> int:
        return width(replace(row, answer=text[:end]))

    # A vocabulary's tokens are seldom so long: searching among more would only cost time.
    some = min(len(text), 16 * limit)
    most = bisect_right(range(1, some + 1), limit, key=upto)
    if not text[:most].strip():
        raise DataError(
            f"A piece of a row has room within {limit} tokens, after its question.",
            got=f"{row.id}, {shown(row.question)}",
            remedy="Shorten the question, or raise data.max_tokens.",
        )
    if most == len(text) or text[most].isspace():
        return most
    at = max((i for i in range(1, most) if text[i].isspace()), default=0)
    return at if text[:at].strip() and upto(at) <= limit else most


def _within(
    spans: tuple[tuple[int, int], ...], start: int, end: int
) -> tuple[tuple[int, int], ...]:
    return tuple(
        (max(a, start) - start, min(b, end) - start) for a, b in spans if a < end and b > start
    )
