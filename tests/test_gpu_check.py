"""scripts/gpu_check.py: what is done once, what is left in time, what it refuses; all, small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

from letheon import models
from letheon.errors import DivergedError
from letheon.recipe import Make

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")


class Time:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def finish(
    folder: Path, works: Mapping[str, Callable[[], Any]], clock: Any = None
) -> tuple[list[str], list[str]]:
    import _steps

    steps = [_steps.Step("stage", name, work) for name, work in works.items()]
    ledger = _steps.Ledger(folder)
    return _steps.finish(steps, ledger, clock or _steps.Clock(None), say=lambda text: None)


def test_a_finished_step_is_not_done_again(tmp_path: Path) -> None:
    import _steps

    done: list[str] = []

    def work(name: str) -> Callable[[], dict[str, Any]]:
        return lambda: done.append(name) or {"by": name}  # type: ignore[func-returns-value]

    works = {name: work(name) for name in "abc"}
    assert finish(tmp_path, works) == ([], [])
    assert finish(tmp_path, works) == ([], [])
    assert done == ["a", "b", "c"]
    assert _steps.Ledger(tmp_path).result("b") == {"by": "b"}


def test_a_failed_step_holds_up_no_other_and_is_done_again(tmp_path: Path) -> None:
    answers = iter([{"failed": "no"}, {"fine": 1}])

    def diverge() -> dict[str, Any]:
        raise DivergedError("It stays finite.", remedy="Lower lr.")

    works = {"a": lambda: next(answers), "b": diverge, "c": dict}
    assert finish(tmp_path, works) == ([], ["a", "b"])
    assert finish(tmp_path, {"a": works["a"], "c": pytest.fail}) == ([], [])


def test_what_is_left_when_the_time_is_over_is_named_and_seconds_are_counted(
    tmp_path: Path,
) -> None:
    import _steps

    time = Time()

    def slow() -> dict[str, Any]:
        time.now += 7
        return {}

    works = dict.fromkeys("abcd", slow)
    assert finish(tmp_path, works, _steps.Clock(10, now=time)) == (["c", "d"], [])
    assert finish(tmp_path, works, _steps.Clock(10, now=time)) == ([], [])
    assert _steps.Ledger(tmp_path).seconds("a") >= 0
    assert len((tmp_path / "seconds.jsonl").read_text().splitlines()) == 5  # c: begun, then done


def test_a_run_is_left_just_after_a_checkpoint_when_the_next_would_come_too_late() -> None:
    import _steps

    time, shown = Time(), []
    watch = _steps.Clock(100, now=time).watch(shown.append, every=10)
    watch({"event": "resume", "step": 0})

    def train() -> None:
        for step in range(1, 41):
            time.now += 3
            watch({"event": "step", "step": step})

    with pytest.raises(_steps.TimeOverError):
        train()
    # After step 21 63 s are gone and ten steps take 30; after step 31 only 7 s are left.
    assert shown[-1]["step"] == 31


def test_without_checkpoints_a_run_is_left_when_the_time_is_over() -> None:
    import _steps

    time = Time()
    watch = _steps.Clock(10, now=time).watch(lambda event: None, every=None)
    watch({"event": "step", "step": 1})
    time.now = 11
    with pytest.raises(_steps.TimeOverError):
        watch({"event": "progress", "name": "x", "done": 1, "total": 2})


def test_a_command_that_outlasts_the_time_is_ended() -> None:
    import _steps
    import gpu_check

    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(_steps.TimeOverError):
        gpu_check.command(words, _steps.Clock(0.5))
    words = [sys.executable, "-c", "print(1); raise SystemExit(3)"]
    assert gpu_check.command(words, _steps.Clock(None)) == (3, "1\n")


def test_wrong_input_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import gpu_check

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert gpu_check.main(words) == 2
    assert "error: At full size this needs a CUDA device." in capsys.readouterr().err
    assert gpu_check.main([*words, "--reduced"]) == 2
    assert "TOFU's JSON files" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_model_has_125_million_parameters_without_its_vocabulary() -> None:
    for name in ("target", "gold"):
        raw = yaml.safe_load((ROOT / f"recipes/tofu_gptneo125m_{name}.yaml").read_text())
        model = models.skeleton(Make(**raw["model"]["make"]))
        inner = model.num_parameters() - model.get_input_embeddings().weight.numel()
        assert model.num_parameters() == 134_078_976
        assert inner > 125_000_000
        assert model.config.eos_token_id is None  # GPT-Neo's own would be outside the vocabulary


class Ended(NamedTuple):
    """How a command ended, and its lines."""

    code: int
    lines: list[str]
    err: str


def check(out: Path, data: Path, *words: str) -> Ended:
    """Run the script as a user does, at reduced size."""
    command = [sys.executable, str(ROOT / "scripts/gpu_check.py"), "--reduced", "--data", str(data)]
    done = subprocess.run(
        [*command, "--out", str(out), *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    return Ended(done.returncode, done.stdout.splitlines(), done.stderr)


def few_rows(data: Path, folder: Path) -> Path:
    """Copy of TOFU's files what the reduced run needs, with few control rows: they cost most."""
    rows = {"retain99": 120, "real_authors_perturbed": 6, "world_facts_perturbed": 6}
    rows |= {"forget01_perturbed": 20, "forget10_perturbed": 40, "retain_perturbed": 40}
    folder.mkdir()
    for name, count in rows.items():
        lines = (data / f"{name}.json").read_text(encoding="utf-8").splitlines(keepends=True)
        text = "".join(lines[:count])
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_the_reduced_benches_measure_every_ratio(
    tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    ended = check(tmp_path / "out", shared_data("tofu"), "--stage", "benches")
    assert (ended.code, ended.lines[-1]) == (0, "nothing is left"), ended
    steps = json.loads((tmp_path / "out/results/gpu.json").read_text())["steps"]
    assert "gpu_layer_vs_three_gemms" in steps["bench-layer"]["ratios"]
    wanted = {f"step_{x}_vs_peft_{o}" for x in ("time", "memory") for o in ("gd", "npo")}
    assert set(steps["bench-step"]["ratios"]) == wanted
    assert "`gpu_layer_vs_three_gemms`" in (tmp_path / "out/results/gpu.md").read_text()


@pytest.mark.slow
def test_the_reduced_run_stops_in_time_goes_on_and_makes_a_page(
    tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    out, data = tmp_path / "out", few_rows(shared_data("tofu"), tmp_path / "data")
    run = ("--stage", "run", "--minutes", "0")  # no time for the search
    ended = check(out, data, *run, "--stop-after", "15")
    assert ended.code == 0, ended
    assert ended.lines[-1].startswith("left: "), ended
    ended = check(out, data, *run)
    assert (ended.code, ended.lines[-1]) == (0, "nothing is left"), ended
    page = (out / "results/gpu.md").read_text()
    for words in ("not tuned", "GD + LoRA", "GD + sine", "NPO + sine", "Command", "Hardware"):
        assert words in page
    found = json.loads((out / "results/comparison.json").read_text())
    assert [row["role"] for row in found["rows"]] == ["target", *["gold"] * 2, *["method"] * 3]
    names = {path.name for path in (out / "results").iterdir()}
    assert names == {"gpu.md", "gpu.json", "comparison.json"}
    (out / "identity.json").write_text('{"schema": 1, "identity": "another"}')
    ended = check(out, data, *run)
    assert ended.code == 2
    assert "A folder holds one run." in ended.err
