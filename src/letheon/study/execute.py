"""What a worker does for one job; its result is a file that is there whole or not at all."""

from __future__ import annotations

__all__ = ["Choice", "chosen", "execute", "read_trials", "run_folder", "validate"]

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any

from letheon.errors import DivergedError, MetricError, ModelError
from letheon.folder import RunFolder
from letheon.study.jobs import Job, result_of
from letheon.study.space import setting
from letheon.study.spec import Study, recipe_of

Watch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Choice:
    """The setting that a method's trials chose: trial number, setting and what it was chosen by."""

    trial: int
    setting: dict[str, Any]
    value: float


def run_folder(out: Path, method: str, instance: str) -> Path:
    """Return where a final run is."""
    return out / "runs" / method / instance


def validate(study: Study, folder: Path, method: str, watch: Watch) -> None:
    """Check a method without training: every trial's settings, and the first as a run would.

    With the first method, every instance's data. ``folder`` holds the recipes of the models.
    Raises what a run would before its first step.
    """
    from letheon import run
    from letheon.parts import corpus_of, objective_of

    if method == next(iter(study.spec.methods)):
        for name in study.instances:
            corpus_of(recipe_of(study, name, method).data)

    search = study.spec.methods[method].search
    for trial in range(study.spec.trials):
        values = setting(study.spec.name, method, trial, search)
        recipe = recipe_of(study, study.tuned[0], method, values, folder=folder)
        objective_of(recipe.objective)
        if trial == 0:
            run.validate(recipe)


def execute(study: Study, job: Job, out: Path, watch: Watch) -> None:
    """Do ``job`` and leave its result in ``out``; a result that is there already stays."""
    result = result_of(out, job.key)
    if result.is_file():
        return
    found = _KINDS[job.kind](study, job, out, watch)
    RunFolder(result.parent).write_json(result.name, {"schema": 1, **found})


def read_trials(study: Study, out: Path, method: str) -> list[dict[str, Any]]:
    """Read a method's trials, each once for every instance, in their order."""
    return [
        json.loads(result_of(out, f"trial/{method}/{trial:03d}/{name}").read_text("utf-8"))
        for trial in range(study.spec.trials)
        for name in study.tuned
    ]


def chosen(study: Study, trials: Sequence[Mapping[str, Any]]) -> Choice:
    """Return the best setting of one method's ``trials``.

    The smallest mean over instances of the smallest score on the way; the first of equals. A trial
    that failed on an instance counts as infinitely bad there.
    """
    best = Choice(0, trials[0]["setting"], inf)
    for number in range(study.spec.trials):
        own = [trial for trial in trials if trial["trial"] == number]
        value = sum(_smallest(trial, study.spec.select) for trial in own) / len(own)
        if value < best.value:
            best = Choice(number, own[0]["setting"], value)
    return best


def _smallest(trial: Mapping[str, Any], score: str) -> float:
    if trial["failed"] is not None:
        return inf
    return min((probe[score] for probe in trial["probes"]), default=inf)


def _model(study: Study, job: Job, out: Path, watch: Watch) -> dict[str, Any]:
    from letheon import run

    assert job.which is not None
    recipe = recipe_of(study, job.instance, job.method, folder=out / "recipes")
    began = time.perf_counter()
    run.prepare(recipe, job.which, home=out / "models", watch=watch)
    return {"seconds": round(time.perf_counter() - began, 2)}


def _limit(study: Study, job: Job, out: Path, watch: Watch) -> dict[str, Any]:
    from letheon import run

    recipe = recipe_of(study, job.instance, job.method, folder=out / "recipes")
    limit = run.gold_limit(recipe, home=out / "models", watch=watch)
    return {"gold_distance": limit, "utility_ratio": recipe.evaluation.utility_floor}


def _trial(study: Study, job: Job, out: Path, watch: Watch) -> dict[str, Any]:
    from letheon import run

    assert job.trial is not None
    search = study.spec.methods[job.method].search
    values = setting(study.spec.name, job.method, job.trial, search)
    recipe = recipe_of(study, job.instance, job.method, values, folder=out / "recipes")
    probes: list[dict[str, Any]] = []
    peak = 0

    def note(event: dict[str, Any]) -> None:
        nonlocal peak
        if event["event"] == "probe":
            probes.append({"step": event["step"], **event["scores"]})
        if event["event"] == "step":
            peak = max(peak, event["peak_bytes"])
        watch(event)

    failed = None
    began = time.perf_counter()
    try:
        run.rehearse(recipe, home=out / "models", watch=note)
    except DivergedError as error:
        failed = str(error)
    return {
        "method": job.method,
        "trial": job.trial,
        "instance": job.instance,
        "setting": values,
        "probes": probes,
        "failed": failed,
        "seconds": round(time.perf_counter() - began, 2),
        "peak_bytes": peak,
    }


def _run(study: Study, job: Job, out: Path, watch: Watch) -> dict[str, Any]:
    from letheon import run

    choice = chosen(study, read_trials(study, out, job.method))
    recipe = recipe_of(study, job.instance, job.method, choice.setting, folder=out / "recipes")
    failed = None
    try:
        place = run_folder(out, job.method, job.instance)
        run.unlearn(recipe, place, home=out / "models", watch=watch)
    except DivergedError as error:
        failed = str(error)
    return {"setting": choice.setting, "trial": choice.trial, "failed": failed}


def _attack(study: Study, job: Job, out: Path, watch: Watch) -> dict[str, Any]:
    if json.loads(result_of(out, job.needs[0]).read_text("utf-8"))["failed"] is not None:
        return {"failed": "there is no model to attack"}
    failed = None
    try:
        # Only studies that ask for attacks need them.
        import_module("letheon.attack").run(
            run_folder(out, job.method, job.instance),
            list(study.spec.attacks),
            home=out / "models",
            overrides=[
                f"{name}.{key}={json.dumps(value)}"
                for name, settings in study.spec.attacks.items()
                for key, value in settings.items()
            ],
            watch=watch,
        )
    except (DivergedError, MetricError, ModelError) as error:
        # The data, the model or the machine do not allow it: one line in the result, not the end.
        failed = str(error)
    return {"failed": failed}


_KINDS: Mapping[str, Callable[[Study, Job, Path, Watch], dict[str, Any]]] = {
    "model": _model,
    "limit": _limit,
    "trial": _trial,
    "run": _run,
    "attack": _attack,
}
