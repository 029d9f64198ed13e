"""Run folders side by side: one comparison of methods on the same target and gold models."""

from __future__ import annotations

__all__ = ["compare", "report", "show", "write"]

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import file_digest
from os.path import relpath
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from letheon import report as reports
from letheon.errors import FolderError
from letheon.folder import RunFolder, environment, replacing
from letheon.metrics import compute_all
from letheon.metrics.records import Records, read
from letheon.report.study_tables import STUDY

_REFERENCES = ("target", "gold", "second_gold")

# Columns of a terminal from which on a score and its interval stand in one line.
_WIDE = 110


def compare(
    runs: Sequence[Path],
    *,
    command: str,
    default: str | None = None,
    relative_to: Path | None = None,
    phases: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the comparison of unlearning runs, as in ``comparison.json``.

    The target and gold models they were scored against become rows of their own, scored from the
    records each run keeps. ``default`` marks the run declared beforehand by its name. Runs of one
    method and bound under several names (other settings) are ``named``: told apart by their names.
    Raises FolderError unless all runs are finished and share target and gold models.
    """
    folders = [RunFolder(path) for path in runs]
    scores = [_scores(folder) for folder in folders]
    _same_references(folders)
    attacks = _attacks(folders)
    first = {name: _reference(folders[0], name) for name in _REFERENCES}
    task = _task(scores[0], folders[0])
    names = defaultdict(set)
    for score in scores:
        names[_method(score)].add(score["run"]["name"])
    rows = [
        *(
            _reference_row(role, name, records, first["gold"], scores[0])
            for role, name in (("target", "target"), ("gold", "gold"), ("gold", "second_gold"))
            if (records := first[name]) is not None
        ),
        *(
            _row(score, folder, default, relative_to)
            | {"named": len(names[_method(score)]) > 1}
            | ({"attacks": made} if made else {})
            for score, folder, made in zip(scores, folders, attacks, strict=True)
        ),
    ]
    return {
        "schema": 1,
        "task": task,
        "rows": rows,
        "phases": [dict(phase) for phase in phases],
        "environment": environment() | {"accelerators": _accelerators(folders)},
        "command": command,
    }


def write(comparison: Mapping[str, Any], out: Path) -> Path:
    """Write ``comparison.json`` into the folder ``out`` and return its path."""
    folder = RunFolder(out)
    folder.write_json(RunFolder.COMPARISON, comparison)
    if folder.at(RunFolder.MANIFEST).is_file():
        folder.write_manifest()
    return folder.at(RunFolder.COMPARISON)


def _scores(folder: RunFolder) -> dict[str, Any]:
    found = folder.read_json(RunFolder.SCORES)
    missing = sorted({"benchmark", "scores", "run", "gate", "oracle"} - found.keys())
    if missing:
        raise FolderError(
            "A run that is compared has whole scores.",
            got=f"{folder.at(RunFolder.SCORES)} without {', '.join(missing)}",
            remedy="Run the command that made the folder again.",
        )
    return found


def _same_references(folders: Sequence[RunFolder]) -> None:
    def digests(folder: RunFolder) -> dict[str, str]:
        found = {}
        for name in _REFERENCES:
            file = folder.at(f"reference/{name}.parquet")
            if file.is_file():
                with file.open("rb") as stream:
                    found[name] = file_digest(stream, "sha256").hexdigest()
        return found

    expected = digests(folders[0])
    for folder in folders[1:]:
        if digests(folder) != expected:
            raise FolderError(
                "Runs are compared on the same data, target and gold models.",
                got=f"{folders[0].path} and {folder.path} differ in them",
                remedy="Compare runs of recipes that share data, model and gold.",
            )


def _attacks(folders: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """Return each run's attacks without their curves; FolderError where settings differ."""
    seen: dict[str, tuple[Path, Any]] = {}
    found = []
    for folder in folders:
        there = folder.at(RunFolder.ATTACKS).is_file()
        made = folder.read_json(RunFolder.ATTACKS)["attacks"] if there else {}
        for name, entry in made.items():
            path, settings = seen.setdefault(name, (folder.path, entry["settings"]))
            if settings != entry["settings"]:
                raise FolderError(
                    "Runs are compared under attacks with the same settings.",
                    got=f"{name} of {path} and of {folder.path} differ in them",
                    remedy=f"Make one of them again: letheon attack RUN --attacks {name}",
                )
        found.append({name: _without_curves(entry) for name, entry in made.items()})
    return found


def _without_curves(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "curves"}


def _accelerators(folders: Sequence[RunFolder]) -> list[str]:
    """Name the accelerators that the runs were made on, which need not be this machine's."""
    found = {folder.read_json(RunFolder.ENVIRONMENT).get("accelerator") for folder in folders}
    return sorted(name for name in found if name)


def _reference(folder: RunFolder, name: str) -> Records | None:
    file = folder.at(f"reference/{name}.parquet")
    return read(file) if file.is_file() else None


def _task(scores: Mapping[str, Any], folder: RunFolder) -> dict[str, Any]:
    records = read(folder.at(RunFolder.EXAMPLES))
    return {
        **scores["benchmark"],
        **{f"n_{split}": len(columns["id"]) for split, columns in records.items()},
        "n_forget_units": len(set(records["forget"]["unit"].tolist())),
    }


def _reference_row(
    role: str, name: str, records: Records, gold: Records | None, like: Mapping[str, Any]
) -> dict[str, Any]:
    found, _ = compute_all(records, None if name == "gold" else gold)
    return {
        "task": like["benchmark"]["name"],
        "role": role,
        "name": name,
        "method": name,
        "bound": None,
        "seed": like.get("reference_seeds", {}).get(name),
        "forget_source": "given",
        "oracle": False,
        "scores": _values([asdict(score) for score in found]),
        "cost": None,
        "gate": None,
        "default": False,
        "run": None,
    }


def _method(scores: Mapping[str, Any]) -> tuple[str, str | None]:
    run = scores["run"]
    return run["method"], run["bound"]


def _row(
    scores: Mapping[str, Any], folder: RunFolder, default: str | None, base: Path | None
) -> dict[str, Any]:
    run = scores["run"]
    return {
        "task": scores["benchmark"]["name"],
        "role": run["role"],
        "name": run["name"],
        "method": run["method"],
        "bound": run["bound"],
        "seed": run["seed"],
        "forget_source": "given",
        "oracle": scores["oracle"],
        "scores": _values(scores["scores"]),
        "cost": run["cost"],
        "gate": scores["gate"],
        "sequence": scores.get("sequence"),
        "default": run["name"] == default,
        "run": Path(relpath(folder.path, base or folder.path.parent)).as_posix(),
    }


def _values(scores: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {s["name"]: {k: s[k] for k in ("value", "low", "high", "n")} for s in scores}


def show(comparison: Mapping[str, Any], console: Console) -> None:
    """Print the comparison as a table, then the verdict and what stood in the way."""
    # A terminal is narrow: retain utility is shown where there is no model utility.
    full = any("model_utility" in row["scores"] for row in comparison["rows"])
    kept = "model_utility" if full else "retain_utility"
    laid = reports.table(comparison, scores=("forget_quality", "gold_distance", kept))
    narrow = console.width < _WIDE
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for k, header in enumerate(laid.headers):
        told = _broken(header.replace(" ", "\n", 1)) if narrow else header
        table.add_column(told, justify="left" if k == 0 else "right", overflow="fold")
    styles = {"passed": "green", "not passed": "red", "cannot decide": "yellow"}
    for cells, mark in zip(laid.rows, laid.marks, strict=True):
        shown = map(_broken, cells) if narrow else cells
        table.add_row(*map(Text, shown), style=styles.get(mark))
    console.print(table)
    console.print(reports.verdict(comparison["rows"]), style="bold")
    for name, words in reports.failure_lines(comparison["rows"]):
        console.print(Text(f"  {name}: {words}"))
    for phase in comparison["phases"]:
        console.print(Text(f"{phase['name']}: {phase['seconds']:.1f} s"), style="dim")


def _broken(cell: str) -> str:
    """Break a cell before a bracket, not inside it."""
    return cell.replace(" [", "\n[").replace(" (", "\n(")


def report(
    folders: Sequence[Path],
    *,
    markdown: Path | None = None,
    title: str | None = None,
    texts: bool = False,
) -> list[Path]:
    """Write ``report.html`` into each folder, or one Markdown page of all their comparisons.

    A folder holds a comparison, a study or a single run; a study has a Markdown page to itself.
    ``texts`` shows a run's questions and answers though its data is not public: such a page goes
    to the run's ``private/``. Returns the files written.
    """
    studies = [path for path in folders if (path / STUDY).is_file()]
    if texts:
        _only_runs(folders, markdown)
    if markdown is not None and studies:
        if len(folders) > 1:
            raise FolderError(
                "A study has a Markdown page to itself.",
                got=f"{len(folders)} folders",
                remedy="Make one page for each.",
            )
        text = reports.study_markdown(reports.load_study(studies[0]), title=title)
        with replacing(markdown) as fresh:
            fresh.write_text(text, encoding="utf-8")
        return [markdown]
    if markdown is not None:
        comparisons = [reports.load_comparison(folder) for folder in folders]
        text = reports.markdown(comparisons, **({"title": title} if title else {}))
        with replacing(markdown) as fresh:
            fresh.write_text(text, encoding="utf-8")
        return [markdown]
    return [_page(path, study=path in studies, title=title, texts=texts) for path in folders]


def _page(path: Path, *, study: bool, title: str | None, texts: bool) -> Path:
    folder, place = RunFolder(path), RunFolder.REPORT
    if study:
        page = reports.study_html(reports.load_study(path), title=title)
    elif folder.at(RunFolder.COMPARISON).is_file():
        found = reports.load_comparison(path)
        page = reports.html(found, runs=reports.load_runs(path, found), title=title)
    else:
        run = reports.load_run(path)
        evidence = reports.load_evidence(path, texts=texts)
        page = reports.html(run, evidence=evidence, title=title)
        if evidence.consented:  # scrub takes it away with the texts
            place = f"{RunFolder.PRIVATE}/{RunFolder.REPORT}"
    folder.write_text(place, page)
    if folder.at(RunFolder.MANIFEST).is_file():
        folder.write_manifest()
    return path / place


def _only_runs(folders: Sequence[Path], markdown: Path | None) -> None:
    others = [path for path in folders if _kind(path) != "run"]
    if markdown is not None or others:
        raise FolderError(
            "Texts are shown on the HTML page of a single run.",
            got="--markdown" if markdown is not None else f"{others[0]}, a {_kind(others[0])}",
            remedy="Give --texts with folders of runs only.",
        )


def _kind(path: Path) -> str:
    if (path / STUDY).is_file():
        return "study"
    return "comparison" if (path / RunFolder.COMPARISON).is_file() else "run"
