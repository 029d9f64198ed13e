"""A study's file: what it refuses, what methods share, and that no oracle can be written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_study import BASE, spec, write

from letheon.errors import InputError, RecipeError
from letheon.study import Study, fairness, load
from letheon.study.jobs import jobs_of
from letheon.study.spec import recipe_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trails": 3}, "Did you mean trials?"),
        ({"trials": 0}, "greater than or equal to 1"),
        ({"methods__gd-sine__trials": 9}, "Unknown key"),
        ({"methods__gd-sine__serch": {}}, "Did you mean search?"),
        ({"methods__gd-sine__search": {}}, "gd-sine with nothing to search: 2 trials"),
        ({"methods__gd-sine__search": {"training.lr": {"lo": 1, "high": 2}}}, "Did you mean low?"),
        ({"methods__gd-sine__search": {"training.lr": {"low": 2, "high": 1}}}, "low < high"),
        ({"methods__gd-sine__search": {"training.lr": {"choices": [1]}}}, "two at least"),
        (
            {"methods__gd-sine__search": {"training.lr": {"low": 0, "high": 1, "log": True}}},
            "a range with log is above 0",
        ),
        (
            {"methods__gd-sine__search": {"r": {"low": 0.5, "high": 1, "integer": True}}},
            "whole ends",
        ),
        (
            {"methods__gd-sine__search": {"adapter.bound": {"choices": ["sine", "tanh"]}}},
            "in two places",
        ),
        ({"methods__gd-sine__set": {"gold.scoring.seed": 9}}, "which all methods share"),
        ({"methods__gd-sine__set": {"data.params.seed": 9}}, "which all methods share"),
        ({"score": [{"seed": 0}, {"seed": 0}]}, "comes twice"),
        ({"tune": []}, "tune"),
        ({"methods__..": {"search": {"training.lr": {"choices": [1, 2]}}}}, "becomes a folder"),
        ({"base": "nope.yaml"}, "no file"),
        ({"methods__gd-sine__set": {"adapter.bond": "sine"}}, "Did you mean bound?"),
        ({"select": "gate_gap"}, "training.select goes by the study's score"),
        ({"attacks": ["nope"]}, "attacks names attacks"),
        ({"attacks": {"relearn": {"step": 9}}}, "Did you mean steps?"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said.replace("?", r"\?")) as error:
        fairness.check(load(write(tmp_path, spec(**change))))
    assert error.value.exit_code == 2


def test_attacks_are_names_or_names_with_settings(tmp_path: Path) -> None:
    listed, named, strong = (
        load(write(tmp_path, spec(attacks=found)))
        for found in (["relearn"], {"relearn": {}}, {"relearn": {"steps": 9}})
    )
    assert listed.identity == named.identity != strong.identity
    assert Study.from_json(strong.to_json()).spec.attacks == {"relearn": {"steps": 9}}
    assert listed.to_json()["spec"]["attacks"] == ["relearn"]


def test_overrides_reach_the_study_and_the_base(tmp_path: Path) -> None:
    found = load(write(tmp_path), ["trials=3", "training.steps=9", "data.path=/somewhere/else"])
    assert (found.spec.trials, found.base["training"]["steps"]) == (3, 9)
    assert "/somewhere" not in json.dumps(found.to_json())
    assert (
        found.identity == load(tmp_path / "study.yaml", ["trials=3", "training.steps=9"]).identity
    )


def test_what_is_committed_makes_the_same_study(study: Study) -> None:
    again = Study.from_json(json.loads(json.dumps(study.to_json())))
    assert again.identity == study.identity
    assert jobs_of(again) == jobs_of(study)


def test_a_recipe_has_what_all_share_then_the_methods_then_the_instances(study: Study) -> None:
    found = recipe_of(study, "score-1", "npo-lora", {"training.lr": 0.5})
    assert (found.name, found.seed, found.training.lr) == ("npo-lora", 1, 0.5)
    assert (found.objective.name, found.adapter and found.adapter.bound) == ("npo", "identity")
    assert found.training.steps == BASE["training"]["steps"]
    assert study.base["objective"]["name"] == "gradient_difference", "the base is left alone"


def test_every_method_has_the_same_trials(study: Study) -> None:
    trials = [job for job in jobs_of(study).values() if job.kind == "trial"]
    counts = {name: sum(job.method == name for job in trials) for name in study.spec.methods}
    assert counts == {"gd-sine": 2, "npo-lora": 2}


def test_a_model_is_trained_once_and_waited_for(study: Study) -> None:
    jobs = jobs_of(study)
    models = [key for key, job in jobs.items() if job.kind == "model"]
    assert len(models) == 3, "target and two gold models, the same on all instances"
    final = jobs["run/gd-sine/score-1"]
    assert set(models) <= set(final.needs)
    assert {"trial/gd-sine/000/tune-0", "trial/gd-sine/001/tune-0"} <= set(final.needs)
    assert not any("npo-lora" in key for key in final.needs)


def test_the_gold_model_that_scores_is_never_tuned_with(tmp_path: Path) -> None:
    leak = spec(tune=[{"seed": 5, "gold.selection.seed": 2, "gold.scoring.seed": 1}])
    with pytest.raises(InputError, match=r"gold\.selection of tune-0 is gold\.scoring of"):
        fairness.check(load(write(tmp_path / "leak", leak)))
    oracle = spec(score=[{"gold.scoring.seed": 1}])
    with pytest.raises(InputError, match="is an oracle"):
        fairness.check(load(write(tmp_path / "oracle", oracle)))
    other = spec(tune=[{"data.params.seed": 8, "gold.selection.seed": 2, "gold.scoring.seed": 1}])
    assert fairness.check(load(write(tmp_path / "other", other))) == []


def test_shared_rows_are_said(study: Study) -> None:
    notes = fairness.check(study)
    assert len(notes) == 2
    assert "the same rows as tune-0, with another gold model and other paraphrases" in notes[0]


@pytest.mark.parametrize("name", ["people", "tofu"])
def test_the_studies_of_this_project_are_fair(name: str) -> None:
    found = load(ROOT / f"studies/{name}.yaml")
    fairness.check(found)
    assert len(found.scored) == 5
    assert len(found.spec.methods) >= 12
    bounded = found.spec.methods["gd-sine"].search["training.lr"]
    for name, method in found.spec.methods.items():
        rates, plain = method.search["training.lr"], method.set["adapter.bound"] == "identity"
        assert rates.low == pytest.approx(bounded.low * (3.5 if plain else 1), rel=0.03), name
        assert rates.high == pytest.approx(bounded.high * (3.5 if plain else 1), rel=0.03), name


def test_an_override_of_neither_study_nor_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"Got: trails\. Did you mean trials\?"):
        load(ROOT / "studies/people.yaml", ["trails=3"])


def test_a_rule_has_one_trial() -> None:
    found = load(ROOT / "studies/people_rules.yaml")
    assert found.spec.trials == 1
    assert [dict(method.search) for method in found.spec.methods.values()] == [{}, {}]
    assert found.spec.score == load(ROOT / "studies/people.yaml").spec.score
