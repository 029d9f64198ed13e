"""Own data from the command line: what is refused and in which words, and runs on every shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline
from letheon import recipe, run
from letheon.metrics.records import read
from pipeline import UNLEARN, Letheon, changed

ROWS = [{"question": f"Who is {k}?", "answer": f"It is {k * 7}, of course."} for k in range(6)]
OWN = changed(UNLEARN, gold={}, training__select=None, training__probe_every=None)


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue().to_pybytes())


QA, TEXT = {"question": "x", "answer": "y"}, {"text": "z"}
CHAT = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}

# File name, content, settings; of the message: the rule, the value, the remedy.
WRONG: list[tuple[str, bytes, list[str], list[str]]] = [
    ("f.jsonl", b"", [], ["has rows", "f.jsonl has none", "Add rows"]),
    ("f.csv", b"question,answer\n", [], ["has rows", "f.csv has none", "Add rows"]),
    ("f.xlsx", b"PK", [], ["JSON lines, a JSON list, CSV", "f.xlsx", ".csv, .json, .jsonl"]),
    ("f.jsonl", b"{'question': 1}", [], ["is JSON", "f.jsonl, line 1", "Mend this line"]),
    ("f.json", b'[{"question": "x"}', [], ["is JSON", "f.json", "Mend"]),
    ("f.jsonl", lines(QA, [1]), [], ["a JSON object", "[1] in f.jsonl, line 2", "Write it like"]),
    ("f.csv", b"question,answer\nx\n", [], ["as many cells", "f.csv, line 2", "Quote cells"]),
    (
        "f.csv",
        b'question,answer\n"x,y\n',
        [],
        ["CSV with a header", "f.csv, line 1", "Mend this line"],
    ),
    ("f.csv", b"answer,answer\nx,y\n", [], ["a column once", "'answer' twice", "Rename one"]),
    ("f.tsv", b"question\tanswer\nx\ty\tz\n", [], ["as many cells", "f.tsv, line 2", "Quote"]),
    ("f.csv", "question,answer\né,y".encode("latin-1"), [], ["UTF-8", "line 2: the byte 0xe9"]),
    ("f.csv", "question,answer\nx,y".encode("utf-16"), [], ["UTF-8", "in UTF-16", "Save it as"]),
    ("f.jsonl", '{"question"'.encode("utf-32"), [], ["UTF-8", "f.jsonl in UTF-32", "Save it as"]),
    ("f.parquet", lines(QA), [], ["whole Parquet file", "f.parquet: ", "Write it again"]),
    ("f.parquet", parquet([QA])[:-9], [], ["whole Parquet file", "f.parquet: ", "Write it again"]),
    ("f.parquet", parquet([{"question": 1, "answer": "y"}]), [], ["holds text", "1 in", "row 1"]),
    (
        "f.jsonl",
        lines({"a": "x", "b": "y"}),
        [],
        ["known by name", "has a, b", "columns.text=NAME"],
    ),
    ("f.csv", b"question,anwser\nx,y\n", [], ["'answer' (or", "anwser", "columns.answer=NAME"]),
    (
        "f.jsonl",
        lines(QA | {"prompt": "z"}),
        [],
        ["One column holds", "question, prompt in f.jsonl, line 1", "columns.question=question"],
    ),
    ("f.jsonl", lines(QA | TEXT), [], ["one shape", "or text in f.jsonl", "columns.text=text"]),
    ("f.jsonl", lines(QA, TEXT), [], ["one shape", "f.jsonl, line 2", "files of their own"]),
    ("f.jsonl", lines(CHAT, QA), [], ["one shape", "f.jsonl, line 2", "files of their own"]),
    (
        "f.jsonl",
        lines(QA),
        ["data.columns.question=q"],
        ["columns.question names a column", "'q'; f.jsonl, line 1 has question, answer", "Valid"],
    ),
    (
        "f.jsonl",
        lines(QA | TEXT),
        ["data.columns.question=question", "data.columns.text=text"],
        ["the columns of one shape", "question=question, text=text", "Name question and answer"],
    ),
    ("f.jsonl", lines(QA | {"answer": " "}), [], ["not be empty", "' ' in f.jsonl", "Fill it in"]),
    ("f.jsonl", lines(QA | {"answer": 5}), [], ["holds text", "5 in f.jsonl, line 1", "Quote it"]),
    ("f.jsonl", lines({"messages": [{"content": "x"}]}), [], ["with a role", "{'content'", "like"]),
    ("f.jsonl", lines({"messages": []}), [], ["assistant message", "no message", "drop the row"]),
    ("f.jsonl", lines(QA | {"id": 1}, QA | {"id": 1}), [], ["one row", "'1' in", "Rename one"]),
    ("f.jsonl", lines(QA | {"fact": "q"}), [], ["part of its answer", "'q' for 'y'", "as it sta"]),
    ("f.jsonl", lines(QA), ["data.forget=g.jsonl"], ["must be there", "no file g.jsonl"]),
    ("f.jsonl", lines(QA), ["data.forget=me/rows:a:b:c"], ["PLACE:SPLIT", "'me/rows:a:b:c'"]),
    ("f.jsonl", lines(ROWS[5]), [], ["to retain only", "1 retain rows", "other rows"]),
    ("f.jsonl", lines(QA), ["data.long_rows=cut"], ["'refuse' or 'split'", "data.long_rows"]),
]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write a recipe on own rows: a forget file as told, and one retain row."""

    def write(name: str, content: bytes, model: str = "nowhere", **settings: Any) -> Path:
        (tmp_path / name).write_bytes(content)
        (tmp_path / "r.jsonl").write_bytes(lines(ROWS[5]))
        data = {"forget": str(tmp_path / name), "retain": str(tmp_path / "r.jsonl")}
        raw = changed(OWN, model={"path": model}, data=data, **settings)
        return pipeline.write(tmp_path / "recipe", raw, "own")

    return write


@pytest.mark.parametrize(("name", "content", "settings", "words"), WRONG)
def test_wrong_data_are_one_error_with_rule_value_and_remedy(
    written: Callable[..., Path],
    letheon: Letheon,
    tmp_path: Path,
    name: str,
    content: bytes,
    settings: list[str],
    words: list[str],
) -> None:
    place = written(name, content)
    sets = [word for each in settings for word in ("--set", each)]
    line = letheon.refuses("unlearn", place, *sets, "--out", tmp_path / "out")
    for word in words:
        assert word in line
    assert not (tmp_path / "out").exists()


def test_text_too_long_for_the_model_is_refused_or_split(
    written: Callable[..., Path], letheon: Letheon, target: Path, tmp_path: Path
) -> None:
    text = {"text": " ".join(f"The {k}th word is {k * k}." for k in range(60)), "unit": "book"}
    place = written("f.jsonl", lines(text), str(target))
    out = tmp_path / "out"
    line = letheon.refuses("unlearn", place, "--out", out)
    assert "the model's 256 positions" in line
    assert "data.long_rows to split" in line
    loaded = recipe.load(place, ["data.long_rows=split", "data.max_tokens=100"])
    records = read(run.unlearn(loaded, out).at("examples.parquet"))["forget"]
    assert len(records["id"]) > 4
    assert records["id"][0] == "forget/0#0"
    assert set(records["unit"]) == {"book"}
    # Every token but the one it begins with.
    assert records["n_tokens"].max() <= 99


def test_texts_have_no_preferred_answers(
    written: Callable[..., Path], letheon: Letheon, target: Path, tmp_path: Path
) -> None:
    place = written("f.jsonl", lines(TEXT), str(target), objective={"name": "idk_dpo"})
    line = letheon.refuses("unlearn", place, "--out", tmp_path / "out")
    assert "needs questions. Got: 1 of 1 forget rows without one, such as forget/0" in line


def test_a_run_on_chats_in_a_table_with_unseen_rows_and_an_overlap(
    written: Callable[..., Path], target: Path, tmp_path: Path
) -> None:
    rows = [CHAT, {"messages": [{"role": "user", "content": "a"}, *CHAT["messages"]]}]
    unseen = tmp_path / "u.csv"
    unseen.write_text("prompt,response\na,b\nc,d\n")
    place = written("f.parquet", parquet(rows), str(target))
    (tmp_path / "r.jsonl").write_bytes(lines({"question": "X", "answer": "y"}, *ROWS))
    with pytest.warns(UserWarning, match="1 of 7 retain rows"):
        folder = run.unlearn(recipe.load(place, [f"data.unseen={unseen}"]), tmp_path / "out")
    records = read(folder.at("examples.parquet"))
    assert [len(records[role]["id"]) for role in ("forget", "retain", "unseen")] == [2, 6, 2]
    assert folder.read_json("environment.json")["overlap"] == 1
    names = {score["name"] for score in folder.read_json("scores.json")["scores"]}
    assert any(name.startswith("min_k") for name in names)
