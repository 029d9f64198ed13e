"""Where rows come from: one file, a folder of files, a saved data set, the hub, or Python.

A name is ``PLACE``, ``PLACE:SPLIT`` or ``PLACE:CONFIG:SPLIT``: the last two for folders and for
data sets of the hub (``OWNER/NAME``).
"""

from __future__ import annotations

__all__ = ["read_rows"]

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from letheon.data.memory_rows import PythonRows, memory_rows
from letheon.data.row import Row
from letheon.data.tables import hub_rows, is_saved, one_split, parquet_rows, saved_rows
from letheon.data.text_files import csv_rows, json_rows, tsv_rows
from letheon.errors import DataError, nearest

_READERS: Mapping[str, Callable[[Path], Iterable[Row]]] = {
    ".csv": csv_rows,
    ".json": json_rows,
    ".jsonl": json_rows,
    ".parquet": parquet_rows,
    ".tsv": tsv_rows,
}

_HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_SHARD = re.compile(r"-\d+-of-\d+$")


def read_rows(source: str | Path | PythonRows, *, name: str = "the rows") -> list[Row]:
    """Read all rows of a source; ``name`` stands in errors for one that has none.

    A file is ``.jsonl``, ``.json`` (a list, or lines), ``.csv`` or ``.tsv`` with a header, or
    ``.parquet``. A folder is one that ``datasets`` wrote with ``save_to_disk``, or holds files of
    these kinds: a split is named as they are, without ``-00000-of-00001``, and a config is a folder
    inside. Anything else that reads ``OWNER/NAME`` is a data set of the hub. What is no name is
    read as :func:`~letheon.data.memory_rows.memory_rows` says.

    Raises :class:`~letheon.errors.DataError` for a source that is missing, empty, not readable or
    malformed, with the line where there is one, and for a split that is not there or not named.
    """
    place = source if isinstance(source, str | Path) else name
    try:
        rows = list(_rows(source) if isinstance(source, str | Path) else memory_rows(source, name))
    except OSError as error:
        raise DataError(
            "A data source can be read.",
            got=f"{place}: {error.strerror or error}",
            remedy="Check the path and who may read it.",
        ) from error
    if not rows:
        raise DataError("A data file has rows.", got=f"{place} has none", remedy="Add rows to it.")
    return rows


def _rows(source: str | Path) -> Iterable[Row]:
    if Path(source).is_file():
        return _file(Path(source))
    place, config, split = (str(source), "", "") if Path(source).exists() else _parted(str(source))
    path = Path(place)
    if path.is_dir():
        return saved_rows(path, config, split) if is_saved(path) else _folder(path, config, split)
    if path.is_file():
        raise DataError(
            "A split is named of a folder or a hub data set, not of a file.",
            got=str(source),
            remedy=f"Write {place}, without what follows.",
        )
    if _HUB.fullmatch(place) and path.suffix not in _READERS and not path.parent.is_dir():
        return hub_rows(place, config, split)
    raise _missing(path)


def _parted(source: str) -> tuple[str, str, str]:
    """Return place, config and split; what is not named is empty."""
    place, *names = source.split(":")
    if not place or len(names) > 2 or not all(names):
        raise DataError(
            "A data source is PLACE, PLACE:SPLIT or PLACE:CONFIG:SPLIT.",
            got=repr(source),
            remedy="Write it like data/forget.jsonl or OWNER/NAME:train.",
        )
    return place, names[0] if len(names) == 2 else "", names[-1] if names else ""


def _file(path: Path) -> Iterable[Row]:
    if path.suffix.lower() not in _READERS:
        raise DataError(
            "A data file is JSON lines, a JSON list, CSV, TSV or Parquet.",
            got=path.name,
            remedy=f"Save it as one of these, with one of the endings {', '.join(_READERS)}.",
        )
    return _READERS[path.suffix.lower()](path)


def _folder(path: Path, config: str, split: str) -> Iterable[Row]:
    """Return the rows of a folder's files of one split, in the order of the files' names."""
    inside = [path / config, path / "data" / config] if config else [path, path / "data"]
    files = next((found for folder in inside if (found := _data_files(folder))), [])
    if not files:
        folders = [each.name for each in path.iterdir() if each.is_dir()]
        raise DataError(
            "A folder of data holds files of a kind that can be read.",
            got=f"none in {inside[0]}",
            remedy=nearest(config, folders) if folders else f"Add some: {', '.join(_READERS)}.",
        )
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_SHARD.sub("", file.stem), []).append(file)
    return [row for file in splits[one_split(path, splits, split)] for row in _file(file)]


def _data_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*") if file.suffix.lower() in _READERS)


def _missing(path: Path) -> DataError:
    there = [each.name for each in _data_files(path.parent)]
    return DataError(
        "A data file must be there.",
        got=f"no file {path}",
        remedy=nearest(path.name, there)
        if there
        else "Check the path, or name a data set of the hub as OWNER/NAME.",
    )
