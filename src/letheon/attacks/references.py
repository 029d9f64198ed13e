"""The models that a run is compared with, found again by what they are; their attacks, kept.

A run folder names no places: a target or gold model that a recipe made is the one among the models
kept in a folder whose records are those that the run has as its reference.
"""

from __future__ import annotations

__all__ = ["Cache", "before_and_after", "gold_of", "places", "subjects", "taught_with"]

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np

from letheon import models
from letheon import recipe as recipes
from letheon.attacks.contract import Attack, Measured, Subject, Task
from letheon.errors import DataError, FolderError, ModelError
from letheon.folder import RunFolder, replacing
from letheon.metrics.records import Columns, Records, read, write
from letheon.recipe import ModelSource, Recipe

# Raised when what an attack measures changes: results of before are not taken up again.
_VERSION = 1

# How far above a run its models are looked for: the demo keeps them beside its methods.
_ABOVE = 3


def places(run: RunFolder, home: Path | None) -> list[Path]:
    """Return the folders whose models are looked at: ``home``, or those near the run."""
    if home is not None:
        return [home]
    above = list(run.path.resolve().parents)[:_ABOVE]
    return [folder for a in above for folder in (a, a / "models") if folder.is_dir()]


def subjects(run: RunFolder, recipe: Recipe, homes: Sequence[Path]) -> list[Subject]:
    """Return gold, target and the run's own model, in the order in which they are attacked.

    A run that was made without a gold model has none here either. Raises FolderError for a model
    that is not found, ModelError for a target that is not the one the run began with.
    """
    gold = [] if recipe.gold.scoring is None else [gold_of(run, recipe, homes)]
    return [*gold, *before_and_after(run, recipe, homes)]


def gold_of(run: RunFolder, recipe: Recipe, homes: Sequence[Path]) -> Subject:
    """Return the gold model that the run is scored with; FolderError where it is not found."""
    assert recipe.gold.scoring is not None
    gold = _source(run, recipe.gold.scoring, "gold", homes)
    return Subject("gold", gold, _checksum(gold))


def before_and_after(
    run: RunFolder, recipe: Recipe, homes: Sequence[Path]
) -> tuple[Subject, Subject]:
    """Return the target and the run's own model; raises as ``subjects`` does."""
    base = _source(run, recipe.model, "target", homes)
    begun = str(run.read_json(RunFolder.ENVIRONMENT).get("model"))
    # Of a hub's model nothing is at hand to tell it by: its name and revision must do.
    mark = models.checksum(Path(str(base.path))) or begun
    if mark != begun:
        raise ModelError(
            "The target is the model that the run began with.",
            got=f"{mark[:12]} of {base.path}, where the run has {begun[:12]}",
            remedy="Name with --models the folder that it was kept in, or restore the model.",
        )
    merged = run.at(RunFolder.MERGED)
    if not merged.is_dir():
        raise FolderError(
            "A run's own model is its merged checkpoint.",
            got=f"{run.path} without {RunFolder.MERGED}",
            remedy=f"Make it: letheon merge {run.path} --out {merged}",
        )
    own = ModelSource(path=str(merged.resolve()))
    adapter = run.at(RunFolder.ADAPTER)
    return (
        Subject("target", base, mark),
        Subject("method", own, _checksum(own), adapter if adapter.is_dir() else None, base),
    )


def taught_with(target: Subject) -> float | None:
    """Return the learning rate that taught the target, where a run folder of ours tells it."""
    told = Path(str(target.source.path)).parent / RunFolder.RECIPE
    return recipes.load(told).training.lr if told.is_file() else None


class Cache:
    """What attacks measured of target and gold models, kept in one folder for every run.

    A file is named by everything it depends on: weights, settings, data, template, evaluation.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def measured(self, attack: Attack, name: str, subject: Subject, task: Task) -> Columns:
        """Return the columns that the attack measures of the subject; measured at most once."""
        file = self.folder / f"{name}-{_key(attack, name, subject, task)[:16]}.parquet"
        try:
            return read(file)["forget"]
        except DataError:  # not there, or of another time
            found: Measured = attack.measure(subject, task)
        with replacing(file) as fresh:
            write({"forget": found.columns}, fresh)
        return found.columns


def _key(attack: Attack, name: str, subject: Subject, task: Task) -> str:
    depends = [
        _VERSION,
        name,
        asdict(attack),  # type: ignore[call-overload]
        subject.role == "target",  # which some attacks measure otherwise
        subject.source.model_dump(include={"dtype", "quantise"}),
        subject.checksum,
        dict(sorted(task.corpus.checksums.items())),
        [task.template.name, task.template.eos],
        task.evaluation.model_dump(include={"batch_tokens", "max_new_tokens"}),
    ]
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()


def _source(
    run: RunFolder, source: ModelSource, role: Literal["gold", "target"], homes: Sequence[Path]
) -> ModelSource:
    if source.recipe is None:
        return source
    file = run.at(f"reference/{role}.parquet")
    wanted = read(file)
    for folder in _trained(homes):
        if _same(wanted, read(folder.at(RunFolder.EXAMPLES))):
            return ModelSource(path=str(folder.at(RunFolder.MERGED).resolve()))
    looked = ", ".join(map(str, homes)) or "no folder"
    raise FolderError(
        f"The {role} model of a run is kept where --models says.",
        got=f"{looked}, where no model has the records of {file}",
        remedy="Name with --models the folder that the run was made with.",
    )


def _trained(homes: Iterable[Path]) -> list[RunFolder]:
    inside = (RunFolder(p) for home in homes if home.is_dir() for p in sorted(home.iterdir()))
    needed = (RunFolder.MANIFEST, RunFolder.EXAMPLES, RunFolder.MERGED)
    return [folder for folder in inside if all(folder.at(name).exists() for name in needed)]


def _same(one: Records, other: Records) -> bool:
    """Whether two records of the forget questions are of one model: no two share every number."""
    mine, theirs = one.get("forget", {}), other.get("forget", {})
    return all(
        name in mine and name in theirs and np.array_equal(mine[name], theirs[name])
        for name in ("id", "nll")
    )


def _checksum(source: ModelSource) -> str:
    path = str(source.path)
    return models.checksum(Path(path)) or f"{path}@{source.revision}"
