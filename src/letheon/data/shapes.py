"""Rows of every shape -> questions with their answers."""

from __future__ import annotations

__all__ = ["Turn", "turns"]

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from letheon.data.columns import Layout
from letheon.data.row import Row, shown
from letheon.errors import DataError

_ASSISTANT = "assistant"
_ROLES = ("system", "developer", "user", _ASSISTANT, "tool")


class Turn(NamedTuple):
    """What was asked and what the model is to say; a text alone has an empty question."""

    question: str
    answer: str


def turns(row: Row, layout: Layout) -> list[Turn]:
    """Return what a row asks and answers: one turn, of a chat one for each assistant message.

    A question with an input is both, an empty line between. The question of an assistant message is
    what came before it in its chat: one message as it is, several as paragraphs that begin with the
    role (``User: ...``). An empty system message is left out.

    Raises :class:`~letheon.errors.DataError` for an empty or missing text, and for a chat that is
    no list of ``{"role", "content"}``, begins with the assistant or has no message of it.
    """
    match layout.shape:
        case "text":
            return [Turn("", row.text(layout.columns[0]))]
        case "chat":
            return _chat(row, layout.columns[0])
        case "question and answer":
            question, answer = layout.columns
            more = row.optional(layout.input) if layout.input else None
            asked = row.text(question)
            return [Turn(f"{asked}\n\n{more}" if more else asked, row.text(answer))]


def _chat(row: Row, column: str) -> list[Turn]:
    said = [_message(message, row, column) for message in row.listed(column)]
    said = [(role, text) for role, text in said if text]
    places = [i for i, (role, _) in enumerate(said) if role == _ASSISTANT]
    if not places or places[0] == 0:
        raise DataError(
            "A chat has an assistant message, and one before it.",
            got=f"{', '.join(role for role, _ in said) or 'no message'} in {row.place}",
            remedy="Add what is missing or drop the row.",
        )
    return [Turn(_before(said[:i]), said[i][1]) for i in places]


def _message(message: Any, row: Row, column: str) -> tuple[str, str]:
    role = message.get("role") if isinstance(message, Mapping) else None
    if role not in _ROLES:
        raise DataError(
            f"Column {column!r} lists messages with a role ({', '.join(_ROLES)}) and a content.",
            got=f"{shown(message)} in {row.place}",
            remedy='Write them like {"role": "user", "content": "..."}.',
        )
    content = message.get("content")
    if role == "system" and content in (None, ""):
        return role, ""
    return role, row.checked(content, f"The content of a message in {column!r}")


def _before(said: Sequence[tuple[str, str]]) -> str:
    if len(said) == 1:
        return said[0][1]
    return "\n\n".join(f"{role.capitalize()}: {text}" for role, text in said)
