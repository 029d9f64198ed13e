"""Records: per-example columns by split, how to ask for one, and their Arrow table."""

from __future__ import annotations

__all__ = [
    "SPLITS",
    "Array",
    "Columns",
    "FloatArray",
    "Records",
    "aligned",
    "column",
    "from_table",
    "numbers",
    "read",
    "to_table",
    "units",
    "write",
]

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from letheon.errors import DataError, MetricError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
Columns = Mapping[str, Array]
Records = Mapping[str, Columns]

SPLITS = ("forget", "retain", "real_authors", "world_facts", "unseen")


def column(records: Records, split: str, name: str) -> Array:
    """Return column ``name`` of ``split``: one row per example, [n] or [n, k].

    Raises:
        MetricError: the split or the column is not in the records, or has no rows.
    """
    if split not in records:
        raise MetricError(
            f"The records have no split {split!r}.",
            got=f"splits {', '.join(sorted(records)) or 'none'}",
            remedy=f"Evaluate the model on {split!r}, or leave out the metrics that need it.",
        )
    columns = records[split]
    if name not in columns:
        raise MetricError(
            f"Split {split!r} has no column {name!r}.",
            got=f"columns {', '.join(sorted(columns)) or 'none'}",
            remedy=f"Evaluate again with what fills {name!r}, or leave out the metrics that need "
            f"it. {nearest(name, columns)}",
        )
    values = np.asarray(columns[name])
    if len(values) == 0:
        raise MetricError(
            f"Split {split!r} has no rows.", remedy="Evaluate at least one example of it."
        )
    return values


def numbers(records: Records, split: str, name: str) -> FloatArray:
    """Return column ``name`` of ``split`` as float64 [n] in which nothing is missing.

    Raises:
        MetricError: as ``column``, or a row is NaN.
    """
    values = column(records, split, name).astype(np.float64)
    missing = int(np.isnan(values).sum())
    if missing:
        raise MetricError(
            f"Column {name!r} of split {split!r} must be a number in every row.",
            got=f"{missing} of {len(values)} rows are NaN",
            remedy="Look for a diverged model or an example with an empty answer.",
        )
    return values


def units(records: Records, split: str) -> Array:
    """Return the [n] unit names of ``split``: what intervals resample."""
    return column(records, split, "unit").astype(np.str_)


def aligned(records: Records, gold: Records | None, split: str) -> Records:
    """Return ``gold`` after checking that its ``split`` holds the same examples in the same order.

    Raises:
        MetricError: there is no gold model, or its rows are other ones.
    """
    if gold is None:
        raise MetricError(
            "This metric compares with a gold model (trained without the forget set).",
            got="no records of a gold model",
            remedy="Evaluate a gold model on the same splits and give its records.",
        )
    mine, theirs = column(records, split, "id"), column(gold, split, "id")
    if len(mine) != len(theirs):
        raise MetricError(
            f"Both models must be evaluated on the same rows of {split!r}.",
            got=f"{len(mine)} rows against {len(theirs)} rows of the gold model",
            remedy="Use the gold model that belongs to this forget set, on the same examples.",
        )
    differing = np.flatnonzero(mine.astype(np.str_) != theirs.astype(np.str_))
    if differing.size:
        first = int(differing[0])
        raise MetricError(
            f"Both models must be evaluated on the same rows of {split!r}, in one order.",
            got=f"{differing.size} ids differ, the first at row {first}: "
            f"{mine[first]!s} against {theirs[first]!s}",
            remedy="Evaluate both on the same examples.",
        )
    return gold


def to_table(records: Records) -> pa.Table:
    """Return the records as one Arrow table: column ``split``, then the columns of all splits.

    Columns [n, k] become list columns; a column that a split lacks is null in its rows.

    Raises:
        DataError: the columns of a split differ in length, or a split has no rows.
    """
    import pyarrow as pa

    tables = [_split_table(split, columns) for split, columns in records.items()]
    if not tables:
        raise DataError("Records need at least one split.", remedy="Evaluate a split first.")
    return pa.concat_tables(tables, promote_options="permissive")


def write(records: Records, file: Path) -> None:
    """Write the records as a Parquet file."""
    import pyarrow.parquet as pq

    pq.write_table(to_table(records), file)


def read(file: Path) -> Records:
    """Read the records that ``write`` wrote.

    Raises:
        DataError: there is no such file, or it is not a table of records.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            "Records are a Parquet file of a run folder.",
            got=f"{file} ({error})",
            remedy="Run the command that made the folder again.",
        ) from None
    return from_table(table)


def _split_table(split: str, columns: Columns) -> pa.Table:
    import pyarrow as pa

    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise DataError(
            f"The columns of split {split!r} need one length, above 0.",
            got=lengths,
            remedy="Give every column one row per example; leave out an empty split.",
        )
    n = next(iter(lengths.values()))
    return pa.table(
        {
            "split": pa.array([split] * n, pa.string()),
            **{name: _to_arrow(values) for name, values in columns.items()},
        }
    )


def _to_arrow(values: Array) -> pa.Array:
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values.tolist() if values.dtype.kind in "UO" else values)
    n, k = values.shape
    offsets = pa.array(np.arange(0, n * k + 1, k, dtype=np.int32) if k else np.zeros(n + 1, "i4"))
    return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(values).ravel()))


def from_table(table: pa.Table) -> Records:
    """Return the records that ``to_table`` wrote; splits and columns keep their order.

    Raises:
        DataError: there is no column ``split``, or a column is null in some rows of a split only.
    """
    import pyarrow.compute as pc

    if "split" not in table.column_names:
        raise DataError(
            "A table of records needs a column 'split'.",
            got=f"columns {', '.join(table.column_names)}",
            remedy="Read examples.parquet of a run folder.",
        )
    records: dict[str, dict[str, Array]] = {}
    for split in pc.unique(table["split"]).to_pylist():
        part = table.filter(pc.equal(table["split"], split))
        names = [name for name in table.column_names if name != "split"]
        present = [name for name in names if part[name].null_count < len(part)]
        records[split] = {name: _from_arrow(part[name], split, name) for name in present}
    return records


def _from_arrow(values: pa.ChunkedArray, split: str, name: str) -> Array:
    import pyarrow as pa

    if values.null_count:
        raise DataError(
            f"Column {name!r} of split {split!r} must have a value in every row or in none.",
            got=f"{values.null_count} of {len(values)} rows are null",
            remedy="Write the table again with to_table; a missing number is NaN, not null.",
        )
    if pa.types.is_list(values.type):
        flat = values.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat).reshape(len(values), -1)
    if pa.types.is_string(values.type):
        return np.array(values.to_pylist(), dtype=np.str_)
    return np.asarray(values.to_numpy())
