"""Parquet, folders, saved data sets and the hub: which rows, in which order, under which name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from letheon.data.rows import read_rows
from letheon.errors import DataError

ROWS = [{"q": "x", "n": 1}, {"q": "y", "n": 2}]


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def texts(source: str | Path) -> list[str]:
    return [row.text("q") for row in read_rows(source)]


def test_parquet(tmp_path: Path) -> None:
    rows = read_rows(parquet(tmp_path / "a.parquet", ROWS))
    assert [row.values for row in rows] == ROWS
    assert rows[1].place == "a.parquet, row 2"


def test_a_folder_of_shards_is_read_in_order(tmp_path: Path) -> None:
    for i in (1, 0):
        parquet(tmp_path / f"data/train-0000{i}-of-00002.parquet", [ROWS[i]])
    assert texts(tmp_path) == ["x", "y"] == texts(f"{tmp_path}:train")
    parquet(tmp_path / "data/test-00000-of-00001.parquet", [{"q": "z"}])
    assert texts(f"{tmp_path}:test") == ["z"]
    with pytest.raises(DataError, match=r"several splits.*with test, train.*Write .*:test"):
        read_rows(tmp_path)
    with pytest.raises(DataError, match=r"No such split.*:tset.*Did you mean test"):
        read_rows(f"{tmp_path}:tset")


def test_a_config_is_a_folder_inside(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small/train.jsonl").write_text('{"q": "x"}\n')
    (tmp_path / "small/README.md").write_text("no data")
    assert texts(f"{tmp_path}:small:train") == ["x"]
    with pytest.raises(DataError, match="Did you mean small"):
        read_rows(f"{tmp_path}:smal:train")
    with pytest.raises(DataError, match=r"none in .*Valid: small"):
        read_rows(tmp_path)


def test_a_saved_data_set(tmp_path: Path) -> None:
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "one")
    assert texts(tmp_path / "one") == ["x", "y"]
    with pytest.raises(DataError, match="without splits"):
        read_rows(f"{tmp_path / 'one'}:train")
    several = {"train": Dataset.from_list(ROWS), "test": Dataset.from_list(ROWS[:1])}
    DatasetDict(several).save_to_disk(tmp_path / "two")
    assert texts(f"{tmp_path / 'two'}:test") == ["x"]
    with pytest.raises(DataError, match="several splits"):
        read_rows(tmp_path / "two")
    with pytest.raises(DataError, match="no configs"):
        read_rows(f"{tmp_path / 'two'}:all:test")


def test_a_saved_data_set_that_is_not_whole(tmp_path: Path) -> None:
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "one")
    for file in (tmp_path / "one").glob("*.arrow"):
        file.write_bytes(b"ARROW1 no more")
    with pytest.raises(DataError, match=r"can be loaded.*Save it again"):
        read_rows(tmp_path / "one")


def test_the_hub_is_asked_for_what_no_path_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load_dataset(*words: str) -> DatasetDict:
        asked.append(words)
        if "broken" in words:
            raise ValueError("Config name is missing.\nPick one.")
        return DatasetDict(train=Dataset.from_list(ROWS))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert texts("me/rows") == texts("me/rows:train") == texts("me/rows:small:train") == ["x", "y"]
    assert asked == [("me/rows",), ("me/rows",), ("me/rows", "small")]
    assert read_rows("me/rows")[0].place == "me/rows, row 1"
    with pytest.raises(DataError, match=r"Config name is missing.*me/rows:CONFIG:SPLIT"):
        read_rows("me/rows:broken:train")
    # What looks like a file is never asked of the hub.
    for source in ("me/rows.jsonl", "./rows", "rows"):
        with pytest.raises(DataError, match="no file"):
            read_rows(source)
    assert len(asked) == 5


@pytest.mark.parametrize("source", [":train", "a:b:c:d", "a/b:", "a/b::train"])
def test_other_notations_are_errors(source: str) -> None:
    with pytest.raises(DataError, match="PLACE:CONFIG:SPLIT"):
        read_rows(source)


def test_a_file_has_no_splits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not of a file"):
        read_rows(f"{parquet(tmp_path / 'a.parquet', ROWS)}:train")
