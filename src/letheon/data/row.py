"""One row of a data file: its values by column, and its place for error messages."""

from __future__ import annotations

__all__ = ["Row", "from_json", "shown"]

import json
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import Repr
from typing import Any

from letheon.errors import DataError, nearest

_SHORT = Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 60, 60


def shown(value: object) -> str:
    """Return ``value`` for an error message: cut where it is long or deep."""
    return _SHORT.repr(value)


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
        return self.checked(self.values[column], f"Column {column!r}")

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
            value = from_json(value, self.place)
        return value if isinstance(value, list) else [value]

    def checked(self, value: object, what: str) -> str:
        """Return ``value`` of this row if it is a text with something in it.

        Raises :class:`~letheon.errors.DataError` otherwise; ``what`` names the value there.
        """
        if not isinstance(value, str):
            raise DataError(
                f"{what} holds text.", got=f"{shown(value)} in {self.place}", remedy="Quote it."
            )
        if not value.strip():
            raise DataError(
                f"{what} must not be empty.",
                got=f"{value!r:.60} in {self.place}",
                remedy="Fill it in or drop the row.",
            )
        return value


def from_json(text: str, place: str) -> Any:
    """Parse JSON; raises :class:`~letheon.errors.DataError` that names ``place``."""
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
