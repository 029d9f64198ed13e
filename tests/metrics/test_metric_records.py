from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from letheon.errors import DataError, MetricError
from letheon.metrics.records import aligned, column, from_table, numbers, to_table, units


def _same(left: Any, right: Any) -> None:
    assert list(left) == list(right)
    for split in left:
        assert set(left[split]) == set(right[split])
        for name, values in left[split].items():
            assert right[split][name].dtype == values.dtype, name
            np.testing.assert_array_equal(right[split][name], values)


def test_table_round_trip_through_parquet_loses_nothing(make_records) -> None:
    records = make_records()
    records["forget"]["fact_nll"][3] = np.nan
    records["forget"]["perturbed_nll"][5, 3:] = np.nan
    records["retain"]["nll"] = records["retain"]["nll"].astype(np.float32).astype(np.float64)
    del records["world_facts"]["reference_nll"]
    del records["unseen"]["perturbed_nll"]
    records["world_facts"]["perturbed_nll"] = records["world_facts"]["perturbed_nll"][:, :3]
    sink = io.BytesIO()
    pq.write_table(to_table(records), sink)
    sink.seek(0)
    _same(records, from_table(pq.read_table(sink)))


@given(
    values=hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 4))),
    ids=st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"))),
)
def test_any_numbers_and_ids_survive(values: np.ndarray, ids: list[str]) -> None:
    # numpy strings cannot end in NUL, so ids without it
    names = (ids + ["x"] * len(values))[: len(values)]
    records = {"forget": {"id": np.array(names, dtype=np.str_), "perturbed_nll": values}}
    back = from_table(to_table(records))["forget"]
    np.testing.assert_array_equal(back["perturbed_nll"], values)
    assert back["id"].tolist() == names


def test_table_holds_split_first_and_float32_stays() -> None:
    table = to_table({"forget": {"id": np.array(["a"]), "nll": np.array([0.5], np.float32)}})
    assert table.column_names == ["split", "id", "nll"]
    assert from_table(table)["forget"]["nll"].dtype == np.float32


def test_object_strings_are_written() -> None:
    table = to_table({"forget": {"id": np.array(["a", "bcd"], dtype=object)}})
    assert from_table(table)["forget"]["id"].tolist() == ["a", "bcd"]


@pytest.mark.parametrize(
    "columns",
    [
        {"id": np.array(["a"]), "nll": np.array([1.0, 2.0])},
        {"id": np.array([], dtype=str)},
        {},
    ],
)
def test_ragged_or_empty_splits_are_not_written(columns: Any) -> None:
    with pytest.raises(DataError, match="forget"):
        to_table({"forget": columns})


def test_no_split_is_not_written() -> None:
    with pytest.raises(DataError, match="at least one split"):
        to_table({})


def test_reading_a_foreign_table_says_what_is_wrong() -> None:
    with pytest.raises(DataError, match="column 'split'"):
        from_table(pa.table({"nll": [1.0]}))
    holes = pa.table({"split": ["forget", "forget"], "nll": [1.0, None]})
    with pytest.raises(DataError, match=r"'nll'.*'forget'.*1 of 2 rows are null"):
        from_table(holes)


def test_missing_split_column_or_rows_are_named(tiny) -> None:
    with pytest.raises(MetricError, match=r"no split 'unseen'.*forget, retain"):
        column(tiny, "unseen", "nll")
    with pytest.raises(MetricError, match=r"'forget' has no column 'min_k'"):
        column(tiny, "forget", "min_k")
    with pytest.raises(MetricError, match="no rows"):
        column({"forget": {"nll": np.array([])}}, "forget", "nll")
    with pytest.raises(MetricError, match="splits none"):
        column({}, "forget", "nll")


def test_numbers_refuse_nan(tiny) -> None:
    assert numbers(tiny, "retain", "fact_nll").dtype == np.float64
    with pytest.raises(MetricError, match="2 of 4 rows are NaN"):
        numbers(tiny, "forget", "fact_nll")


def test_units_are_strings() -> None:
    assert units({"forget": {"unit": np.array([3, 4])}}, "forget").tolist() == ["3", "4"]


def test_gold_must_hold_the_same_rows(make_records) -> None:
    records, gold = make_records(), make_records(forget=0.1)
    assert aligned(records, gold, "forget") is gold
    with pytest.raises(MetricError, match="no records of a gold model"):
        aligned(records, None, "forget")
    with pytest.raises(MetricError, match="200 rows against 190"):
        aligned(records, make_records(units=19), "forget")
    gold["forget"]["id"] = gold["forget"]["id"][::-1]
    with pytest.raises(MetricError, match=r"200 ids differ, the first at row 0: forget-0 against"):
        aligned(records, gold, "forget")
