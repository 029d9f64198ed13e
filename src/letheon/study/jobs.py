"""The jobs of a study and what each waits for.

Models first (a target or gold model is one job, whatever needs it), then for each tuning instance
how far its two gold models are apart, then trials, final runs, attacks. A key is also the path of
the job's result below ``results/``.
"""

from __future__ import annotations

__all__ = ["Job", "jobs_of", "model_name", "result_of"]

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from letheon.recipe import ModelSource, Recipe
from letheon.study.spec import Study, recipe_of

Kind = Literal["model", "limit", "trial", "run", "attack"]
Which = Literal["model", "selection", "scoring"]

_ROLES: tuple[Which, ...] = ("model", "selection", "scoring")


@dataclass(frozen=True)
class Job:
    """A piece of work: ``key`` names it, ``needs`` are the keys of what must be done before it.

    ``which`` is the model of the recipe that a ``model`` job trains, ``trial`` a trial's number.
    """

    key: str
    kind: Kind
    instance: str
    method: str
    needs: tuple[str, ...] = ()
    which: Which | None = None
    trial: int | None = None


def result_of(out: Path, key: str) -> Path:
    """Return the file in which a job leaves its result."""
    return out / "results" / f"{key}.json"


def jobs_of(study: Study) -> dict[str, Job]:
    """List all jobs by key, in the order in which they are best taken."""
    models: dict[str, dict[str, Job]] = {name: _models(study, name) for name in study.instances}
    found = {job.key: job for each in models.values() for job in each.values()}
    first = next(iter(study.spec.methods))
    for name in study.tuned:
        job = Job(f"limit/{name}", "limit", name, first, tuple(models[name]))
        found[job.key] = job
    for trial in range(study.spec.trials):
        for name in study.tuned:
            for method in study.spec.methods:
                key = f"trial/{method}/{trial:03d}/{name}"
                found[key] = Job(key, "trial", name, method, tuple(models[name]), trial=trial)
    for name in study.scored:
        for method in study.spec.methods:
            trials = [k for k, j in found.items() if j.kind == "trial" and j.method == method]
            key = f"run/{method}/{name}"
            found[key] = Job(key, "run", name, method, (*models[name], *trials))
    if study.spec.attacks:
        for job in [job for job in found.values() if job.kind == "run"]:
            key = f"attack/{job.method}/{job.instance}"
            found[key] = Job(key, "attack", job.instance, job.method, (job.key,))
    return found


def model_name(study: Study, recipe: Recipe, source: ModelSource) -> str:
    """Name a model by all that it is trained from, or by where it is."""
    if source.recipe is None:
        return f"{source.path}@{source.revision}"
    raw: Any = study.models[source.recipe]
    seeded = raw | {"seed": raw.get("seed", 0) if source.seed is None else source.seed}
    data = recipe.data.model_dump(mode="json")
    text = json.dumps([seeded, data, recipe.template], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{Path(source.recipe).stem}-seed{seeded['seed']}-{digest}"


def _models(study: Study, instance: str) -> dict[str, Job]:
    """List the models of an instance that are trained for the study."""
    method = next(iter(study.spec.methods))
    recipe = recipe_of(study, instance, method)
    found = {}
    for which in _ROLES:
        source: ModelSource | None = (
            recipe.model if which == "model" else getattr(recipe.gold, which)
        )
        if source is not None and source.recipe is not None:
            key = f"model/{model_name(study, recipe, source)}"
            found[key] = Job(key, "model", instance, method, which=which)
    return found
