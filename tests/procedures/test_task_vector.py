"""Task vectors: W - beta (W_ft - W) exactly, the search for beta, a kill in it, a whole run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import pipeline
from letheon import demo, plan, recipe, registry, run
from letheon.adapters import BoundedLoraConfig
from letheon.errors import InputError, RecipeError
from letheon.folder import RunFolder
from letheon.objectives.finetune import FineTune
from letheon.procedures.contract import Setting, method_of
from letheon.procedures.task_vector import TaskVector
from letheon.recipe import Selection, Training
from letheon.training import loop
from pipeline import UNLEARN, changed
from tiny import tiny_llama, tiny_rows

ROWS = loop.Rows(tiny_rows(6, seed=1), tiny_rows(9, seed=2), pad_id=0)
TRAINING = Training(steps=5, batch_size=3, lr=1e-2, retain_batch_size=7)
UP = Selection(score="score", direction="up")


def made(bound: str | None) -> Any:
    model = tiny_llama(seed=0, layers=1)
    if bound is None:
        return model
    return peft.get_peft_model(model, BoundedLoraConfig(r=4, bound=bound, seed=0))


def weights(model: Any) -> list[Tensor]:
    merged = model.merge_and_unload() if isinstance(model, peft.PeftModel) else model
    return [p.detach().clone() for p in merged.parameters()]


@pytest.mark.parametrize("bound", [None, "identity", "sine", "tanh"])
def test_what_was_learned_is_subtracted(bound: str | None) -> None:
    model = made(bound)
    outcome = TaskVector(betas=(0.7,)).run(model, Setting(rows=ROWS, training=TRAINING))
    assert outcome.reason == "beta 0.7"
    tuned = made(bound)
    learned = replace(ROWS, forget=[], retain=ROWS.forget)
    alone = TRAINING.model_copy(update={"retain_batch_size": None})
    loop.run(tuned, FineTune(), learned, alone)
    moved = 0.0
    for after, start, ft in zip(weights(model), weights(made(None)), weights(tuned), strict=True):
        torch.testing.assert_close(after, start - 0.7 * (ft - start), rtol=1e-4, atol=1e-6)
        moved = max(moved, float((ft - start).abs().max()))
    assert moved > 1e-3


def searched(model: Any, folder: Path | None = None, **fields: Any) -> tuple[Any, list[dict]]:
    events: list[dict] = []
    start = made(None).get_parameter("model.layers.0.mlp.up_proj.weight").detach()

    def probe(model: Any) -> dict[str, float]:
        now = model.get_parameter("model.layers.0.mlp.up_proj.weight").detach()
        return {"score": -abs(float((now - start).norm()) - fields["wanted"])}

    setting = Setting(
        rows=ROWS,
        training=TRAINING.model_copy(update={"select": UP}),
        probe=probe,
        watch=events.append,
        folder=folder,
    )
    procedure = TaskVector(betas=(0.2, 0.4, 0.8))
    return procedure.run(model, setting), events


def test_the_best_beta_is_kept() -> None:
    tuned = made(None)
    TaskVector(betas=(1.0,)).run(tuned, Setting(rows=ROWS, training=TRAINING))
    name = "model.layers.0.mlp.up_proj.weight"
    moved = tuned.get_parameter(name) - made(None).get_parameter(name)
    model = made(None)
    outcome, events = searched(model, wanted=0.4 * float(moved.detach().norm()))
    assert outcome.reason == "beta 0.4"
    assert (outcome.steps, outcome.kept) == (5, 7)
    probes = [e for e in events if e["event"] == "probe"]
    assert [(e["beta"], e["best"]) for e in probes] == [(0.2, True), (0.4, True), (0.8, False)]
    assert outcome.scores == probes[1]["scores"]
    assert [e["reason"] for e in events if e["event"] == "stop"] == ["beta 0.4"]
    after = model.get_parameter(name) - made(None).get_parameter(name)
    torch.testing.assert_close(after.detach(), 0.4 * moved.detach(), rtol=1e-3, atol=1e-6)


def test_a_search_that_was_killed_starts_again_after_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made(None)
    searched(whole, wanted=0.1)
    model = made(None)
    monkeypatch.setattr(TaskVector, "_search", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        searched(model, tmp_path, wanted=0.1)
    monkeypatch.undo()
    again = made(None)  # as a new process loads it
    _, events = searched(again, tmp_path, wanted=0.1)
    assert [e["event"] for e in events].count("step") == 0
    for mine, other in zip(weights(again), weights(whole), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "chooses among its betas"),
        ({"select": UP, "stop_at": {"score": "x", "value": 1}}, "no rule can stop that.*stop_at"),
    ],
)
def test_settings_that_it_would_leave_alone_are_refused(change: Any, words: str) -> None:
    training = Training(**{**TRAINING.model_dump(), **change})
    with pytest.raises(InputError, match=words):
        TaskVector().check(ROWS, training, made(None))


# --- as a recipe

RAW = changed(
    UNLEARN,
    objective=None,
    procedure={"name": "task_vector", "params": {"betas": [0.5, 1.0]}},
    name="vector",
)


def test_a_recipe_names_a_procedure_or_an_objective(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="set objective to null"):
        recipe.resolve(changed(RAW, objective={"name": "npo"}), where="here")
    with pytest.raises(RecipeError, match="needs an objective"):
        recipe.resolve(changed(RAW, procedure=None), where="here")
    with pytest.raises(RecipeError, match="does not use procedure"):
        recipe.resolve(changed(pipeline.TARGET, procedure={"name": "task_vector"}), where="here")
    wrong = recipe.load(pipeline.write(tmp_path, changed(RAW, procedure__name="task_vektor")))
    with pytest.raises(RecipeError, match=r"in procedures.*Did you mean task_vector\?"):
        run.validate(wrong)


def test_a_run_from_recipe_to_scores(home: Path, tmp_path: Path) -> None:
    loaded = recipe.load(pipeline.write(tmp_path / "recipes", RAW))
    folder = run.unlearn(loaded, tmp_path / "out", home=home)
    scores = json.loads(folder.at(RunFolder.SCORES).read_text())
    assert (scores["run"]["method"], scores["run"]["bound"]) == ("task_vector", "sine")
    events = folder.progress()
    kept = next(e for e in events if e["event"] == "kept")
    probes = {e["step"]: e for e in events if e["event"] == "probe"}
    assert list(probes) == [7, 8]
    config = json.loads(folder.at("adapter/adapter_config.json").read_text())
    assert config["gain"] == -probes[kept["step"]]["beta"]
    assert "procedure: TaskVector" in run.validate(loaded)[1]
    target = load_file(next(home.glob("target-*")) / "merged/model.safetensors")
    merged = load_file(folder.at("merged/model.safetensors"))
    name = "model.layers.0.mlp.up_proj.weight"
    assert (merged[name] - target[name]).abs().max() > 1e-4
    assert run.unlearn(loaded, tmp_path / "out", home=home).path == folder.path


@pytest.mark.parametrize("adapter", [None, {"r": 4}])
def test_a_plan_counts_the_one_training_and_its_copies(adapter: Any, tmp_path: Path) -> None:
    found = {}
    for name, raw in {"vector": RAW, "gd": UNLEARN}.items():
        case = pipeline.write(tmp_path, changed(raw, adapter=adapter), name)
        found[name] = plan.plan(recipe.load(case), on="cpu").memory
    assert found["vector"].activations < found["gd"].activations, "retain rows are not used"
    copies = 0 if adapter else found["gd"].optimizer  # two averages
    assert found["vector"].weights - found["gd"].weights == copies


@pytest.mark.parametrize("name", registry.names("letheon.procedures"))
def test_the_demo_can_show_every_procedure(name: str, tmp_path: Path) -> None:
    for each, raw in demo.recipes(0, [name]).items():
        pipeline.write(tmp_path, raw, each)
    loaded = recipe.load(tmp_path / f"{name}.yaml")
    assert loaded.method == name
    method = method_of(loaded)
    for stage in method.stages(ROWS, loaded.training):
        loop.check(stage.objective, stage.rows, stage.training, made("sine"))
    method.check(ROWS, loaded.training.model_copy(update={"batch_size": 3}), made("sine"))
