"""Read run folders and comparisons for a report, and say clearly what is missing in them."""

from __future__ import annotations

__all__ = ["Comparison", "Run", "load_comparison", "load_run", "load_runs", "own_words"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from letheon.errors import DataError, FolderError
from letheon.folder import RunFolder
from letheon.report.places import shareable

Comparison = Mapping[str, Any]
_HOLDERS = (RunFolder.ADAPTER, RunFolder.MERGED, RunFolder.CHECKPOINTS, RunFolder.PRIVATE)
_ROLES = ("target", "gold", "method")


@dataclass(frozen=True, slots=True)
class Run:
    """One run as its folder tells it; ``environment`` and ``progress`` are empty where absent.

    ``scores`` is the content of ``scores.json``: benchmark, scores, gate; ``attacks`` that of
    ``attacks.json``, None where the run was not attacked. ``recipe`` is its recipe as a page may
    show it (see ``shareable``), ``settings`` the same as a mapping. ``model`` names what was
    unlearned, ``identity`` the run itself; ``holds`` are the folder's subfolders that hold weights
    or texts.
    """

    name: str
    scores: Mapping[str, Any]
    environment: Mapping[str, Any]
    progress: list[dict[str, Any]]
    recipe: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    attacks: Mapping[str, Any] | None = None
    model: str = ""
    identity: str = ""
    holds: frozenset[str] = frozenset()


def load_run(path: str | Path) -> Run:
    """Read a run folder. Raises ``FolderError`` when it is none or ``scores.json`` is missing."""
    folder = _folder(path)
    scores = folder.read_json(RunFolder.SCORES)
    if not isinstance(scores.get("scores"), list):
        got = f"{folder.at(RunFolder.SCORES)} without it"
        raise DataError("scores.json must hold a list named scores.", got=got, remedy=_REMAKE)
    file = folder.at(RunFolder.RECIPE)
    recipe, settings = shareable(file.read_text(encoding="utf-8") if file.is_file() else "")
    return Run(
        name=folder.path.resolve().name,
        scores=scores,
        environment=_optional(folder, RunFolder.ENVIRONMENT),
        progress=folder.progress(),
        recipe=recipe,
        settings=settings,
        attacks=_optional(folder, RunFolder.ATTACKS) or None,
        model=_model(settings),
        identity=str(_optional(folder, RunFolder.IDENTITY).get("identity", "")),
        holds=frozenset(name for name in _HOLDERS if folder.at(name).is_dir()),
    )


def own_words(run: Run) -> int:
    """Return how many rows the model itself said, to be kept; 0 where rows were given."""
    return int(run.environment.get("own_words") or 0)


def load_comparison(path: str | Path) -> dict[str, Any]:
    """Read ``comparison.json``, given by itself or by its folder, and check its rows.

    Raises ``FolderError`` when there is none or its schema is unknown, ``DataError`` naming the
    row that is not whole.
    """
    given = Path(path)
    folder = _folder(given if given.is_dir() else given.parent)
    name = RunFolder.COMPARISON if given.is_dir() else given.name
    comparison = folder.read_json(name)
    rows = comparison.get("rows")
    if not isinstance(rows, list) or not rows:
        got = f"{folder.at(name)} without rows"
        raise DataError("A comparison needs at least one row.", got=got, remedy=_REMAKE)
    for number, row in enumerate(rows, start=1):
        _check_row(row, f"{folder.at(name)} row {number}")
    return comparison


def load_runs(path: str | Path, comparison: Comparison) -> list[tuple[Mapping[str, Any], Run]]:
    """Read the run of every method row that names one; folders since deleted are left out."""
    base = Path(path) if Path(path).is_dir() else Path(path).parent
    named = [row for row in comparison["rows"] if row["role"] == "method" and row.get("run")]
    found = [row for row in named if (base / row["run"] / RunFolder.SCORES).is_file()]
    return [(row, load_run(base / row["run"])) for row in found]


_REMAKE = "Evaluate the run again to remake it."


def _folder(path: str | Path) -> RunFolder:
    folder = RunFolder(path)
    if not folder.path.is_dir():
        remedy = "Give the folder that --out named."
        raise FolderError("A report is made from a run's folder.", got=str(path), remedy=remedy)
    return folder


def _model(settings: Mapping[str, Any]) -> str:
    """Name the model that a recipe unlearns: its path, or the recipe that makes it."""
    source = settings.get("model")
    if not isinstance(source, dict):
        return ""
    if source.get("path"):
        return str(source["path"])
    return f"made by {Path(str(source['recipe'])).name}" if source.get("recipe") else ""


def _optional(folder: RunFolder, name: str) -> dict[str, Any]:
    return folder.read_json(name) if folder.at(name).is_file() else {}


def _check_row(row: object, where: str) -> None:
    if not isinstance(row, dict):
        raise DataError("A comparison's row is an object.", got=where, remedy=_REMAKE)
    if row.get("role") not in _ROLES:
        rule = f"A comparison's row has one of the roles {', '.join(_ROLES)}."
        raise DataError(rule, got=f"{where}: {row.get('role')!r}", remedy=_REMAKE)
    scores = row.get("scores")
    whole = isinstance(scores, dict) and all(
        isinstance(score, dict) and "value" in score for score in scores.values()
    )
    if not whole:
        rule = "A comparison's row has scores, each with a value."
        raise DataError(rule, got=where, remedy=_REMAKE)
