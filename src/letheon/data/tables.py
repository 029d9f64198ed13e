"""Tables with types -> rows: Parquet files, and what the ``datasets`` library saves or fetches."""

from __future__ import annotations

__all__ = ["hub_rows", "is_saved", "one_split", "parquet_rows", "saved_rows"]

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from letheon.data.row import Row
from letheon.errors import DataError, nearest

# What ``save_to_disk`` of a data set writes, and of several splits.
_ONE, _SEVERAL = "state.json", "dataset_dict.json"


def parquet_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file.

    Raises :class:`~letheon.errors.DataError` for a file that is none or is broken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            rows: list[dict[str, Any]] = pq.ParquetFile(file).read().to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError(
            "A .parquet file is a whole Parquet file.",
            got=f"{path.name}: {_first_line(error)}",
            remedy="Write it again, or save the rows as JSON lines.",
        ) from error
    return _placed(rows, path.name)


def is_saved(folder: Path) -> bool:
    """Whether ``folder`` was written by ``save_to_disk`` of the ``datasets`` library."""
    return (folder / _ONE).is_file() or (folder / _SEVERAL).is_file()


def saved_rows(folder: Path, config: str, split: str) -> Iterator[Row]:
    """Return the rows of one split of a data set saved by ``save_to_disk``.

    Raises :class:`~letheon.errors.DataError` for a folder that is not whole, a split that is not
    there, and a config, which such a folder has none of.
    """
    if config:
        raise DataError(
            "A data set saved by save_to_disk has splits and no configs.",
            got=f"{folder}:{config}:{split}",
            remedy=f"Write {folder}:{split}.",
        )
    found = _load("load_from_disk", str(folder), remedy="Save it again with save_to_disk.")
    return _of(found, str(folder), split)


def hub_rows(name: str, config: str, split: str) -> Iterator[Row]:
    """Return the rows of one split of the hub's data set ``name``, from its cache when it is there.

    Raises :class:`~letheon.errors.DataError` when there is no such data set, config or split, or
    the hub cannot be reached.
    """
    found = _load(
        "load_dataset",
        name,
        *filter(None, [config]),
        remedy=f"Check the path, the name {name}:CONFIG:SPLIT and the network, or save a copy as "
        "JSON lines or Parquet.",
    )
    return _of(found, name, split)


def one_split(place: object, splits: Collection[str], split: str) -> str:
    """Return ``split``, or the only one there is when it is empty.

    Raises :class:`~letheon.errors.DataError` when it is not there, or there are several.
    """
    if split in splits:
        return split
    if not split and len(splits) == 1:
        return next(iter(splits))
    raise DataError(
        "A source with several splits needs one named." if not split else "No such split.",
        got=f"{place}:{split}" if split else f"{place} with {', '.join(sorted(splits))}",
        remedy=nearest(split, splits) if split else f"Write {place}:{min(splits)}.",
    )


def _load(function: str, *words: str, remedy: str) -> Any:
    import datasets
    from datasets.exceptions import DatasetsError

    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        return getattr(datasets, function)(*words)
    except (DatasetsError, OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise DataError(
            "A data set can be loaded.",
            got=f"{':'.join(words)}: {_first_line(error)}",
            remedy=remedy,
        ) from error
    finally:
        if bars:
            datasets.enable_progress_bars()


def _of(found: Any, place: str, split: str) -> Iterator[Row]:
    """Return the rows of what ``datasets`` loaded: one data set, or several by split."""
    if isinstance(found, Mapping):
        found = found[one_split(place, found, split)]
    elif split:
        raise DataError(
            "A data set saved without splits is named without one.",
            got=f"{place}:{split}",
            remedy=f"Write {place}.",
        )
    return _placed(found.to_list(), place)


def _placed(rows: list[dict[str, Any]], place: str) -> Iterator[Row]:
    return (Row(values, f"{place}, row {i}") for i, values in enumerate(rows, start=1))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
