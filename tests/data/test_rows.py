from __future__ import annotations

import csv
from pathlib import Path

import pytest

from letheon.data.rows import read_rows
from letheon.errors import DataError


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.jsonl", '{"q": "x\u2028"}\n\n{"q": "y"}\n', "a.jsonl, line 3"),
        ("a.json", '{"q": "x\u2028"}\n\n{"q": "y"}', "a.json, line 3"),
        ("a.json", ' [{"q": "x\u2028"}, {"q": "y"}]', "a.json, item 2"),
        ("a.csv", '\ufeffq\n"x\u2028"\ny\n', "a.csv, line 3"),
        ("a.CSV", 'q ;a\n"x\u2028";"1,2"\ny;2\n', "a.CSV, line 3"),
        ("a.tsv", 'q\ta,b\n"x\u2028"\t1\ny\t2\n', "a.tsv, line 3"),
    ],
)
def test_formats(tmp_path: Path, name: str, text: str, place: str) -> None:
    rows = read_rows(write(tmp_path, name, text))
    assert [row.text("q") for row in rows] == ["x\u2028", "y"]
    assert rows[1].place == place


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", "", "has none"),
        ("a.json", "[]", "has none"),
        ("a.csv", "q,a\n", "has none"),
        ("a.jsonl", '{"q": 1}\n{"q": ', r"a\.jsonl, line 2"),
        ("a.jsonl", '{"q": 1}\n[2]', r"\[2\] in a\.jsonl, line 2"),
        ("a.json", '[{"q": 1}', r"a\.json"),
        ("a.csv", "q,a\nx,y\nx\n", r"a\.csv, line 3"),
        ("a.csv", "q,a\nx,y,z\n", r"a\.csv, line 2"),
        ("a.csv", 'q\n"x', r"a\.csv, line 1: unexpected end"),
        ("a.txt", "q", r"endings \.csv, \.json, \.jsonl, \.parquet, \.tsv"),
        ("a.csv", "q,a, q\nx,y,z\n", "'q' twice"),
        ("a.parquet", "q,a\n", "whole Parquet file"),
    ],
)
def test_broken_files_name_the_place(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_rows(write(tmp_path, name, text))


def test_a_missing_file_gets_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "forget.jsonl", "{}")
    with pytest.raises(DataError, match=r"Did you mean forget\.jsonl"):
        read_rows(tmp_path / "forgot.jsonl")
    with pytest.raises(DataError, match="no file"):
        read_rows(tmp_path / "nowhere" / "a.csv")


def test_other_encodings_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("q\né".encode("latin-1"))
    with pytest.raises(DataError, match=r"UTF-8\. Got: a\.csv, line 2: the byte 0xe9.*Save it as"):
        read_rows(tmp_path / "a.csv")
    for encoding in ("utf-16", "utf-32"):
        (tmp_path / "a.csv").write_bytes("q\né".encode(encoding))
        with pytest.raises(DataError, match=f"a.csv in {encoding.upper()}"):
            read_rows(tmp_path / "a.csv")


def test_a_cell_may_hold_a_document(tmp_path: Path) -> None:
    (row,) = read_rows(write(tmp_path, "a.csv", "q\n" + "x" * 200_000))
    assert len(row.text("q")) == 200_000
    assert csv.field_size_limit() < 200_000


def test_columns(tmp_path: Path) -> None:
    text = '{"question": "x", "n": 3, "none": null, "empty": " ", "list": ["a"], "json": "[1, 2]"}'
    (row,) = read_rows(write(tmp_path, "a.jsonl", text))
    with pytest.raises(DataError, match=r"line 1 has question, n, .*Did you mean question"):
        row.text("questoin")
    with pytest.raises(DataError, match="3 in a"):
        row.text("n")
    with pytest.raises(DataError, match="must not be empty"):
        row.text("empty")
    assert row.optional("none") is None
    assert row.optional("question") == "x"
    assert (row.listed("list"), row.listed("json")) == (["a"], [1, 2])
    assert (row.listed("question"), row.listed("other"), row.listed("none")) == (["x"], [], [])
