"""What a run leaves behind: checkpoints, records, texts, scores, the environment."""

from __future__ import annotations

__all__ = ["describe", "ended", "finish", "merge", "save", "write_records", "write_texts"]

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from letheon import models, processes
from letheon import recipe as recipes
from letheon.adapters.stack import NEWEST, lay
from letheon.data.example import Corpus
from letheon.errors import FolderError, ModelError
from letheon.evaluation.records import Texts
from letheon.folder import RunFolder, environment, replacing
from letheon.metrics.records import Records, write
from letheon.recipe import ModelSource, Recipe, Requirement, Training
from letheon.sequence import finished, tower
from letheon.training.loop import Outcome


def describe(recipe: Recipe, corpus: Corpus, checksum: str) -> dict[str, Any]:
    """Return ``environment.json``: software, machine, seed, checksums of data and model.

    ``public`` tells a report whether it may show texts of the data without being asked to;
    ``overlap`` and ``own_words`` what was retained: how many of the given rows were left out, and
    how many rows the model itself said.
    """
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return environment() | {
        "accelerator": gpu,
        "threads": torch.get_num_threads(),
        "processes": {"count": processes.count(), "parallel": recipe.training.parallel},
        "seed": recipe.seed,
        "data": dict(corpus.checksums),
        "overlap": corpus.overlap,
        "own_words": 0 if recipe.data.own_words is None else len(corpus.retain),
        "public": corpus.public,
        "model": checksum,
    }


def save(model: Any, tokenizer: Any, recipe: Recipe, folder: RunFolder) -> None:
    """Write the adapter, and the ordinary checkpoint unless the recipe does without."""
    if recipe.adapter is not None:
        with folder.replacing(RunFolder.ADAPTER) as fresh:
            model.save_pretrained(fresh, selected_adapters=[NEWEST])
    if recipe.merged or recipe.adapter is None:
        whole = model.merge_and_unload() if recipe.adapter is not None else model
        with folder.replacing(RunFolder.MERGED) as fresh:
            models.save(whole, tokenizer, fresh)


def merge(run_folder: Path, out: Path, *, base: str | None = None) -> Path:
    """Write the ordinary checkpoint of a run's adapter on its model into ``out``.

    Where it is stacked on those of earlier requests, all of them are merged. ``base`` names the
    model where the adapter's own record of it no longer holds. Raises FolderError when the run has
    no adapter or ``out`` is not empty, ModelError for the model.
    """
    adapter = RunFolder(run_folder).at(RunFolder.ADAPTER)
    if not adapter.is_dir():
        raise FolderError(
            "A run that is merged has an adapter.",
            got=str(run_folder),
            remedy="Runs with full weights have a merged checkpoint already.",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FolderError("A merge needs an empty folder.", got=str(out), remedy="Choose another.")
    recorded, adapters = tower(finished(run_folder))
    place = base or recorded
    loaded = models.load(_as_in(run_folder, place))
    made_on = RunFolder(run_folder).read_json(RunFolder.ENVIRONMENT).get("model")
    if loaded.checksum != made_on:
        raise ModelError(
            "An adapter is merged into the weights that it was trained on.",
            got=f"{loaded.checksum[:12]} of {place}, where the run has {str(made_on)[:12]}",
            remedy="Name that model with --base.",
        )
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5 by a name that it deprecates
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        model = lay(loaded.model, adapters).merge_and_unload()
    with replacing(out) as fresh:
        models.save(model, loaded.tokenizer, fresh)
    return out


def _as_in(run_folder: Path, path: str) -> ModelSource:
    """Return the model at ``path`` as the run loaded it: quantised, if it was."""
    source = recipes.load(RunFolder(run_folder).at(RunFolder.RECIPE)).model
    if source.quantise is None:
        return ModelSource(path=path)
    return ModelSource(path=path, dtype=source.dtype, quantise=source.quantise)


def write_records(folder: RunFolder, name: str, records: Records) -> None:
    """Write one model's records as the file ``name``."""
    with folder.replacing(name) as fresh:
        write(records, fresh)


def write_texts(folder: RunFolder, texts: Iterable[Texts], name: str = "texts") -> None:
    """Write what only the owner of the data may read, as ``name`` in ``private/``."""
    folder.write_rows(f"{RunFolder.PRIVATE}/{name}.jsonl", map(dataclasses.asdict, texts))


# Where a procedure cannot be stopped by it, it still says whether the rows are gone.
_GONE = Requirement(score="swap_gap", value=0.0, direction="down")


def ended(training: Training, outcome: Outcome) -> dict[str, Any]:
    """Return how the training ended, and whether the kept checkpoint is what it was to stop at.

    ``stop_at``: the rule (or ``swap_gap`` at 0 where that selects) with the kept checkpoint's score
    and whether that meets it; None where there is no rule.
    """
    rule, scores = training.stop_at, outcome.scores
    if rule is None and training.select is not None and training.select.score == _GONE.score:
        rule = _GONE
    found = {
        "steps": outcome.steps,
        "reason": outcome.reason,
        "kept": outcome.kept,
        "stop_at": None,
    }
    if rule is not None and rule.score in scores:
        own = {"kept": scores[rule.score], "met": rule.met(scores)}
        found["stop_at"] = rule.model_dump(mode="json") | own
    return found


def finish(
    folder: RunFolder, recipe: Recipe, payload: Mapping[str, Any], role: str, seconds: float
) -> None:
    """Write ``scores.json`` and seal the folder: with its manifest the run is done."""
    steps = [e for e in folder.progress() if e["event"] == "step"]
    folder.write_json(
        RunFolder.SCORES,
        {
            "schema": 1,
            "run": {
                "name": recipe.name,
                "role": role,
                "method": recipe.method if role == "method" else role,
                "bound": recipe.adapter.bound if recipe.adapter else None,
                "seed": recipe.seed,
                "cost": {
                    "seconds": round(seconds, 2),
                    "peak_bytes": int(np.max([e["peak_bytes"] for e in steps], initial=0)),
                },
            },
            "oracle": False,
            "gate": None,
            **payload,
        },
    )
    folder.write_manifest()
