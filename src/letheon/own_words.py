"""Rows to keep where nobody gave any: what the untouched model asks and answers by itself.

The template's text before a question is continued by sampling at temperature 1 until the template's
text between question and answer (or a line's end) shows where the question stops; the model then
answers its own questions greedily. Where rows are texts alone it speaks from the start. What comes
near a row to forget is dropped. They hold what the model says, right or wrong: a stand-in for
retain data, made once and kept in the run's private folder. Our reconstruction; self-generated
rehearsal is usual in continual learning.
"""

from __future__ import annotations

__all__ = ["FILE", "kept", "made", "write"]

from collections.abc import Callable, Sequence

from letheon import processes
from letheon.data.example import Example
from letheon.errors import DataError
from letheon.folder import RunFolder
from letheon.metrics.rouge import rouge_l

# One JSON object a line: ``id``, ``question``, ``answer``.
FILE = f"{RunFolder.PRIVATE}/retain.jsonl"

Speak = Callable[[int, int], list[tuple[str, str]]]

# A row whose words overlap so much with one to forget says the same in other words.
_NEAR = 0.8
# Rounds of sampling before the model is said to have nothing to say; fewer rows than this are none.
_ROUNDS, _FEWEST = 4, 4


def made(speak: Speak, forget: Sequence[Example], count: int, seed: int) -> tuple[Example, ...]:
    """Return at most ``count`` rows of what ``speak(n, seed)`` asks and answers n times.

    Raises DataError when hardly any differ from each other and from ``forget``.
    """

    def rows() -> tuple[Example, ...]:
        found: dict[tuple[str, str], None] = {}
        for turn in range(_ROUNDS):
            for question, answer in speak(count, seed * _ROUNDS + turn):
                if answer and not _near(question, answer, forget):
                    found[question, answer] = None
            if len(found) >= count:
                break
        if len(found) < _FEWEST:
            raise DataError(
                "Without rows to retain the model's own words take their place.",
                got=f"{len(found)} rows in {_ROUNDS * count} tries that are not near a forget row",
                remedy="Give rows of the same kind to retain: --retain FILE.",
            )
        chosen = list(found)[:count]
        return tuple(Example(f"own/{k}", f"own/{k}", *row) for k, row in enumerate(chosen))

    return processes.on_main(rows)


def kept(folder: RunFolder) -> tuple[Example, ...] | None:
    """Return what ``write`` wrote, or None where it is not there; FolderError where it is broken.

    A run goes on with the rows it began with.
    """
    rows = processes.on_main(lambda: folder.read_rows(FILE, "id", "question", "answer"))
    if rows is None:
        return None
    return tuple(Example(r["id"], r["id"], r["question"], r["answer"]) for r in rows)


def write(folder: RunFolder, rows: Sequence[Example]) -> None:
    """Write them, for a run's resume and as evidence of what it kept."""
    parts = ({"id": e.id, "question": e.question, "answer": e.answer} for e in rows)
    folder.write_rows(FILE, parts)


def _near(question: str, answer: str, forget: Sequence[Example]) -> bool:
    said = f"{question} {answer}"
    return any(
        (question and question.casefold() == row.question.casefold())
        or answer.casefold() == row.answer.casefold()
        or any(row.answer[start:stop] in answer for start, stop in row.facts)
        or rouge_l(said, f"{row.question} {row.answer}", stem=False).f1 >= _NEAR
        for row in forget
    )
