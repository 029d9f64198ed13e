"""Whatever a file holds, reading it gives examples or one of Letheon's errors, nothing else."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from letheon.data.example import digest
from letheon.data.files import read_examples
from letheon.data.rows import read_rows
from letheon.errors import DataError, LetheonError

NAMES = ("a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet")
TEXTS = st.text(max_size=30)
# Names that mean something, so that more than the first check is reached.
NAMED = "question Prompt answer response messages text input instruction id unit fact facts"
COLUMNS = st.sampled_from([*NAMED.split(), "perturbed_answer", "paraphrased_answer", "x", ""])
MESSAGE = st.fixed_dictionaries(
    {}, optional={"role": st.sampled_from(["user", "assistant", "system", 3]), "content": TEXTS}
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | MESSAGE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(COLUMNS | TEXTS, VALUES, max_size=5), max_size=4)

quickly = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            examples = read_examples(path)
            assert len(digest(examples)) == 64
            assert examples
            assert all(e.answer.strip() for e in examples)


@pytest.mark.parametrize("name", NAMES)
@quickly
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda b: b"PAR1" + b + b"PAR1"))
@example(b"")
@example(b"\x00")
@example(b"[" * 100_000)
@example(b'{"a":' * 3000 + b"1" + b"}" * 3000)
@example(b'{"question": "x", "answer": ' + b"[" * 400 + b"]" * 400 + b"}")
@example(b'{"question": "\\ud800", "answer": "y"}')
@example(b"question,answer\n" + b"9" * 5000 + b"," + b"[" * 500)
def test_any_bytes(name: str, content: bytes) -> None:
    read(name, content)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@quickly
@given(ROWS, st.booleans())
def test_any_json(name: str, rows: list[Any], whole: bool) -> None:
    lines = [json.dumps(row) for row in rows]
    read(name, (f"[{', '.join(lines)}]" if whole else "\n".join(lines)).encode())


@quickly
@given(VALUES)
def test_any_json_value(value: Any) -> None:
    read("a.json", json.dumps(value).encode())


@pytest.mark.parametrize(("name", "between"), [("a.csv", ","), ("a.csv", ";"), ("a.tsv", "\t")])
@quickly
@given(st.lists(COLUMNS | TEXTS, max_size=4), st.lists(st.lists(TEXTS, max_size=4), max_size=4))
def test_any_csv(name: str, between: str, header: list[str], rows: list[list[str]]) -> None:
    lines = [between.join(cells) for cells in [header, *rows]]
    read(name, "\n".join(lines).encode("utf-8", "surrogatepass"))


@quickly
@given(st.dictionaries(COLUMNS, st.lists(VALUES, min_size=2, max_size=2), max_size=5))
def test_any_table(columns: dict[str, list[Any]]) -> None:
    try:
        table = pa.table(columns)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
    except (pa.ArrowException, OverflowError, ValueError):
        return
    read("a.parquet", sink.getvalue().to_pybytes())


@quickly
@given(st.data())
def test_a_broken_table(data: st.DataObject) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"question": ["x"] * 9, "answer": ["y"] * 9}), sink)
    whole = bytearray(sink.getvalue().to_pybytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    read("a.parquet", bytes(whole))


@quickly
@given(st.text(max_size=40))
@example("a\x00b")
@example("x" * 5000)
@example("~/x.jsonl")
def test_any_source(tmp_path_factory: pytest.TempPathFactory, source: str) -> None:
    if "/" in source or source.strip(".") == "":
        return  # no hub and no folder of this machine's
    with pytest.raises(LetheonError):
        read_rows(tmp_path_factory.getbasetemp() / source)
