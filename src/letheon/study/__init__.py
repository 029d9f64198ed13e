"""Studies: methods, seeds and settings under one budget, searched and compared."""

from __future__ import annotations

__all__ = ["Study", "load", "run"]

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from letheon import ui
from letheon.crew import Crew
from letheon.errors import FolderError
from letheon.folder import RunFolder
from letheon.study import fairness, outcome
from letheon.study.execute import validate
from letheon.study.jobs import jobs_of
from letheon.study.spec import Study, load
from letheon.study.worker import work


def run(
    study: Study,
    out: Path,
    *,
    jobs: int = 1,
    storage: str | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Run what is left of a study in the folder ``out`` and return its outcome.

    ``jobs`` at a time, each in a process of its own; with 0 one after the other in this process.
    The same call anywhere else with the same folder, at the same time or later, shares the work
    and returns the same outcome, which is also in ``study.json``, ``trials.jsonl`` and
    ``scores.jsonl``. ``storage``: an Optuna database's URL for the queue; default the file
    ``journal.log`` in ``out``.

    Raises InputError (wrong study, an oracle, a folder of something else) before anything is
    written; RunError when a job fails for another reason than that its model diverged.
    """
    fairness.check(study)
    listed = jobs_of(study)
    folder = RunFolder(out)
    folder.check_free()
    told = command or f"letheon study {study.spec.name}.yaml"
    with ui.Board() as board:
        if not folder.at(RunFolder.IDENTITY).is_file():
            _validate(study, jobs, board)
            _begin(study, folder)
        _check_same(study, folder)
        _write_recipes(study, folder)
        work(study, listed, out, size=jobs, storage=storage, board=board)
        board.say("all jobs are done; scoring the study")
        return outcome.write(study, out, told)


def _validate(study: Study, jobs: int, board: ui.Board) -> None:
    """Check every method as its first step would, before anything is written."""
    with TemporaryDirectory() as place, Crew(jobs, board=board) as crew:
        folder = Path(place)
        _write_models(study, folder)
        waiting, left = list(study.spec.methods), len(study.spec.methods)
        while left:
            board.show("methods checked", len(study.spec.methods) - left, len(study.spec.methods))
            while waiting and crew.free:
                method = waiting.pop(0)
                crew.start(f"check {method}", validate, study, folder, method)
            for ended in crew.poll(0.5):
                left -= 1
                if ended.error is not None:
                    raise ended.error
        board.drop("methods checked")


def _begin(study: Study, folder: RunFolder) -> None:
    folder.write_json(RunFolder.IDENTITY, {"schema": 1, "identity": study.identity})


def _check_same(study: Study, folder: RunFolder) -> None:
    # Not RunFolder.claim: it would take away what another worker is writing just now.
    if folder.identity() != study.identity:
        raise FolderError(
            "A folder holds one study.",
            got=f"{folder.path} with another, or with other settings",
            remedy="Choose another --out, or delete the folder.",
        )


def _write_recipes(study: Study, folder: RunFolder) -> None:
    place = folder.at("recipes")
    if not place.is_dir() or {p.name for p in place.iterdir()} < set(study.models):
        _write_models(study, place)


def _write_models(study: Study, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, raw in study.models.items():
        RunFolder(place).write_text(name, yaml.safe_dump(raw, sort_keys=False))
