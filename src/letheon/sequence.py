"""Requests to forget, one after another: which runs came before, and what their adapters stand on.

A run's recipe names the run before it (``after``) and its ``environment.json`` where that lies,
relative to its own folder, so that a folder of runs may be moved as a whole.
"""

from __future__ import annotations

__all__ = [
    "Request",
    "angles",
    "chain",
    "check_origin",
    "finished",
    "link",
    "seed_of",
    "start",
    "tower",
]

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path
from typing import Any

from letheon import recipe as recipes
from letheon.adapters import BoundedLoraConfig
from letheon.adapters.arithmetic import principal_angles, read_factors
from letheon.errors import FolderError, RecipeError
from letheon.folder import RunFolder
from letheon.recipe import ModelSource, Recipe

_BEFORE = "after"
_APART = 1_000_003


@dataclass(frozen=True)
class Request:
    """A finished run that forgot what a request asked for."""

    folder: RunFolder
    recipe: Recipe

    @property
    def name(self) -> str:
        """The run's name."""
        return self.recipe.name

    @property
    def adapter(self) -> Path | None:
        """The folder of its own adapter; None of a run with full weights."""
        place = self.folder.at(RunFolder.ADAPTER)
        return place if place.is_dir() else None

    @property
    def merged(self) -> Path:
        """Its merged checkpoint. Raises FolderError when there is none."""
        place = self.folder.at(RunFolder.MERGED)
        if not place.is_dir():
            raise FolderError(
                "A request that follows another starts from its merged checkpoint.",
                got=f"no {place}",
                remedy=f"letheon merge {self.folder.path} --out {place}",
            )
        return place


def chain(recipe: Recipe) -> list[Request]:
    """Return the runs of the earlier requests, the oldest first; none where there is no ``after``.

    Raises FolderError when one of them is not the folder of a finished unlearning run.
    """
    return [] if recipe.after is None else finished(Path(recipe.after.run))


def finished(run: Path) -> list[Request]:
    """Return a finished run after those before it; raises as ``chain`` does."""
    found = _request(run)
    before = found.folder.read_json(RunFolder.ENVIRONMENT).get(_BEFORE)
    return [*([] if before is None else finished((run / before).resolve())), found]


def _request(place: Path) -> Request:
    folder = RunFolder(place)
    if not folder.at(RunFolder.MANIFEST).is_file() or not folder.at(RunFolder.RECIPE).is_file():
        raise FolderError(
            "A request follows a finished run.",
            got=str(place),
            remedy="Name the folder of a run of letheon unlearn, and let it finish.",
        )
    recipe = recipes.load(folder.at(RunFolder.RECIPE))
    if recipe.kind != "unlearn":
        raise FolderError(
            "A request follows a run that unlearned.",
            got=f"{place}, of kind {recipe.kind}",
            remedy="Leave after out, and name that run's checkpoint as model.path.",
        )
    return Request(folder, recipe)


def link(folder: RunFolder, earlier: Sequence[Request]) -> dict[str, Any]:
    """Return what ``environment.json`` says of the run before; nothing where there is none."""
    if not earlier:
        return {}
    return {_BEFORE: relpath(earlier[-1].folder.path.resolve(), folder.path.resolve())}


def tower(requests: Sequence[Request]) -> tuple[str, list[Path]]:
    """Return the checkpoint that the last run's adapters stand on, and their folders.

    ``requests`` are the runs, and the folders come, the oldest first. Raises FolderError for a run
    with full weights, which has no adapter.
    """
    *earlier, request = requests
    if request.adapter is None:
        raise FolderError(
            "Adapters are stacked on those of a run that has one.",
            got=f"{request.folder.path}, with full weights",
            remedy="Set after.how to merged.",
        )
    after = request.recipe.after
    if after is not None and after.how == "stacked":
        base, below = tower(earlier)
        return base, [*below, request.adapter]
    base = BoundedLoraConfig.from_pretrained(str(request.adapter)).base_model_name_or_path
    return str(base), [request.adapter]


def start(recipe: Recipe, earlier: Sequence[Request]) -> tuple[ModelSource, list[Path]]:
    """Return the model that a request after others starts from, and the adapters that stay on it.

    Raises FolderError as ``tower`` does, and where a merged checkpoint is missing.
    """
    assert recipe.after is not None
    if recipe.after.how == "merged":
        return _as_loaded(recipe, str(earlier[-1].merged)), []
    base, below = tower(earlier)
    return _as_loaded(earlier[-1].recipe, base), below


def _as_loaded(recipe: Recipe, path: str) -> ModelSource:
    return ModelSource(path=path, dtype=recipe.model.dtype, quantise=recipe.model.quantise)


def check_origin(earlier: Sequence[Request], model: str, checksum: str) -> None:
    """Raise RecipeError unless ``model`` is the one before any request, or the last one's result.

    What has no ``checksum``, a model of the hub, is not checked.
    """
    first = earlier[0].folder.read_json(RunFolder.ENVIRONMENT).get("model")
    last = earlier[-1].folder.at(RunFolder.MERGED)
    if checksum not in ("", first) and Path(model).resolve() != last.resolve():
        raise RecipeError(
            "Beside after, model names the model before any request: utility is compared with it.",
            got=f"a model with checksum {checksum[:12]}, where {earlier[0].name} began with "
            f"{str(first)[:12]}",
            remedy="Leave model out to compare with the result of the run before.",
        )


def seed_of(recipe: Recipe, earlier: Sequence[Request]) -> int:
    """Return the seed of a new adapter's start: another for each request of one recipe's seed.

    The same start would make every adapter read the same directions.
    """
    return recipe.seed + _APART * len(earlier)


def angles(adapter: Path, other: Path) -> dict[str, float] | None:
    """Return how far what two saved adapters read lies apart, in degrees from 0 to 90.

    ``smallest`` and ``mean`` of the principal angles between the row spaces of their ``A``, over
    the matrices that both adapt; None where they share none.
    """
    mine, theirs = read_factors(adapter), read_factors(other)
    found = [principal_angles(mine[name], theirs[name]) for name in mine if name in theirs]
    if not found:
        return None
    every = [float(angle) for each in found for angle in each.flatten()]
    return {"smallest": min(every), "mean": sum(every) / len(every)}
