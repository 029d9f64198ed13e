"""A tiny study from its file to its pages: killed and gone on with, and a row of it run again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_study import write

from pipeline import Letheon

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MACHINE = ("seconds", "peak_bytes", "tuning_seconds", "environment", "accelerators")


def numbers(node: Any) -> Any:
    """Leave out what a machine's speed, memory and versions decide."""
    if isinstance(node, dict):
        return {key: numbers(value) for key, value in node.items() if key not in MACHINE}
    return [numbers(each) for each in node] if isinstance(node, list) else node


def outcome(out: Path) -> Any:
    return numbers(json.loads((out / "study.json").read_text()))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny study's file."""
    return write(tmp_path_factory.mktemp("study")).parent


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """The folder of the finished tiny study, run without a break; not to be changed."""
    from letheon import study

    out = place / "whole"
    study.run(study.load(place / "study.yaml"), out, jobs=0, command="letheon study study.yaml")
    return out


def test_the_command_shows_it_and_goes_on_where_it_is_done(
    place: Path, whole: Path, letheon: Letheon, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (whole / "results").rglob("*.json")}
    words = ("study", place / "study.yaml", "--out", whole, "--jobs", "0")
    ended = letheon(*words)
    assert ended.code == 0, ended.err
    assert "This study cannot decide" in ended.out
    assert all(name in ended.out for name in ("gd-sine", "npo-lora", "0 of 2"))
    assert max(map(len, ended.out.splitlines()[:-1])) <= 80
    assert numbers(json.loads(letheon(*words, "--json").out)) == outcome(whole)
    assert {path: path.stat().st_mtime_ns for path in before} == before, "no job was done again"
    page = tmp_path / "page.md"
    assert letheon("report", whole, "--markdown", page).code == 0
    assert "## Success region" in page.read_text()
    trials = [json.loads(line) for line in (whole / "trials.jsonl").read_text().splitlines()]
    assert [(t["method"], t["trial"]) for t in trials] == [
        (method, trial) for method in ("gd-sine", "npo-lora") for trial in range(2)
    ]
    assert all([p["step"] for p in t["probes"]] == [2, 4] for t in trials)
    assert "another, or with other settings" in letheon.refuses(*words, "--set", "trials=3")


def test_wrong_input_leaves_nothing(place: Path, tmp_path: Path, letheon: Letheon) -> None:
    words = ("study", place / "study.yaml", "--out", tmp_path / "out", "--jobs", "0")
    assert "Did you mean lr?" in letheon.refuses(*words, "--set", "training.lrr=1")
    assert "A rank cannot be above" in letheon.refuses(*words, "--set", "adapter.r=99")
    assert not (tmp_path / "out").exists()


def test_killed_in_the_middle_it_ends_in_the_same_table(place: Path, whole: Path) -> None:
    from letheon import study

    out = place / "killed"
    # The models and the results of one method's trials are there; the queue has to be made again.
    shutil.copytree(whole / "models", out / "models")
    for part in ("model", "limit", "trial/gd-sine"):
        shutil.copytree(whole / "results" / part, out / "results" / part)
    shutil.copy(whole / "identity.json", out)
    words = ["study", place / "study.yaml", "--out", out, "--jobs", "0"]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen([sys.executable, "-m", "letheon", *map(str, words)], env=env)
    try:
        while not list(out.glob("runs/*/*/checkpoints/last.pt")):
            assert running.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert not (out / "study.json").exists()
    loaded = study.load(place / "study.yaml")
    study.run(loaded, out, jobs=0, command="letheon study study.yaml")
    assert outcome(out) == outcome(whole)
    for name in ("scores.jsonl", "trials.jsonl"):
        lines = [(folder / name).read_text().splitlines() for folder in (out, whole)]
        first, second = ([numbers(json.loads(line)) for line in each] for each in lines)
        assert first == second


def test_a_row_can_be_run_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import rerun_row

    committed = tmp_path / "committed"
    committed.mkdir()
    for name in ("study.json", "scores.jsonl"):
        shutil.copy(whole / name, committed)
    shutil.copytree(whole / "models", tmp_path / "home/models")
    words = [str(committed), "--row", "1", "--home", str(tmp_path / "home")]
    assert rerun_row.main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith("row 1: npo-lora on score-0, training.lr ")
    assert "ok   gold_distance " in said
    assert "OUT" not in said
    rows = [json.loads(line) for line in (committed / "scores.jsonl").read_text().splitlines()]
    for row in rows:
        row["scores"]["forget.fact_probability"] |= {"low": 0.9, "high": 0.95}
    (committed / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert rerun_row.main(words) == 1
    assert "OUT  forget.fact_probability" in capsys.readouterr().out
