"""Runs on an accelerator: end to end, interrupted, scored where they compute, their memory told."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

import pipeline
from letheon import recipe, run, scoring
from letheon.adapters import BoundedLoraConfig
from letheon.evaluation.generation import generate
from letheon.folder import RunFolder
from letheon.objectives.npo import NPO
from letheon.recipe import Training
from letheon.training import loop
from letheon.training.checkpoint import trained_state
from pipeline import changed
from tiny import VOCAB, tiny_llama, tiny_rows

pytestmark = pytest.mark.gpu

ROWS = loop.Rows(tiny_rows(6, seed=1), tiny_rows(9, seed=2), pad_id=0)


class InterruptError(Exception):
    """What ends a run in the middle."""


def after(step: int) -> Any:
    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == step:
            raise InterruptError

    return watch


def steps(folder: RunFolder) -> list[dict[str, float]]:
    return [e["terms"] for e in folder.progress() if e["event"] == "step"]


def test_a_run_goes_on_where_it_was_interrupted(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = set()

    def spy(model: Any, *args: Any, **options: Any) -> Any:
        devices.add(next(model.parameters()).device.type)
        return evaluate(model, *args, **options)

    evaluate = scoring.evaluate
    monkeypatch.setattr(scoring, "evaluate", spy)
    path = str(next(home.glob("gold-*")) / "merged")
    raw = changed(
        pipeline.UNLEARN,
        training__mixed_precision="bf16",
        gold={"selection": {"path": path}, "scoring": {"path": path}},
    )
    loaded = recipe.load(pipeline.write(tmp_path / "recipes", raw, "case"))
    whole = run.unlearn(loaded, tmp_path / "whole", home=home)
    with pytest.raises(InterruptError):
        run.unlearn(loaded, tmp_path / "parts", home=home, watch=after(5))
    parts = run.unlearn(loaded, tmp_path / "parts", home=home)
    assert devices == {"cuda"}
    for mine, theirs in zip(steps(parts), steps(whole), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-2)
    said = parts.read_json(RunFolder.ENVIRONMENT)
    assert said["accelerator"] == torch.cuda.get_device_name()


def test_the_scores_of_a_merged_checkpoint_are_those_of_its_run(tmp_path: Path, home: Path) -> None:
    raw = changed(pipeline.UNLEARN, training__mixed_precision="bf16")
    loaded = recipe.load(pipeline.write(tmp_path / "recipes", raw, "case"))
    made = run.unlearn(loaded, tmp_path / "run", home=home)
    again = run.evaluate(loaded, str(made.at(RunFolder.MERGED)), tmp_path / "again", home=home)
    mine, theirs = (
        {s["name"]: s["value"] for s in json.loads(f.at(RunFolder.SCORES).read_text())["scores"]}
        for f in (again, made)
    )
    assert mine == pytest.approx(theirs, abs=1e-3)


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_the_loop_resumes_in_every_precision(precision: str, tmp_path: Path) -> None:
    def train(checkpoint: Path | None, watch: Any = lambda event: None) -> list[Any]:
        events: list[Any] = []
        model = peft.get_peft_model(tiny_llama(seed=0), BoundedLoraConfig(r=4, seed=0))

        def both(event: dict[str, Any]) -> None:
            events.append(event)
            watch(event)

        training = Training(
            steps=6, batch_size=3, lr=1e-2, checkpoint_every=2, mixed_precision=precision
        )
        loop.run(model, NPO(), ROWS, training, watch=both, checkpoint=checkpoint)
        assert all(value.isfinite().all() for value in trained_state(model).values())
        return [e["terms"] for e in events if e["event"] == "step"]

    whole = train(None)
    with pytest.raises(InterruptError):
        train(tmp_path / "last.pt", after(5))
    rest = train(tmp_path / "last.pt")
    assert len(rest) == 2
    for mine, theirs in zip(rest, whole[4:], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-2)


def test_generation_does_not_depend_on_the_batch() -> None:
    model = tiny_llama(seed=3).cuda()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.mul_(8)
    rng = random.Random(0)
    prompts = [[rng.randrange(2, VOCAB) for _ in range(rng.randint(1, 9))] for _ in range(8)]
    options: dict[str, Any] = {"pad_id": 1, "eos_id": 0, "max_new_tokens": 10}
    together = generate(model, prompts, **options)
    assert together == [generate(model, [prompt], **options)[0] for prompt in prompts]
    assert len({tuple(ids) for ids in together}) > 1


def test_peak_memory_is_the_accelerators_and_of_this_run_alone() -> None:
    large = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    del large
    events: list[Any] = []
    loop.run(tiny_llama(seed=0), NPO(), ROWS, Training(steps=2, batch_size=3), watch=events.append)
    peaks = [e["peak_bytes"] for e in events if e["event"] == "step"]
    assert 0 < peaks[-1] < 2**30
    assert peaks[-1] <= torch.cuda.max_memory_allocated()
