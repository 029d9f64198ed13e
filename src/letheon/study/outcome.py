"""The outcome of a study: ``study.json`` (what a page needs), ``trials.jsonl``, ``scores.jsonl``.

All of it is computed again from the results of the jobs, whoever did them and in what order; but
for seconds and bytes it is the same for the same study.
"""

from __future__ import annotations

__all__ = ["OUTCOME", "SCORES", "TRIALS", "outcome", "write"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from letheon import compare
from letheon.folder import RunFolder, environment
from letheon.metrics.verdict import Criterion, Verdict, over_seeds
from letheon.report.study_tables import STUDY
from letheon.report.tables import DETAIL, MAIN
from letheon.study import fairness
from letheon.study.execute import chosen, read_trials, run_folder
from letheon.study.jobs import result_of
from letheon.study.region import Limits, region
from letheon.study.spec import Study

OUTCOME, TRIALS, SCORES = STUDY, "trials.jsonl", "scores.jsonl"

_UTILITIES = ("model_utility", "retain_utility")

Row = dict[str, Any]


def write(study: Study, out: Path, command: str) -> dict[str, Any]:
    """Compute the outcome of a study whose jobs are done, write its three files, return it."""
    trials = {method: read_trials(study, out, method) for method in study.spec.methods}
    rows = _rows(study, out)
    found = outcome(study, out, trials, rows, command)
    folder = RunFolder(out)
    folder.write_rows(TRIALS, (trial for own in trials.values() for trial in own))
    folder.write_rows(SCORES, rows)
    folder.write_json(OUTCOME, found)
    return found


def outcome(
    study: Study,
    out: Path,
    trials: Mapping[str, Sequence[Mapping[str, Any]]],
    rows: Sequence[Row],
    command: str,
) -> dict[str, Any]:
    """Return ``study.json`` from all ``trials`` by method and the ``rows`` of final scores."""
    limits = {
        name: {k: v for k, v in _read(result_of(out, f"limit/{name}")).items() if k != "schema"}
        for name in study.tuned
    }
    methods = [
        _method(study, name, trials[name], [row for row in rows if row["name"] == name], limits)
        for name in study.spec.methods
    ]
    _mark_front(methods)
    return {
        "schema": 1,
        "name": study.spec.name,
        "command": command,
        "task": _task(study, out),
        "protocol": {
            "trials": study.spec.trials,
            "tuning_instances": len(study.tuned),
            "seeds": len(study.scored),
            "select": study.spec.select,
            "limits": limits,
            "shared": fairness.check(study),
        },
        "methods": methods,
        "references": [_short(row) for row in rows if row["role"] != "method"],
        "runs": [_short(row) for row in rows if row["role"] == "method"],
        "environment": environment() | {"accelerators": _accelerators(study, out)},
        "study": study.to_json(),
    }


def _rows(study: Study, out: Path) -> list[Row]:
    """Return a row for each final run, and for target and gold models of each instance."""
    found: list[Row] = []
    for instance in study.scored:
        results = {
            method: _read(result_of(out, f"run/{method}/{instance}"))
            for method in study.spec.methods
        }
        places = {m: run_folder(out, m, instance) for m, r in results.items() if not r["failed"]}
        compared = compare.compare(list(places.values()), command="")["rows"] if places else []
        own = {row["name"]: row for row in compared if row["role"] == "method"}
        before = next((row for row in compared if row["role"] == "target"), None)
        found += [
            {"instance": instance, **_plain(row)} for row in compared if row["role"] != "method"
        ]
        found += [
            {
                "instance": instance,
                "setting": result["setting"],
                "failed": result["failed"],
                **(_plain(own[method]) if method in own else _lost(method)),
                "utility_share": _utility_share(own.get(method), before),
                "attacks": _attacks(study, out, method, instance),
            }
            for method, result in results.items()
        ]
    return found


def _plain(row: Mapping[str, Any]) -> Row:
    left_out = ("default", "named", "run", "task", "forget_source")
    return {key: value for key, value in row.items() if key not in left_out}


def _lost(method: str) -> Row:
    """Return the row of a run whose model diverged: there is nothing to score."""
    return {"role": "method", "name": method, "scores": {}, "gate": None, "cost": None}


def _utility_share(row: Mapping[str, Any] | None, target: Mapping[str, Any] | None) -> float | None:
    if row is None or target is None:
        return None
    for name in _UTILITIES:
        before = target["scores"].get(name, {}).get("value")
        if before and name in row["scores"]:
            return float(row["scores"][name]["value"] / before)
    return None


def _attacks(study: Study, out: Path, method: str, instance: str) -> dict[str, Any]:
    """Return each attack's headline scores: of method, gold and target, and the difference."""
    if not study.spec.attacks:
        return {}
    failed = _read(result_of(out, f"attack/{method}/{instance}"))["failed"]
    if failed is not None:
        return {"failed": failed}
    found = RunFolder(run_folder(out, method, instance)).read_json("attacks.json")["attacks"]
    return {
        name: {
            part: {k: v for k, v in scores.items() if k in each["headline"]}
            for part, scores in each["scores"].items()
        }
        for name, each in found.items()
        if name in study.spec.attacks
    }


def _method(
    study: Study,
    name: str,
    trials: Sequence[Mapping[str, Any]],
    rows: Sequence[Row],
    limits: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    choice = chosen(study, trials)
    own = [trial for trial in trials if trial["trial"] == choice.trial]
    verdict = _verdict(rows)
    return {
        "name": name,
        "set": study.spec.methods[name].set,
        "chosen": {
            "trial": choice.trial,
            "setting": choice.setting,
            "value": choice.value,
            "validation": {
                trial["instance"]: min(
                    trial["probes"], key=lambda probe: probe[study.spec.select], default=None
                )
                for trial in own
            },
        },
        "verdict": None
        if verdict is None
        else {"decidable": verdict.decidable, "words": verdict.words, **verdict.to_json()},
        "passed": [bool(row["gate"] and row["gate"]["passed"]) for row in rows],
        "failed": sum(row["failed"] is not None for row in rows),
        "scores": {
            **{n: s for n in MAIN if (s := _over(rows, n)) is not None},
            "utility_share": _spread([row["utility_share"] for row in rows]),
        },
        "region": region(trials, {k: Limits(**v) for k, v in limits.items()}),
        "attacks": _attacked(rows),
        "cost": {
            "seconds": _spread([(row["cost"] or {}).get("seconds") for row in rows]),
            "peak_bytes": max((row["cost"] or {}).get("peak_bytes", 0) for row in rows),
            "tuning_seconds": round(sum(trial["seconds"] for trial in trials), 1),
        },
    }


def _verdict(rows: Sequence[Row]) -> Verdict | None:
    """Judge a method over its seeds; a run that diverged holds none of the method's criteria."""
    judged = [row["gate"]["criteria"] for row in rows if row["gate"] is not None]
    if not judged:
        return None
    lost = [
        {**one, "passed": one["kind"] == "task", "words": "The run diverged."} for one in judged[0]
    ]
    every = [*judged, *([lost] * sum(row["gate"] is None for row in rows))]
    return over_seeds([Verdict(tuple(Criterion(**one) for one in each)) for each in every])


def _over(rows: Sequence[Row], name: str) -> dict[str, Any] | None:
    return _spread([row["scores"].get(name, {}).get("value") for row in rows], name)


def _spread(values: Sequence[float | None], name: str = "") -> dict[str, Any] | None:
    """Return centre, least and largest of what there is; the centre of a p-value is the median."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    centre = median(known) if name == "forget_quality" else fmean(known)
    return {"value": centre, "low": min(known), "high": max(known), "n": len(known)}


def _attacked(rows: Sequence[Row]) -> dict[str, Any]:
    """Gather attacks over seeds: each score of the method, of gold, and the difference.

    Where a budget ended first (``censored``) the budget is no value: it is counted apart.
    """
    found: dict[str, dict[str, dict[str, list[Mapping[str, Any]]]]] = {}
    for row in rows:
        for attack, parts in row["attacks"].items():
            if attack == "failed":
                continue
            for part in ("method", "gold", "difference"):
                for score, each in (parts.get(part) or {}).items():
                    by_score = found.setdefault(attack, {}).setdefault(score, {})
                    by_score.setdefault(part, []).append(each)
    return {
        attack: {
            score: {part: _reached(values) for part, values in parts.items()}
            for score, parts in by_score.items()
        }
        for attack, by_score in found.items()
    }


def _reached(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the spread of the scores that are known, and how many are not."""
    known = [each["value"] for each in found if not each.get("censored")]
    spread = _spread(known) or {"value": None, "low": None, "high": None, "n": 0}
    return spread | {"censored": len(found) - spread["n"]}


def _mark_front(methods: Sequence[dict[str, Any]]) -> None:
    """Mark the methods that no other beats in both gold distance and utility share."""

    def point(method: Mapping[str, Any]) -> tuple[float, float] | None:
        distance = method["scores"].get("gold_distance")
        share = method["scores"]["utility_share"]
        return (-distance["value"], share["value"]) if distance and share else None

    points = [point(method) for method in methods]
    for method, own in zip(methods, points, strict=True):
        better = own is not None and any(
            other is not None and other != own and other[0] >= own[0] and other[1] >= own[1]
            for other in points
        )
        method["on_front"] = own is not None and not better


def _short(row: Row) -> Row:
    """Keep of a row what a page shows; all of it is in ``scores.jsonl``."""
    wanted = [*MAIN, *(f"{split}{name}" for name in DETAIL for split in ("", "forget."))]
    gate = row["gate"]
    return {
        **{k: v for k, v in row.items() if k != "attacks"},
        "scores": {name: row["scores"][name] for name in wanted if name in row["scores"]},
        "gate": gate
        and {
            "passed": gate["passed"],
            "missed": [one["name"] for one in gate["criteria"] if not one["passed"]],
        },
    }


def _task(study: Study, out: Path) -> dict[str, Any]:
    for instance in study.scored:
        for method in study.spec.methods:
            place = run_folder(out, method, instance)
            if RunFolder(place).at(RunFolder.SCORES).is_file():
                return dict(compare.compare([place], command="")["task"])
    return {}


def _accelerators(study: Study, out: Path) -> list[str]:
    found = set()
    for instance in study.scored:
        for method in study.spec.methods:
            folder = RunFolder(run_folder(out, method, instance))
            if folder.at(RunFolder.ENVIRONMENT).is_file():
                found.add(folder.read_json(RunFolder.ENVIRONMENT).get("accelerator"))
    return sorted(name for name in found if name)


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = RunFolder(file.parent).read_json(file.name)
    return found
