"""Rows given in Python: a list of mappings, of pairs or of texts, a data set or a data frame."""

from __future__ import annotations

__all__ = ["PythonRows", "memory_rows"]

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from letheon.data.row import Row, from_json, shown
from letheon.errors import DataError

# What a user may give in place of a file's name.
PythonRows = Iterable[Any]


def memory_rows(given: PythonRows, name: str) -> list[Row]:
    """Return the rows of an iterable of mappings, (question, answer) pairs or texts.

    So is a ``datasets.Dataset`` one, and a pandas data frame is read row by row. ``name`` stands in
    for the file's name in errors.

    Raises :class:`~letheon.errors.DataError` for a row of another kind, or with a value that JSON
    has no word for: rows are kept in the run's folder as JSON lines.
    """
    return [_row(values, f"{name}, row {i}") for i, values in enumerate(_records(given, name))]


def _records(given: PythonRows, name: str) -> Iterable[Any]:
    pandas = sys.modules.get("pandas")  # whoever has a data frame has imported it
    if pandas is not None and isinstance(given, pandas.DataFrame):
        # By JSON, in which what is missing is null and a number of numpy's is a number.
        found: list[Any] = from_json(given.to_json(orient="records"), name)
        return found
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise DataError(
            "Rows are a file, or a list of rows.",
            got=f"{type(given).__name__} for {name}",
            remedy='Write them like [{"question": "...", "answer": "..."}].',
        )
    return given


def _row(values: Any, place: str) -> Row:
    match values:
        case Mapping():
            found = dict(values)
        case str():
            found = {"text": values}
        case (str(), str()):
            found = {"question": values[0], "answer": values[1]}
        case _:
            raise DataError(
                "A row is a mapping, a pair of question and answer, or a text.",
                got=f"{shown(values)} in {place}",
                remedy='Write it like {"question": "...", "answer": "..."}.',
            )
    try:
        plain = json.dumps(found, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            "A row holds texts, numbers and lists of them.",
            got=f"{error} in {place}",
            remedy="Make other values texts, or leave them out.",
        ) from error
    return Row(from_json(plain, place), place)
