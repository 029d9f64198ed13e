"""Files of text -> rows: JSON lines, a JSON list, CSV and TSV with a header, all in UTF-8."""

from __future__ import annotations

__all__ = ["csv_rows", "json_rows", "tsv_rows"]

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from letheon.data.row import Row, from_json, shown
from letheon.errors import DataError

# What the other encodings of Unicode begin with; of the four, those of 32 bits first.
_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def json_rows(path: Path) -> Iterator[Row]:
    """Yield the objects of JSON lines or of one JSON list, whichever the file holds."""
    text = _text(path)
    if text.lstrip().startswith("["):
        whole = from_json(text, path.name)
        found = [(f"item {i}", value) for i, value in enumerate(whole, start=1)]
    else:
        # Only a line feed ends a row: texts may hold the other line separators of Unicode.
        lines = enumerate(text.split("\n"), start=1)
        found = [
            (f"line {i}", from_json(line, f"{path.name}, line {i}"))
            for i, line in lines
            if line.strip()
        ]
    for where, value in found:
        place = f"{path.name}, {where}"
        if not isinstance(value, dict):
            raise DataError(
                "A row is a JSON object.",
                got=f"{shown(value)} in {place}",
                remedy='Write it like {"question": "...", "answer": "..."}.',
            )
        yield Row(value, place)


def csv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows below the header; a header with semicolons and no comma has these between."""
    text = _text(path)
    header = text.partition("\n")[0]
    return _separated(text, path, ";" if ";" in header and "," not in header else ",")


def tsv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows below the header, cells parted by tabs."""
    return _separated(_text(path), path, "\t")


def _separated(text: str, path: Path, delimiter: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        with _cells_of_any_length():
            _once(reader.fieldnames or (), path)
            for values in reader:
                place = f"{path.name}, line {reader.line_num}"
                if None in values or None in values.values():
                    raise DataError(
                        "A CSV row has as many cells as the header.",
                        got=place,
                        remedy="Quote cells that hold separators or line breaks.",
                    )
                yield Row({str(name).strip(): cell for name, cell in values.items()}, place)
    except csv.Error as error:
        raise DataError(
            "A data file is CSV with a header.",
            got=f"{path.name}, line {reader.line_num}: {error}",
            remedy="Mend this line of the file.",
        ) from error


def _once(names: Sequence[str], path: Path) -> None:
    twice = [name for name, n in Counter(name.strip() for name in names).items() if n > 1]
    if twice:
        raise DataError(
            "A CSV header names a column once.",
            got=f"{', '.join(map(repr, twice))} twice in {path.name}",
            remedy="Rename one of the two, or write the header that is missing.",
        )


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Let a cell hold a whole document; the limit is the csv module's own and holds for all."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _text(path: Path) -> str:
    raw = path.read_bytes()
    known = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), None)
    try:
        if known is None:
            return raw.decode("utf-8-sig")
        found = f"{path.name} in {known}"
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"{path.name}, line {line}: the byte 0x{raw[error.start]:02x}, {error.reason}"
    raise DataError("A data file is UTF-8.", got=found, remedy="Save it as UTF-8.")
