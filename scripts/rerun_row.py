"""Run one row of a study's tables again, from its committed settings alone, and compare the scores.

    python scripts/rerun_row.py docs/results/study-people --random 7 --home runs/again

Reads ``study.json`` (and all scores from ``scores.jsonl`` where it lies beside it), trains the
target and gold models that the row needs, unlearns with the row's setting and seed, and prints
every score next to the committed one. Exit code 0 when each lies within the committed interval and
the verdict of the gate is the same, 1 otherwise. A p-value has no interval: its statistic ``ks_d``
is compared. Resumable: the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml


class Line(NamedTuple):
    """A score as it is committed and as it came out now."""

    name: str
    committed: Mapping[str, Any]
    now: float | None
    holds: bool


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return the study's final runs with all their scores, in the order of its tables."""
    from letheon.report import load_study

    runs: list[dict[str, Any]] = load_study(folder)["runs"]
    whole = folder / "scores.jsonl"
    if whole.is_file():
        lines = [json.loads(line) for line in whole.read_text(encoding="utf-8").splitlines()]
        runs = [line for line in lines if line["role"] == "method"]
    return runs


def again(folder: Path, row: Mapping[str, Any], *, home: Path, data: str | None) -> dict[str, Any]:
    """Run the row again in ``home``; return what ``scores.json`` holds, empty where it diverged."""
    from letheon import recipe, run, ui
    from letheon.errors import DivergedError
    from letheon.report import load_study
    from letheon.study import Study
    from letheon.study.spec import recipe_of

    study = Study.from_json(load_study(folder)["study"])
    if data is not None:
        recipe.put(study.base, "data.path", data)
    place = home / "recipes"
    place.mkdir(parents=True, exist_ok=True)
    for name, raw in study.models.items():
        (place / name).write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    found = recipe_of(study, row["instance"], row["name"], row["setting"], folder=place)
    with ui.watcher() as watch:
        try:
            out = home / "runs" / row["name"] / row["instance"]
            done = run.unlearn(found, out, home=home / "models", watch=watch)
        except DivergedError:
            return {}
    return done.read_json(done.SCORES)


def compared(row: Mapping[str, Any], now: Mapping[str, Any]) -> list[Line]:
    """Put every committed score beside the one of now."""
    values = {score["name"]: score["value"] for score in now.get("scores", [])}
    lines = []
    for name, committed in row["scores"].items():
        judged = "ks_d" if name.startswith("forget_quality") else name
        lines.append(
            Line(
                name,
                committed,
                values.get(name),
                within(row["scores"].get(judged, committed), values.get(judged)),
            )
        )
    return lines


def within(committed: Mapping[str, Any], now: float | None) -> bool:
    """Whether a score of now is in the committed interval; without one it must be the same."""
    if now is None or committed["value"] is None:
        return now == committed["value"]
    if committed["low"] is None:
        return math.isclose(now, committed["value"], rel_tol=1e-6, abs_tol=1e-9)
    return bool(committed["low"] <= now <= committed["high"])


def verdict(row: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str]:
    """Return the gate's verdict as committed and as of now, in words."""

    def word(diverged: bool, gate: Mapping[str, Any] | None) -> str:
        if diverged:
            return "diverged"
        return "not judged" if gate is None else "passed" if gate["passed"] else "not passed"

    return word(bool(row["failed"]), row["gate"]), word(not now, now.get("gate"))


def main(words: list[str] | None = None) -> int:
    """Run one row again; returns the exit code."""
    from letheon.errors import InputError
    from letheon.ui import number

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the committed study.json is")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--row", type=int, help="counted from 0 in the order of scores.jsonl")
    which.add_argument("--random", type=int, metavar="SEED", help="draw a row (default: 0)")
    parser.add_argument("--data", help="the folder with the benchmark's files")
    parser.add_argument("--home", type=Path, default=Path("runs/rerun"))
    args = parser.parse_args(words)
    rows = rows_of(args.folder)
    chosen = random.Random(args.random or 0).randrange(len(rows)) if args.row is None else args.row
    if not 0 <= chosen < len(rows):
        raise InputError(
            "--row counts from 0.", got=chosen, remedy=f"There are {len(rows)} rows in the study."
        )
    row = rows[chosen]
    setting = ", ".join(f"{key} {value}" for key, value in row["setting"].items())
    print(f"row {chosen}: {row['name']} on {row['instance']}, {setting}")
    now = again(args.folder, row, home=args.home, data=args.data)
    lines = compared(row, now)
    for line in lines:
        value, low, high = (number(line.committed[key]) for key in ("value", "low", "high"))
        mark = "ok  " if line.holds else "OUT "
        print(f"{mark} {line.name:<34} {value:>9} [{low}, {high}]  now {number(line.now)}")
    before, after = verdict(row, now)
    print(f"{'ok  ' if before == after else 'OUT '} gate: {before}, now {after}")
    return 0 if before == after and all(line.holds for line in lines) else 1


if __name__ == "__main__":
    from letheon.errors import LetheonError

    try:
        sys.exit(main())
    except LetheonError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
