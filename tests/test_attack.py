"""Attacks on a finished run, end to end at tiny size: what joins the folder, what stops them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import pipeline
from letheon import attack, compare, recipe, registry, report, run
from letheon.attacks import sample
from letheon.attacks.contract import Subject
from letheon.errors import FolderError, MetricError
from letheon.folder import RunFolder
from letheon.metrics.records import read
from pipeline import Letheon, changed, listing

SMALL = ("relearn.steps=2", "relearn.every=1", "sample.n=2", "sample.k=[1,2]", "few_shot.k=1")
CHEAP = ("prefix", "sample")
CHEAP_SET = SMALL[2:4]


@pytest.fixture
def attacked_home(home: Path, tmp_path: Path) -> Path:
    """The tiny models in a folder of the test's own, never attacked."""
    unattacked = shutil.ignore_patterns("attacks")
    return Path(shutil.copytree(home, tmp_path / "home", ignore=unattacked))


@pytest.fixture
def folder(sine_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sine_run, tmp_path / "run"))


@pytest.fixture(scope="module")
def attacked(sine_run: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run under every attack; not to be written into."""
    pytest.importorskip("bitsandbytes", reason="needs the extra quantised: bitsandbytes")
    place = Path(shutil.copytree(sine_run, tmp_path_factory.mktemp("attacked") / "run"))
    attack.run(place, home=home, overrides=SMALL)
    return place


def found(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "attacks.json").read_text())["attacks"])


# --- what an attacked run holds


def test_every_attack_joins_the_run_folder(attacked: Path, home: Path) -> None:
    entries = found(attacked)
    assert sorted(entries) == registry.names("letheon.attacks")
    RunFolder(attacked).verify_manifest()
    for name, entry in entries.items():
        assert (attacked / f"attacks/{name}.parquet").is_file()
        assert (home / "attacks").is_dir()
        one, gold, both = (entry["scores"][k] for k in ("method", "gold", "difference"))
        assert set(one) == set(gold) == set(both)
        for score in one:
            assert both[score]["value"] == pytest.approx(one[score]["value"] - gold[score]["value"])
            if score in ("relearn_steps", "relearn_probability"):
                assert both[score]["low"] is None, "one unit of three was not shown"
                continue
            assert both[score]["low"] <= both[score]["value"] <= both[score]["high"]
        assert any(score in one for score in entry["headline"])
    assert entries["relearn"]["settings"]["lr"] == pytest.approx(0.25 * 1e-2)
    assert [c["steps"] for c in entries["relearn"]["curves"]] == [[0, 1, 2]] * 4


def test_the_adapter_switched_off_is_the_target(attacked: Path) -> None:
    entry = found(attacked)["adapter_off"]
    off, target = (entry["scores"][k]["fact_probability"] for k in ("method", "target"))
    assert off["value"] == pytest.approx(target["value"], rel=1e-6)
    on = entry["scores"]["method"]["fact_probability_on"]["value"]
    scored = json.loads((attacked / "scores.json").read_text())["scores"]
    own = next(s["value"] for s in scored if s["name"] == "forget.fact_probability")
    assert on == pytest.approx(own, rel=1e-4)
    assert on != pytest.approx(off["value"], rel=1e-3)
    assert "ship merged/" in entry["note"]


def test_relearning_starts_from_the_run_and_teaches(attacked: Path) -> None:
    columns = read(attacked / "attacks/relearn.parquet")
    scored = read(attacked / "examples.parquet")["forget"]
    assert columns["method"]["forget"][:, 0] == pytest.approx(np.exp(-scored["fact_nll"]), rel=1e-4)
    assert columns["method"]["forget"].shape == (6, 3)
    held_out = columns["method"]["held_out"].astype(bool)
    assert 0 < held_out.sum() < 6
    assert not set(columns["method"]["unit"][held_out]) & set(columns["method"]["unit"][~held_out])


def test_texts_stay_in_private(attacked: Path) -> None:
    lines = (attacked / "private/attacks/sample.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["said"]) for line in lines] == [2] * 6
    for name in registry.names("letheon.attacks"):
        columns = read(attacked / f"attacks/{name}.parquet")["method"]
        assert {c for c, v in columns.items() if v.dtype.kind in "UO"} == {"id", "unit"}
    assert RunFolder(shutil.copytree(attacked, attacked.parent / "copy")).scrub() > 1


def test_pages_and_comparisons_show_attacks(attacked: Path, tanh_run: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(attacked, tmp_path / "run"))
    (page,) = compare.report([place])
    text = page.read_text()
    assert "adapter off: fact probability" in text
    assert "Relearning from unrelated text" in text
    assert "ship merged/" in text
    found = compare.compare([place, tanh_run], command="x", relative_to=tmp_path)
    assert [set(row.get("attacks", ())) for row in found["rows"][3:]] == [
        set(registry.names("letheon.attacks")),
        set(),
    ]
    assert "### Attacks" in report.markdown([found])
    compare.write(found, tmp_path)
    (page,) = compare.report([tmp_path])
    assert "Relearning from unrelated text" in page.read_text()


def test_attacks_with_other_settings_are_not_compared(attacked: Path, tmp_path: Path) -> None:
    other = RunFolder(shutil.copytree(attacked, tmp_path / "other"))
    said = other.read_json(RunFolder.ATTACKS)
    said["attacks"]["sample"]["settings"]["n"] = 99
    other.write_json(RunFolder.ATTACKS, said)
    with pytest.raises(FolderError, match=r"same settings\. Got: sample of"):
        compare.compare([attacked, other.path], command="x")


# --- resuming, and what is kept of gold and target


def test_the_same_command_again_measures_nothing(
    folder: Path, attacked_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = attack.run(folder, CHEAP, home=attacked_home, overrides=CHEAP_SET)
    before = {name: (folder / name).stat().st_mtime_ns for name in listing(folder)}

    def never(*_: object) -> None:
        raise AssertionError("it was measured again")

    with monkeypatch.context() as patch:
        patch.setattr(sample.Sample, "measure", never)
        assert attack.run(folder, CHEAP, home=attacked_home, overrides=CHEAP_SET) == first
    assert before == {name: (folder / name).stat().st_mtime_ns for name in listing(folder)}
    other = attack.run(
        folder, ["sample"], home=attacked_home, overrides=["sample.n=3", *CHEAP_SET[1:]]
    )
    assert other["attacks"]["prefix"] == first["attacks"]["prefix"]
    assert other["attacks"]["sample"]["settings"]["n"] == 3
    RunFolder(folder).verify_manifest()


def test_gold_and_target_are_attacked_once_for_all_runs(
    folder: Path,
    tanh_run: Path,
    attacked_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    measure = sample.Sample.measure

    def watched(self: sample.Sample, subject: Subject, task: Any) -> Any:
        seen.append(subject.role)
        return measure(self, subject, task)

    monkeypatch.setattr(sample.Sample, "measure", watched)
    options: Any = {"home": attacked_home, "overrides": CHEAP_SET}
    one = attack.run(folder, ["sample"], **options)["attacks"]["sample"]["scores"]
    assert seen == ["gold", "target", "method"]
    second = Path(shutil.copytree(tanh_run, tmp_path / "second"))
    two = attack.run(second, ["sample"], **options)["attacks"]["sample"]["scores"]
    assert seen == ["gold", "target", "method", "method"]
    assert one["gold"] == two["gold"]
    attack.run(second, ["sample"], home=attacked_home, overrides=["sample.seed=1", *CHEAP_SET])
    assert seen[4:] == ["gold", "target", "method"]


def test_an_interrupted_attack_leaves_what_was_finished(
    folder: Path, attacked_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sample.Sample, "measure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            attack.run(folder, CHEAP, home=attacked_home, overrides=CHEAP_SET)
    assert list(found(folder)) == ["prefix"]
    RunFolder(folder).verify_manifest()
    attack.run(folder, CHEAP, home=attacked_home, overrides=CHEAP_SET)
    assert list(found(folder)) == ["prefix", "sample"]


def test_what_the_machine_does_not_allow_is_skipped_unless_named(
    folder: Path, attacked_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("letheon.models.is_bitsandbytes_available", lambda: False)
    monkeypatch.setattr(attack, "NAMES", ["prefix", "quantise"])
    made = attack.run(folder, home=attacked_home)
    assert list(made["attacks"]) == ["prefix"]
    assert [entry["name"] for entry in made["skipped"]] == ["quantise"]
    assert "pip install" in made["skipped"][0]["reason"]


def test_a_loss_that_is_not_finite_ends_a_curve_and_is_told(
    folder: Path, attacked_home: Path
) -> None:
    events: list[dict[str, Any]] = []
    settings = [
        "relearn.lr=1e30",
        "relearn.steps=3",
        "relearn.every=1",
        "relearn.sources=[related]",
    ]
    made = attack.run(
        folder, ["relearn"], home=attacked_home, overrides=settings, watch=events.append
    )
    scores = made["attacks"]["relearn"]["scores"]
    assert scores["method"]["relearn_probability_related"]["value"] is None
    assert any("must stay finite" in e.get("text", "") for e in events)


# --- the user's own data


def test_own_rows_without_facts_or_paraphrases(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {}
    for side, start in (("forget", 0), ("retain", 10)):
        rows = [
            {"question": f"Who is {i}?", "answer": f"It is {i} of {i}.", "unit": f"u{i // 2}"}
            for i in range(start, start + 4)
        ]
        data[side] = str(tmp_path / f"{side}.jsonl")
        Path(data[side]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    gold = {"scoring": {"path": str(next(home.glob("gold-*")) / "merged")}}
    raw = changed(
        pipeline.UNLEARN,
        model={"path": str(next(home.glob("target-*")) / "merged")},
        gold=gold,
        data=data,
        training__select=None,
        training__probe_every=None,
        training__steps=1,
        adapter=None,
    )
    out = run.unlearn(recipe.load(pipeline.write(tmp_path, raw, "own")), tmp_path / "out").path
    made = attack.run(out, home=tmp_path / "kept", overrides=[*SMALL, "quantise.bits=[4bit]"])
    assert set(made["attacks"]) >= {"few_shot", "paraphrase", "prefix", "relearn", "sample"}
    assert "full weights" in next(
        e["reason"] for e in made["skipped"] if e["name"] == "adapter_off"
    )
    assert "probability_worst" in made["attacks"]["paraphrase"]["scores"]["method"]
    assert made["attacks"]["paraphrase"]["skipped"] == [
        "reworded: all forget rows have no paraphrased question"
    ]
    assert made["attacks"]["relearn"]["skipped"] == ["unrelated: the data have no such rows"]
    assert "relearn_steps_unrelated" not in made["attacks"]["relearn"]["scores"]["target"]
    assert (tmp_path / "kept/attacks").is_dir()


# --- the command line


def test_the_command_prints_a_table_and_json(
    folder: Path, attacked_home: Path, letheon: Letheon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = ("attack", folder, "--models", attacked_home, "--attacks", "sample")
    sets = [word for each in CHEAP_SET for word in ("--set", each)]
    ended = letheon(*words, *sets)
    assert ended.code == 0, ended.err
    assert "leak at 2" in ended.out
    assert max(map(len, ended.out.splitlines()[:-1])) <= 80
    assert json.loads(letheon(*words, *sets, "--json").out)["attacks"] == found(folder)
    assert "Example: letheon attack " in letheon("attack", "--help").out
    assert "relearn" in letheon("list", "attacks").out


def test_a_run_without_gold_is_shown_beside_its_target_alone(
    folder: Path, home: Path, letheon: Letheon
) -> None:
    raw = yaml.safe_load((folder / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(yaml.safe_dump(raw | {"gold": {}}))
    shutil.copytree(home, folder.parent / "models", ignore=shutil.ignore_patterns("attacks"))
    for name in ("prefix", "adapter_off"):
        ended = letheon("attack", folder, "--attacks", name)
        assert "skipped gold: the run was made without gold.scoring" in ended.out
    made = json.loads((folder / "attacks.json").read_text())
    assert [entry["name"] for entry in made["skipped"]] == ["gold"]
    assert sorted(made["attacks"]) == ["adapter_off", "prefix"]
    for name, entry in made["attacks"].items():
        assert set(entry["scores"]["method"]) == set(entry["scores"]["target"])
        assert entry["scores"]["gold"] == entry["scores"]["difference"] == {}
        assert set(read(folder / f"attacks/{name}.parquet")) == {"method", "target"}
    assert len(list((folder.parent / "attacks").iterdir())) == 2
    (page,) = compare.report([folder])
    assert "without gold.scoring" in page.read_text()
    before = listing(folder)
    letheon("attack", folder, "--attacks", "prefix")
    assert listing(folder) == before


@pytest.mark.parametrize(
    ("spoil", "words", "said"),
    [
        (None, ["--attacks", "relern"], "Did you mean relearn?"),
        (None, ["--set", "relern.steps=1"], "Did you mean relearn?"),
        (None, ["--set", "sample.m=1"], "Unknown parameter of sample. Got: m"),
        (None, ["--attacks", "prefix", "--set", "sample.n=1"], "for attacks that are made"),
        (None, ["--set", "data.params.seed=8"], "the data are those of the run"),
        (None, ["--models", "/nowhere"], "Name with --models the folder"),
        (lambda f: (f / "scores.json").unlink(), [], "needs scores.json"),
        (lambda f: (f / "manifest.json").unlink(), [], "finished run of letheon unlearn"),
        (lambda f: shutil.rmtree(f / "merged"), [], "letheon merge"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_wrong_input_ends_with_2_and_nothing_written(
    spoil: Any, words: list[str], said: str, folder: Path, home: Path, letheon: Letheon
) -> None:
    if spoil:
        spoil(folder)
    before = listing(folder)
    models = [] if "--models" in words else ["--models", home]
    assert said in letheon.refuses("attack", folder, *models, *words)
    assert listing(folder) == before


def test_a_trained_model_is_no_run_to_attack(home: Path, letheon: Letheon) -> None:
    target = next(home.glob("target-*"))
    assert "finished run of letheon unlearn" in letheon.refuses("attack", target)


def test_more_shots_than_the_context_holds_are_refused(folder: Path, home: Path) -> None:
    config = folder / "merged/config.json"
    config.write_text(config.read_text().replace('embeddings": 256', 'embeddings": 64'))
    with pytest.raises(MetricError, match=r"fit the model's 64 positions.*Lower few_shot.k"):
        attack.run(folder, ["few_shot"], home=home)
    with pytest.raises(MetricError, match="retained rows to show"):
        attack.run(folder, ["few_shot"], home=home, overrides=["few_shot.k=99"])


def test_models_are_found_above_the_run(
    sine_run: Path, attacked_home: Path, tmp_path: Path
) -> None:
    shutil.copytree(attacked_home, tmp_path / "demo/models")
    place = Path(shutil.copytree(sine_run, tmp_path / "demo/methods/run"))
    assert list(attack.run(place, ["prefix"])["attacks"]) == ["prefix"]
    assert len(list((tmp_path / "demo/models/attacks").iterdir())) == 2
