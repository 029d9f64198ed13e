"""Runs side by side: rows, references, and what is not comparable."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import pipeline
from letheon import compare, recipe, report, run
from letheon.errors import DataError, FolderError
from letheon.folder import RunFolder
from letheon.metrics import compute_all
from letheon.metrics.records import read
from letheon.report import words
from pipeline import changed


def test_rows_are_references_then_runs(sine_run: Path, tanh_run: Path) -> None:
    found = compare.compare([sine_run, tanh_run], command="x", default="npo-tanh")
    rows = found["rows"]
    assert [(row["role"], row["name"], row["seed"]) for row in rows] == [
        ("target", "target", 0),
        ("gold", "gold", 2),
        ("gold", "second_gold", 1),
        ("method", "gd-sine", 0),
        ("method", "npo-tanh", 0),
    ]
    assert [row["default"] for row in rows] == [False] * 4 + [True]
    assert [row["bound"] for row in rows] == [None, None, None, "sine", "tanh"]
    people = pipeline.PEOPLE
    assert found["task"]["n_forget"] == people["n_forget"] * people["rows_per_person"]
    assert found["task"]["n_forget_units"] == people["n_forget"]


def test_a_comparison_names_the_accelerator_of_its_runs(
    sine_run: Path, tanh_run: Path, tmp_path: Path
) -> None:
    assert compare.compare([sine_run], command="x")["environment"]["accelerators"] == []
    folder = RunFolder(shutil.copytree(sine_run, tmp_path / "run"))
    said = folder.read_json(RunFolder.ENVIRONMENT) | {"accelerator": "A Card"}
    folder.write_json(RunFolder.ENVIRONMENT, said)
    found = compare.compare([folder.path], command="x")
    assert found["environment"]["accelerators"] == ["A Card"]
    assert "A Card" in report.markdown([found])


def test_scores_are_the_runs_own_and_references_are_scored_against_gold(
    sine_run: Path, tanh_run: Path
) -> None:
    rows = compare.compare([sine_run, tanh_run], command="x")["rows"]
    own = json.loads((tanh_run / "scores.json").read_text())["scores"]
    assert rows[4]["scores"] == {
        s["name"]: {k: s[k] for k in ("value", "low", "high", "n")} for s in own
    }
    gold = read(sine_run / "reference/gold.parquet")
    target = compute_all(read(sine_run / "reference/target.parquet"), gold).scores
    assert {k: v["value"] for k, v in rows[0]["scores"].items()} == {
        s.name: s.value for s in target
    }
    assert "gold_distance" not in rows[1]["scores"]


def test_a_written_comparison_finds_its_runs_again(
    sine_run: Path, tanh_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "deep/er"
    compare.write(compare.compare([sine_run, tanh_run], command="x", relative_to=out), out)
    found = report.load_comparison(out)
    assert [r.name for _, r in report.load_runs(out, found)] == ["gd-sine", "npo-tanh"]
    (page,) = compare.report([out])
    assert page.read_text().count("<svg") > 0


def test_a_report_of_one_run_joins_its_manifest(sine_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sine_run, tmp_path / "run"))
    compare.report([folder])
    compare.write(compare.compare([folder], command="x", relative_to=folder), folder)
    RunFolder(folder).verify_manifest()


def test_show_prints_table_and_verdict(sine_run: Path, tanh_run: Path) -> None:
    text = StringIO()
    found = compare.compare(
        [sine_run, tanh_run], command="x", phases=[{"name": "[odd] phase", "seconds": 1.25}]
    )
    compare.show(found, Console(file=text, width=300))
    for word in ("GD + sine", "NPO + tanh", "gold (seed 1)", "[odd] phase: 1.2 s", "cannot decide"):
        assert word in text.getvalue()


def test_runs_of_one_method_are_told_apart_by_their_names(sine_run: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(sine_run, tmp_path / "again"))
    found = compare.compare([sine_run, again], command="x")
    assert {row.get("named") for row in found["rows"] if row["role"] == "method"} == {False}
    scores = json.loads((again / "scores.json").read_text())
    scores["run"]["name"] = "gd-other"
    (again / "scores.json").write_text(json.dumps(scores))
    found = compare.compare([sine_run, again], command="x")
    labels = [words.label(row) for row in found["rows"] if row["role"] == "method"]
    assert labels == ["GD + sine (gd-sine)", "GD + sine (gd-other)"]


def test_a_narrow_terminal_breaks_no_interval(sine_run: Path) -> None:
    found = compare.compare([sine_run], command="x")
    for row in found["rows"]:
        score = {"value": 0.123, "low": 0.111, "high": 0.135, "n": 200}
        row["scores"] = dict.fromkeys(("gold_distance", "model_utility"), score)
        row["scores"]["forget_quality"] = score | {"low": None}
        row["cost"] = {"seconds": 1234.5}
    text = StringIO()
    compare.show(found, Console(file=text, width=80))
    lines = [line for line in text.getvalue().splitlines() if "[" in line or "]" in line]
    assert len(lines) == len(found["rows"])
    assert all(line.count("[0.111, 0.135]") == 2 for line in lines)


def test_runs_on_other_data_are_not_compared(sine_run: Path, tmp_path: Path) -> None:
    raws = [pipeline.TARGET, pipeline.GOLD, pipeline.UNLEARN]
    for raw in raws:
        case = pipeline.write(tmp_path, changed(raw, data__params__seed=8, training__steps=1))
    other = run.unlearn(recipe.load(case), tmp_path / "other").path
    with pytest.raises(FolderError, match=r"same data, target and gold models.*other differ"):
        compare.compare([sine_run, other], command="x")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "scores.json").unlink(), "needs scores.json"),
        (lambda f: (f / "scores.json").write_text("{"), "scores.json must be valid JSON"),
        (lambda f: (f / "scores.json").write_text('{"schema": 1}'), "without benchmark, gate"),
        (lambda f: (f / "scores.json").write_text('{"schema": 2}'), "schema 1. Got: schema 2"),
        (lambda f: (f / "examples.parquet").write_bytes(b"xx"), "examples.parquet"),
        (lambda f: (f / "reference/gold.parquet").unlink(), "differ in them"),
    ],
    ids=["unfinished", "broken", "not whole", "of another time", "no records", "no gold"],
)
def test_a_broken_run_is_named(
    sine_run: Path, tanh_run: Path, tmp_path: Path, spoil: object, words: str
) -> None:
    folder = Path(shutil.copytree(sine_run, tmp_path / "run"))
    spoil(folder)  # type: ignore[operator]
    with pytest.raises((FolderError, DataError), match=words):
        compare.compare([folder, tanh_run], command="x")
