"""A run's preferred answers: made once, kept in its private folder, read again on resume."""

from __future__ import annotations

__all__ = ["FILE", "Method", "kept", "made", "note", "unsaid", "write"]

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from letheon import processes
from letheon.data.example import Example
from letheon.errors import DataError, FolderError
from letheon.folder import RunFolder
from letheon.objectives.contract import Answers, Needs
from letheon.objectives.other_answers import REFUSALS

# One JSON object a line: ``id``, ``question``, ``answer``.
FILE = f"{RunFolder.PRIVATE}/preferred.jsonl"


class Method(Protocol):
    """What prefers answers: an objective, or a procedure made of some."""

    @property
    def needs(self) -> Needs:
        """Which rows a run must prepare."""
        ...

    def prepare(
        self, examples: Sequence[Example], answers: Answers, seed: int
    ) -> Sequence[Example] | None:
        """Return the examples with the preferred answers."""
        ...


def made(
    method: Method, examples: Sequence[Example], answers: Answers, seed: int
) -> Sequence[Example]:
    """Return the forget ``examples`` with the answers that ``method`` prefers; () if none.

    Of several processes the main one alone lets the model speak, and all go by what it said.

    Raises DataError for examples without a question, which have no other answer.
    """
    if not method.needs.preferred:
        return ()
    unasked = [e.id for e in examples if not e.question]
    if unasked:
        raise DataError(
            "A method that prefers another answer needs questions.",
            got=f"{len(unasked)} of {len(examples)} forget rows without one, such as {unasked[0]}",
            remedy="Choose a method that prefers none (letheon list objectives), or forget rows "
            "with questions whose answers fit the model.",
        )
    return processes.on_main(lambda: method.prepare(examples, answers, seed) or ())


def kept(folder: RunFolder, examples: Sequence[Example]) -> Sequence[Example] | None:
    """Return what ``write`` wrote of these ``examples``, or None where it is not there.

    Raises FolderError when the file is broken or of other examples: to go on with other answers
    would be another run.
    """
    return processes.on_main(lambda: _read(folder, examples))


def write(folder: RunFolder, preferred: Sequence[Example]) -> None:
    """Write them as evidence of what the run preferred, and for its resume."""
    rows = ({"id": e.id, "question": e.question, "answer": e.answer} for e in preferred)
    folder.write_rows(FILE, rows)


def note(preferred: Sequence[Example]) -> dict[str, Any]:
    """Return the event that says how many there are, and how many of them are refusals."""
    refusals = sum(example.answer in REFUSALS for example in preferred)
    words = f"preferred answers: {len(preferred)}, of them {refusals} refusals"
    return {"event": "note", "text": words}


def unsaid(questions: Sequence[str], seed: int) -> list[str]:
    """Stand in for the untouched model: return the questions themselves."""
    del seed
    return list(questions)


def _read(folder: RunFolder, examples: Sequence[Example]) -> list[Example] | None:
    rows = folder.read_rows(FILE, "id", "answer")
    if rows is None:
        return None
    # By id, not by place: a file of other rows must not be taken for one of these.
    found = {str(row["id"]): str(row["answer"]) for row in rows}
    lacking = [example.id for example in examples if example.id not in found]
    if lacking:
        raise FolderError(
            f"{folder.at(FILE)} holds another answer to each forget question.",
            got=f"none to {lacking[0]}",
            remedy="Delete the run's folder and run the command again.",
        )
    return [replace(e, answer=found[e.id], facts=(), alternates={}) for e in examples]
