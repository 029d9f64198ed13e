"""The command line in-process: its words, its exit codes, one line for every error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pipeline
from letheon import catalogue
from letheon.metrics.records import read
from pipeline import UNLEARN, Letheon, changed, listing


@pytest.fixture
def unlearn(recipes: Path, home: Path, tmp_path: Path) -> list[str]:
    """The words of an unlearning command that would work."""
    words = ["unlearn", recipes / "gd-sine.yaml", "--out", tmp_path / "out", "--models", home]
    return [str(word) for word in words]


def test_from_recipe_to_page(recipes: Path, home: Path, tmp_path: Path, letheon: Letheon) -> None:
    out = tmp_path / "runs"
    places = {name: out / name for name in ("gd-sine", "npo-tanh")}
    for name, place in places.items():
        words = (recipes / f"{name}.yaml", "--out", place, "--models", home)
        ended = letheon("unlearn", *words)
        assert ended.code == 0, ended.err
        assert "forget_quality" in ended.out
        assert "forgotten and kept: not passed" in ended.out
        assert f"run folder: {place}" in ended.out
        again = letheon("unlearn", *words)
        assert (again.code, again.out) == (0, ended.out)
        assert "training" not in again.err
    compared = letheon("compare", *places.values(), "--out", out / "compared")
    assert compared.code == 0, compared.err
    assert all(word in compared.out for word in ("GD + sine", "NPO + tanh", "target", "gold"))
    assert letheon("report", out / "compared").code == 0
    page = (out / "compared/report.html").read_text()
    assert "NPO + tanh" in page
    assert letheon("report", out / "compared", "--markdown", tmp_path / "x.md").code == 0
    assert "| " in (tmp_path / "x.md").read_text()
    assert letheon("merge", places["gd-sine"], "--out", tmp_path / "merged").code == 0
    words = ("--model", tmp_path / "merged", "--out", tmp_path / "scored", "--models", home)
    scored = letheon("evaluate", recipes / "gd-sine.yaml", *words)
    assert scored.code == 0, scored.err
    whole = read(places["gd-sine"] / "examples.parquet")["forget"]["nll"]
    assert read(tmp_path / "scored/examples.parquet")["forget"]["nll"] == pytest.approx(
        whole, abs=1e-5
    )


def test_json_is_all_there_is_on_standard_output(
    sine_run: Path, tanh_run: Path, recipes: Path, home: Path, letheon: Letheon
) -> None:
    words = ("unlearn", recipes / "gd-sine.yaml", "--out", sine_run, "--models", home, "--json")
    assert json.loads(letheon(*words).out) == json.loads((sine_run / "scores.json").read_text())
    compared = json.loads(letheon("compare", sine_run, tanh_run, "--json").out)
    assert [row["name"] for row in compared["rows"][-2:]] == ["gd-sine", "npo-tanh"]
    assert json.loads(letheon("list", "bounds", "--json").out)["bounds"]["sine"]
    assert json.loads(letheon("validate", recipes / "gd-sine.yaml", "--json").out)["valid"] is True


def test_what_was_skipped_is_said(target: Path, tmp_path: Path, letheon: Letheon) -> None:
    files = {}
    for k, name in enumerate(("forget", "retain")):
        files[name] = str(tmp_path / f"{name}.jsonl")
        row = {"question": f"Who is {k}?", "answer": f"It is {k}."}
        Path(files[name]).write_text(json.dumps(row) + "\n")
    raw = changed(UNLEARN, model={"path": str(target)}, gold={}, training__select=None, data=files)
    ended = letheon("unlearn", pipeline.write(tmp_path, raw, "own"), "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    last = ended.out.partition("not possible here: ")[2]
    assert "forget_quality" in last.partition(". Why: ")[0]
    assert "no verdict: the gate compares with two models trained without" in last
    assert "before    after" in ended.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "training.lr=[1"], "An override's value must be valid YAML"),
        (["--set", "training.lrr=1"], "Did you mean lr?"),
        (["--set", "model={path: /nope}"], "there is no such folder"),
        (["--set", "adapter.r=99"], "A rank cannot be above"),
        (["--set", "objective.name=npoo"], "Did you mean npo?"),
        (["--set", "data.params.n_forget=x"], "data.params.n_forget = 'x'"),
    ],
)
def test_wrong_input_ends_with_2_and_one_line(
    unlearn: list[str], tmp_path: Path, letheon: Letheon, words: list[str], said: str
) -> None:
    assert said in letheon.refuses(*unlearn, *words)
    assert not (tmp_path / "out").exists()


def test_a_failure_at_run_time_ends_with_1(
    unlearn: list[str], tmp_path: Path, letheon: Letheon
) -> None:
    line = letheon.refuses(*unlearn, "--set", "training.lr=1e30", code=1)
    assert "must stay finite; at step" in line
    assert letheon.refuses(*unlearn[:3], "/proc/nope/out", *unlearn[4:], code=1).startswith(
        "error: /proc/nope/out could not be written"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["unlern"], "No such command"),
        (["list", "--foo"], "No such option"),
        (["train"], "Missing argument"),
        (["demo", "--seed", "x"], "Invalid value for '--seed'"),
    ],
)
def test_a_wrong_command_ends_with_2(words: list[str], said: str, letheon: Letheon) -> None:
    ended = letheon(*words)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ["validate", "{empty}"],
        ["train", "{recipes}/gd-sine.yaml"],
        ["unlearn", "{recipes}/target.yaml"],
        ["evaluate"],
        ["evaluate", "--tofu-log", "{empty}"],
        ["evaluate", "--tofu-log", "{empty}", "--reference-log", "{empty}"],
        ["evaluate", "{recipes}/gd-sine.yaml", "--model", "{empty}"],
        ["compare", "{empty}"],
        ["compare", "{run}", "{recipes}"],
        ["report", "{empty}"],
        ["report", "{recipes}/gold.yaml"],
        ["report", "{run}", "--markdown", "{empty}/x.md"],
        ["merge", "{empty}", "--out", "{empty}/x"],
        ["merge", "{run}", "--out", "{recipes}"],
        ["merge", "{run}", "--out", "{recipes}/gold.yaml"],
        ["merge", "{run}", "--out", "{empty}/x", "--base", "{empty}"],
        ["list", "objektives"],
        ["demo", "--methods", "gd-sine,foo"],
        ["study", "{empty}"],
        ["study", "{recipes}/gold.yaml"],
    ],
    ids=" ".join,
)
def test_every_command_refuses_in_one_line(
    words: list[str], sine_run: Path, recipes: Path, tmp_path: Path, letheon: Letheon
) -> None:
    before = listing(recipes), listing(sine_run)
    places = {"empty": tmp_path, "recipes": recipes, "run": sine_run}
    letheon.refuses(*(word.format(**places) for word in words))
    assert listing(tmp_path) == []
    assert (listing(recipes), listing(sine_run)) == before


def test_an_adapter_is_merged_into_no_other_model(
    sine_run: Path, home: Path, tmp_path: Path, letheon: Letheon
) -> None:
    gold = next(home.glob("gold-*")) / "merged"
    line = letheon.refuses("merge", sine_run, "--out", tmp_path / "out", "--base", gold)
    assert "into the weights that it was trained on" in line
    assert not (tmp_path / "out").exists()


def test_an_interruption_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, letheon: Letheon
) -> None:
    def interrupt(kind: str | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(catalogue, "entries", interrupt)
    assert letheon.refuses("list", code=1) == (
        "error: The command was interrupted. The same command goes on with the run."
    )


def test_every_command_has_help_with_an_example(letheon: Letheon) -> None:
    commands = letheon("--help").out
    for verb in (
        "demo",
        "validate",
        "train",
        "unlearn",
        "study",
        "evaluate",
        "attack",
        "chat",
        "scrub",
        "compare",
        "report",
        "merge",
    ):
        assert verb in commands
        ended = letheon(verb, "--help")
        assert ended.code == 0
        assert f"Example: letheon {verb} " in " ".join(ended.out.split())


def test_list_names_what_recipes_can_name(letheon: Letheon) -> None:
    found = letheon("list").out
    for word in ("objectives:", "npo", "bounds:", "sine", "metrics:", "rouge", "people", "tofu"):
        assert word in found
