"""Rows of JSON lines, JSON lists and CSV files, each with its place for error messages."""

from __future__ import annotations

__all__ = ["Row", "read_rows"]

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from letheon.errors import DataError, nearest

_ENDINGS = (".csv", ".json", ".jsonl")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its values by column, and where it stands (``"people.jsonl, line 3"``)."""

    values: Mapping[str, Any]
    place: str

    def text(self, column: str) -> str:
        """Return a column's text.

        Raises :class:`~letheon.errors.DataError` when the column is missing, is not text or has no
        text in it.
        """
        if column not in self.values:
            raise DataError(
                f"A row needs the column {column!r}.",
                got=f"{self.place} has {', '.join(map(str, self.values)) or 'no column'}",
                remedy=f"Add it or name another column. {nearest(column, map(str, self.values))}",
            )
        value = self.values[column]
        if not isinstance(value, str):
            raise DataError(
                f"Column {column!r} holds text.",
                got=f"{value!r} in {self.place}",
                remedy="Quote it.",
            )
        if not value.strip():
            raise DataError(
                f"Column {column!r} must not be empty.",
                got=f"{value!r} in {self.place}",
                remedy="Fill it in or drop the row.",
            )
        return value

    def optional(self, column: str) -> str | None:
        """Return a column's text, ``None`` when the column is missing, null or empty."""
        return None if self.values.get(column) in (None, "") else self.text(column)

    def listed(self, column: str) -> list[Any]:
        """Return a column's list; a lone text is a list of one, a missing column an empty list.

        In CSV files a list is written as JSON.
        """
        value = self.values.get(column)
        if value in (None, ""):
            return []
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = _json(value, self.place)
        return value if isinstance(value, list) else [value]


def read_rows(path: str | Path) -> list[Row]:
    """Read a file of rows: ``.jsonl``, ``.json`` (a list, or lines) or ``.csv`` with a header.

    Raises :class:`~letheon.errors.DataError` for a file that is missing, empty or malformed, with
    the line.
    """
    path = Path(path)
    if path.suffix not in _ENDINGS:
        raise DataError(
            "A data file is JSON lines, a JSON list or CSV.",
            got=path.name,
            remedy=f"Give it one of the endings {', '.join(_ENDINGS)}.",
        )
    text = _text(path)
    rows = list(_csv(text, path) if path.suffix == ".csv" else _json_rows(text, path))
    if not rows:
        raise DataError("A data file has rows.", got=f"{path} has none", remedy="Add rows to it.")
    return rows


def _text(path: Path) -> str:
    if not path.is_file():
        there = [file.name for file in path.parent.glob("*") if file.suffix in _ENDINGS]
        raise DataError(
            "A data file must be there.",
            got=f"no file {path}",
            remedy=nearest(path.name, there) if there else "Check the path.",
        )
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            "A data file is UTF-8.", got=f"{path}: {error.reason}", remedy="Save it as UTF-8."
        ) from error


def _json_rows(text: str, path: Path) -> Iterator[Row]:
    if text.lstrip().startswith("["):
        found = [(f"item {i}", value) for i, value in enumerate(_json(text, path.name), start=1)]
    else:
        # Only a line feed ends a row: texts may hold the other line separators of Unicode.
        lines = enumerate(text.split("\n"), start=1)
        found = [
            (f"line {i}", _json(line, f"{path.name}, line {i}"))
            for i, line in lines
            if line.strip()
        ]
    for where, value in found:
        place = f"{path.name}, {where}"
        if not isinstance(value, dict):
            raise DataError(
                "A row is a JSON object.",
                got=f"{value!r:.60} in {place}",
                remedy='Write it like {"question": "...", "answer": "..."}.',
            )
        yield Row(value, place)


def _json(text: str, place: str) -> Any:
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():
            # Half of a surrogate pair is no character: no tokenizer and no checksum can take it.
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError) as error:
        raise DataError(
            "A row is JSON.", got=f"{place}: {error}", remedy="Mend this line of the file."
        ) from error


def _csv(text: str, path: Path) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for values in reader:
            place = f"{path.name}, line {reader.line_num}"
            if None in values or None in values.values():
                raise DataError(
                    "A CSV row has as many cells as the header.",
                    got=place,
                    remedy="Quote cells that hold commas or line breaks.",
                )
            yield Row(values, place)
    except csv.Error as error:
        raise DataError(
            "A data file is CSV with a header.",
            got=f"{path.name}, line {reader.line_num}: {error}",
            remedy="Mend this line of the file.",
        ) from error
