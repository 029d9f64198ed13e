"""Requests one after another: what they start from, what is measured again, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import pipeline
from letheon import models, outputs, plan, recipe, run
from letheon.errors import DataError, FolderError, InputError, RecipeError
from letheon.metrics.records import read
from letheon.recipe import ModelSource
from letheon.report import html, load_run
from letheon.report.sequence import sequence_tables
from letheon.training import loop
from pipeline import PEOPLE, UNLEARN, Letheon, changed

Runs = Mapping[str, Path]


def raw(name: str, request: int, target: Path, **values: Any) -> dict[str, Any]:
    """A recipe that forgets the one person of a request, of three; no gold model."""
    start = changed(
        UNLEARN,
        name=name,
        gold={},
        model={"path": str(target)},
        training__select=None,
        training__probe_every=None,
        training__steps=4,
        data__params={**PEOPLE, "of": 3, "request": request},
    )
    return changed(start, **values)


def unlearn(folder: Path, what: dict[str, Any], out: Path | None = None) -> Path:
    loaded = recipe.load(pipeline.write(folder / "recipes", what, what["name"]))
    return run.unlearn(loaded, out or folder / what["name"], home=folder / "home").path


@pytest.fixture(scope="module")
def runs(target: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Three requests: the first, one stacked on it, and one merged after that."""
    folder = tmp_path_factory.mktemp("sequence")
    places = {"first": unlearn(folder, raw("first", 1, target))}
    stacked = {"run": str(places["first"]), "how": "stacked"}
    orthogonal = [{"name": "orthogonal"}]
    second = raw("second", 2, target, after=stacked, training__stabilisers=orthogonal)
    places["second"] = unlearn(folder, second)
    third = raw("third", 3, target, after=str(places["second"]))
    del third["model"]
    places["third"] = unlearn(folder, third)
    return places


def scores(place: Path) -> dict[str, Any]:
    return dict(json.loads((place / "scores.json").read_text()))


def weights(place: Path) -> dict[str, torch.Tensor]:
    return load_file(place / "model.safetensors")


def test_a_stacked_request_stands_on_the_first_ones_base(runs: Runs, target: Path) -> None:
    environment = json.loads((runs["second"] / "environment.json").read_text())
    assert environment["after"] == "../first"
    assert environment["model"] == models.checksum(target)
    config = json.loads((runs["second"] / "adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(target)
    assert not [p for p in (runs["second"] / "adapter").iterdir() if p.is_dir()]
    third = json.loads((runs["third"] / "environment.json").read_text())
    assert third["model"] == models.checksum(runs["second"] / "merged")


def test_a_stack_is_merged_into_one_checkpoint(runs: Runs, tmp_path: Path) -> None:
    again = weights(outputs.merge(runs["second"], tmp_path / "merged"))
    own = weights(runs["second"] / "merged")
    first = weights(runs["first"] / "merged")
    assert again.keys() == own.keys()
    for name, weight in again.items():
        torch.testing.assert_close(weight, own[name])
    assert any((own[name] - first[name]).abs().max() > 1e-5 for name in own)


def test_every_request_starts_its_adapter_elsewhere(runs: Runs) -> None:
    """One recipe's seed would let all adapters read the same directions."""
    (told,) = scores(runs["second"])["sequence"]["requests"]
    assert 0 < told["angles"]["smallest"] <= told["angles"]["mean"] <= 90
    assert told["angles"]["mean"] > 45


def test_earlier_requests_are_measured_again(runs: Runs) -> None:
    told = scores(runs["third"])["sequence"]
    assert [each["name"] for each in told["requests"]] == ["first", "second"]
    assert [each["after"] for each in told["utility"]] == ["target", "first", "second", "third"]
    first = {s["name"]: s for s in told["requests"][0]["scores"]}
    name = "forget.fact_probability"
    assert first[name]["n"] == 2
    assert not [name for name in first if "utility" in name or name.startswith("retain")]
    # Measured by evaluating the merged checkpoint on the first request's recipe.
    loaded = recipe.load(runs["first"] / "recipe.yaml")
    place = runs["third"].parent / "evaluated"
    alone = scores(run.evaluate(loaded, str(runs["third"] / "merged"), place).path)
    by_name = {s["name"]: s["value"] for s in alone["scores"]}
    assert first[name]["value"] == pytest.approx(by_name[name], rel=1e-4)
    kept = read(runs["third"] / "earlier/1-first.parquet")["forget"]
    assert (
        kept["unit"].tolist() == read(runs["first"] / "examples.parquet")["forget"]["unit"].tolist()
    )
    assert "sequence" not in scores(runs["first"])


def test_the_same_command_again_returns_at_once_and_resumes_nothing(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was trained again")

    monkeypatch.setattr(loop, "run", never)
    loaded = recipe.load(runs["second"] / "recipe.yaml")
    run.unlearn(loaded, runs["second"])
    other = recipe.override(loaded, ["after.how=merged", "training.stabilisers=[]"])
    with pytest.raises(FolderError, match="holds one run"):
        run.unlearn(other, runs["second"])


def test_the_report_and_the_terminal_tell_of_earlier_requests(runs: Runs, letheon: Letheon) -> None:
    page = html(load_run(runs["third"]))
    for words in ("Earlier requests, measured again", "Utility after each request", "first, after"):
        assert words in page
    (_, table), _ = sequence_tables([("third", scores(runs["third"])["sequence"])])
    assert [row[0] for row in table.rows] == ["first, after third", "second, after third"]
    assert "Not measured" not in table.headers
    copy = runs["third"] / "recipe.yaml"
    ended = letheon("unlearn", copy, "--out", runs["third"])
    assert "Earlier requests, measured again\n  first, after third: How merged" in ended.out


def test_a_plan_knows_the_adapters_below(runs: Runs) -> None:
    found = {
        name: plan.plan(recipe.load(runs[name] / "recipe.yaml"), on="cpu").memory
        for name in ("first", "second")
    }
    assert found["second"].adapter == 2 * found["first"].adapter
    assert found["second"].optimizer == found["first"].optimizer


def test_what_an_earlier_request_had_may_be_gone_but_is_not_replaced(
    runs: Runs, target: Path, tmp_path: Path
) -> None:
    first = shutil.copytree(runs["first"], tmp_path / "first")
    kept = recipe.load(first / "recipe.yaml")
    gone = kept.model_copy(update={"data": recipe.DataSource(forget="gone.jsonl", retain="r")})
    (first / "recipe.yaml").write_text(recipe.dump(gone))
    what = raw("late", 2, target, after=str(first), training__steps=1)
    loaded = recipe.load(pipeline.write(tmp_path / "recipes", what, "late"))
    assert "no file gone.jsonl" in " ".join(run.validate(loaded))
    (told,) = scores(run.unlearn(loaded, tmp_path / "late").path)["sequence"]["requests"]
    assert told["scores"] == []
    assert "no file gone.jsonl" in told["reason"]
    (_, table), _ = sequence_tables([("late", scores(tmp_path / "late")["sequence"])])
    assert "no file gone.jsonl" in table.rows[0][-1]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"after": "/nowhere"}, FolderError, "follows a finished run"),
        ({"after": {"run": "x", "how": "piled"}}, RecipeError, "after.how"),
        ({"after": {"run": "x", "hows": "x"}}, RecipeError, "after.hows. Did you mean how"),
        ({"after": {"run": "x", "how": "stacked"}, "adapter": None}, RecipeError, "an adapter to"),
        ({"training__stabilisers": [{"name": "orthogonal"}]}, RecipeError, "how: stacked"),
        ({"data__params": {**PEOPLE, "of": 3, "request": 4}}, DataError, "request 4 of 3"),
    ],
)
def test_wrong_sequences_are_refused(
    target: Path, tmp_path: Path, change: dict[str, Any], error: type[InputError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        unlearn(tmp_path, raw("wrong", 2, target, **change))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "wrong").exists()


def test_another_models_run_is_not_followed(runs: Runs, target: Path, tmp_path: Path) -> None:
    other = shutil.copytree(target, tmp_path / "other")
    loaded = models.load(ModelSource(path=str(target)))
    with torch.no_grad():
        next(loaded.model.parameters()).add_(1.0)
    models.save(loaded.model, loaded.tokenizer, other)
    with pytest.raises(RecipeError, match="Leave model out"):
        unlearn(tmp_path, raw("wrong", 2, other, after=str(runs["first"])))
    assert not (tmp_path / "wrong").exists()


def test_what_was_forgotten_is_not_rehearsed(runs: Runs, target: Path, tmp_path: Path) -> None:
    """The population as it was for the first request, whose people later belong to retain."""
    data = {**PEOPLE, "of": 3, "request": 3}
    third = raw("third", 3, target)
    place = unlearn(tmp_path, changed(third, name="early", training__steps=1, data__params=data))
    wrong = raw("wrong", 1, target, after=str(place))
    with pytest.raises(DataError, match=r"forgotten by early.*Take the rows of all earlier"):
        unlearn(tmp_path, wrong)


@pytest.mark.slow
def test_earlier_requests_are_compared_with_a_gold_model_that_saw_none(
    runs: Runs, target: Path, tmp_path: Path
) -> None:
    what = raw(
        "other", 2, target, after=str(runs["first"]), gold={"scoring": {"recipe": "gold.yaml"}}
    )
    place = unlearn(tmp_path, what)
    (told,) = scores(place)["sequence"]["requests"]
    names = {s["name"] for s in told["scores"]}
    assert {"forget_quality", "gold_distance", "ks_d"} <= names
    gold = read(place / "earlier/1-first-gold.parquet")["forget"]
    assert gold["unit"].tolist() == ["forget/p000"] * 2
