"""Which columns of a file hold what: found by their names, or named by the user.

A row has one of three shapes: a question with its answer, a chat, or a text alone. The columns of
its shape are found by ``SYNONYMS``, whatever their case, unless they are mapped.
"""

from __future__ import annotations

__all__ = ["SYNONYMS", "Layout", "layouts"]

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from letheon.data.row import Row
from letheon.errors import DataError, nearest
from letheon.recipe import Column

Shape = Literal["question and answer", "chat", "text"]

SYNONYMS: Mapping[Column, tuple[str, ...]] = {
    "question": ("question", "prompt", "instruction", "query"),
    "answer": ("answer", "response", "completion", "output"),
    "input": ("input",),
    "messages": ("messages", "conversation"),
    "text": ("text", "content", "document"),
    "unit": ("unit",),
}

_SHAPES: Mapping[Shape, tuple[Column, ...]] = {
    "question and answer": ("question", "answer"),
    "chat": ("messages",),
    "text": ("text",),
}

Found = Mapping[Column, Sequence[str]]


@dataclass(frozen=True)
class Layout:
    """A row's shape, the columns that it needs (as many as the shape has roles), and others.

    ``columns``: of the shape ``question and answer`` those two, of the others the one.
    ``input``: the column whose text follows the question, where there is one.
    """

    shape: Shape
    columns: tuple[str, ...]
    input: str | None = field(default=None, compare=False)
    unit: str | None = field(default=None, compare=False)


def layouts(rows: Iterable[Row], mapped: Mapping[Column, str]) -> Iterator[tuple[Row, Layout]]:
    """Yield each row with its layout, which is that of the first row.

    ``mapped`` names columns by role; the others are found. ``input`` is the question where there is
    no other column for it, and otherwise goes with ``instruction``.

    Raises :class:`~letheon.errors.DataError` for columns that are not there, for two that could
    hold the same, and for a row of another shape than the first, with its place.
    """
    first: Layout | None = None
    known: dict[tuple[str, ...], Layout | None] = {}
    for row in rows:
        # A table has every column in every row: what is null there is not there.
        names = tuple(name for name, value in row.values.items() if value is not None)
        if names not in known:
            known[names] = _layout(row, names, mapped, must=False)
        layout = known[names] or first or _layout(row, tuple(row.values), mapped, must=True)
        assert layout is not None
        first = first or layout
        if layout != first:
            raise DataError(
                "The rows of a file have one shape, in the same columns.",
                got=f"{_described(layout)} in {row.place}, after {_described(first)}",
                remedy="Put rows of different shapes into files of their own.",
            )
        yield row, layout


def _layout(
    row: Row, names: Sequence[str], mapped: Mapping[Column, str], *, must: bool
) -> Layout | None:
    """Return the layout of a row with the columns ``names``; ``None`` if it has none, or raise."""
    found: Found = {role: _named(role, names, mapped, row) for role in SYNONYMS}
    asked, extra = found["question"], found["input"]
    instructed = [name.strip().casefold() for name in asked] == ["instruction"]
    if not (asked and (instructed or "input" in mapped)):
        asked, extra = asked if "question" in mapped else [*asked, *extra], []
    found = {**found, "question": asked, "input": extra}
    shapes = [shape for shape in _allowed(mapped, row) if all(found[r] for r in _SHAPES[shape])]
    if not shapes:
        if must:
            raise _missing(found, names, row)
        return None
    if len(shapes) > 1:
        roles = [role for shape in shapes for role in _SHAPES[shape][:1]]
        raise DataError(
            "Columns say which one shape a row has.",
            got=f"{' or '.join(shapes)} in {row.place}, which has {', '.join(names)}",
            remedy="Name what is meant: "
            + " or ".join(f"--set data.columns.{role}={found[role][0]}" for role in roles)
            + ".",
        )
    (shape,) = shapes
    columns = tuple(_only(role, found, names, row) for role in _SHAPES[shape])
    optional = {r: _only(r, found, names, row) if found[r] else None for r in _OPTIONAL}
    return Layout(shape, columns, optional["input"], optional["unit"])


_OPTIONAL: tuple[Column, ...] = ("input", "unit")


def _named(role: Column, names: Sequence[str], mapped: Mapping[Column, str], row: Row) -> list[str]:
    """Return the columns among ``names`` that may hold ``role``."""
    if role not in mapped:
        return [name for name in names if name.strip().casefold() in SYNONYMS[role]]
    wanted = mapped[role]
    alike = [name for name in row.values if name.strip().casefold() == wanted.strip().casefold()]
    exact = [wanted] if wanted in row.values else alike
    if not exact:
        raise DataError(
            f"data.columns.{role} names a column of the file.",
            got=f"{wanted!r}; {row.place} has {', '.join(row.values) or 'no column'}",
            remedy=nearest(wanted, row.values),
        )
    return [name for name in exact if name in names]


def _allowed(mapped: Mapping[Column, str], row: Row) -> list[Shape]:
    """Return the shapes that the mapped columns leave."""
    named = [shape for shape, roles in _SHAPES.items() if any(role in mapped for role in roles)]
    if len(named) > 1:
        raise DataError(
            "data.columns names the columns of one shape.",
            got=f"{', '.join(f'{role}={name}' for role, name in mapped.items())} for {row.place}",
            remedy="Name question and answer, or messages, or text.",
        )
    return named or list(_SHAPES)


def _only(role: Column, found: Found, names: Sequence[str], row: Row) -> str:
    if len(found[role]) > 1:
        raise DataError(
            f"One column holds the {role}.",
            got=f"{', '.join(found[role])} in {row.place}, which has {', '.join(names)}",
            remedy=f"Name the one: --set data.columns.{role}={found[role][0]}.",
        )
    return found[role][0]


def _missing(found: Found, names: Sequence[str], row: Row) -> DataError:
    half = [role for role in _SHAPES["question and answer"] if not found[role]]
    got = f"{row.place} has {', '.join(names) or 'no column'}"
    if len(half) == 1:
        (role,) = half
        return DataError(
            f"A row with a question and an answer needs the column {role!r} "
            f"(or {', '.join(SYNONYMS[role][1:])}).",
            got=got,
            remedy=f"{nearest(role, names)} Name it: --set data.columns.{role}=NAME.",
        )
    return DataError(
        "A row has a question and an answer, messages, or a text, in columns known by name: "
        + "; ".join(", ".join(SYNONYMS[role]) for roles in _SHAPES.values() for role in roles)
        + ".",
        got=got,
        remedy="Name them: --set data.columns.question=NAME --set data.columns.answer=NAME, or "
        "--set data.columns.text=NAME for text without questions.",
    )


def _described(layout: Layout) -> str:
    return f"{layout.shape} ({', '.join(layout.columns)})"
