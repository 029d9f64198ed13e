"""What attacks found, as tables and plots: the method next to gold and target."""

from __future__ import annotations

__all__ = ["LEGEND", "attacks", "attacks_compared", "attacks_over_seeds", "attacks_plots"]

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from letheon.report.plots import Series, line_plot
from letheon.report.tables import Column, Row, Table, laid_out
from letheon.report.words import ABSENT, attack_title, label, number, with_interval

LEGEND = (
    "Under attack a method has forgotten as far as no more comes out of it than out of the "
    "gold model, which never knew. Δ: method - gold, with its interval over units. > and <: the "
    "attack's budget ended first."
)

Entry = Mapping[str, Any]


def attacks(found: Mapping[str, Any]) -> Table:
    """Lay out one run's ``attacks.json``: a row a score; method, gold, target, difference."""
    rows = []
    for name, entry in found["attacks"].items():
        for score in entry["scores"]["method"]:
            of = [entry["scores"][role].get(score) for role in ("method", "gold", "target")]
            cells = [ABSENT if one is None else _value(one) for one in of]
            rows.append([attack_title(name, score), *cells, _difference(entry, score)])
    return Table(["Attack", "Method", "Gold", "Target", "Δ"], rows, [""] * len(rows))


def attacks_compared(comparison: Mapping[str, Any]) -> Table | None:
    """Lay out the attacks' leading scores, a row a model; None where no run was attacked.

    A method's cell has its difference to gold too; target and gold were attacked once for all.
    """
    rows: list[Row] = comparison["rows"]
    attacked = [row for row in rows if row.get("attacks")]
    shown = _leading(attacked)
    if not shown:
        return None
    kept = [row for row in rows if row.get("attacks") or row.get("name") in ("target", "gold")]
    columns: list[Column] = [
        (
            attack_title(name, score),
            [_cell(row, _reference(attacked, name), name, score) for row in kept],
        )
        for name, score in shown
    ]
    return laid_out(kept, columns)


def attacks_over_seeds(comparisons: Iterable[Mapping[str, Any]]) -> Table | None:
    """Gather each method's differences to gold: mean, smallest and largest over its runs."""
    groups: dict[str, list[Row]] = {}
    for comparison in comparisons:
        for row in comparison["rows"]:
            if row.get("attacks"):
                groups.setdefault(label(row), []).append(row)
    shown = _leading([row for rows in groups.values() for row in rows])
    if not shown:
        return None
    return Table(
        headers=["Method", "Runs", *(f"Δ {attack_title(*one)}" for one in shown)],
        rows=[
            [name, str(len(rows)), *(_spread(rows, *one) for one in shown)]
            for name, rows in groups.items()
        ],
        marks=[""] * len(groups),
    )


def attacks_plots(found: Sequence[tuple[str, Mapping[str, Any] | None]]) -> list[str]:
    """Plot the curves of all attacks of named runs; gold and target once, from the first run.

    A curve is drawn only from runs whose curve has the same steps as the first.
    """
    drawn: dict[str, list[Series]] = {}
    steps: dict[str, list[int]] = {}
    for name, made in found:
        for curve in _curves(made):
            title = curve["name"]
            if title not in drawn:
                steps[title] = curve["steps"]
                others = [
                    (r, curve["values"][r]) for r in ("gold", "target") if r in curve["values"]
                ]
                drawn[title] = [_series(role, curve["steps"], values) for role, values in others]
            if curve["steps"] == steps[title]:
                drawn[title].append(_series(name, curve["steps"], curve["values"]["method"]))
    plots = [line_plot(f"Relearning from {title}", series) for title, series in drawn.items()]
    return [plot for plot in plots if plot]


def _curves(made: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    entries = (made or {}).get("attacks", {}).values()
    return [curve for entry in entries for curve in entry.get("curves", [])]


def _series(name: str, steps: Sequence[int], values: Sequence[float | None]) -> Series:
    if len(values) == 1:  # a level: a model that is not trained
        return Series(name, [(steps[0], values[0]), (steps[-1], values[0])])
    return Series(name, list(zip(steps, values, strict=True)))


def _leading(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """List the (attack, score) that stand for each attack, in order, as far as measured."""
    every = [(n, entry) for row in rows for n, entry in sorted(row["attacks"].items())]
    pairs = [
        (name, score)
        for name, entry in every
        for score in entry["headline"]
        if score in entry["scores"]["method"]
    ]
    return sorted(dict.fromkeys(pairs), key=lambda pair: pair[0])


def _reference(attacked: Sequence[Row], name: str) -> Entry:
    return next(row["attacks"][name] for row in attacked if name in row["attacks"])


def _cell(row: Row, reference: Entry, name: str, score: str) -> str:
    if row["role"] != "method":
        found = reference["scores"][row["role"]].get(score)
        return ABSENT if found is None else _value(found)
    entry = row["attacks"].get(name)
    if entry is None or score not in entry["scores"]["method"]:
        return ABSENT
    value = _value(entry["scores"]["method"][score]).partition(" [")[0]
    return f"{value} Δ {_difference(entry, score)}"


def _value(score: Mapping[str, Any]) -> str:
    return f"> {score['value']:g}" if score.get("censored") else with_interval(score)


def _difference(entry: Entry, name: str) -> str:
    """Write method - gold; where a budget ended first only what is known of it."""
    scores = entry["scores"]
    score = scores["difference"].get(name)
    if score is None:
        return ABSENT
    mine, gold = (bool(scores[role][name].get("censored")) for role in ("method", "gold"))
    if mine and gold:
        return "unknown"
    if mine or gold:
        return f"{'>' if mine else '<'} {score['value']:.1f}"
    return with_interval(score)


def _spread(rows: Sequence[Row], name: str, score: str) -> str:
    found = [row["attacks"].get(name, {}).get("scores", {}) for row in rows]
    scores = [one["difference"][score] for one in found if score in one.get("difference", {})]
    if not scores:
        return ABSENT
    values = [one["value"] for one in scores if one["value"] is not None]
    if any(one.get("censored") for one in scores) or not values:
        reached = sum(not one.get("censored") for one in scores)
        return f"known for {reached} of {len(scores)}"
    return f"{number(fmean(values))} [{number(min(values))}, {number(max(values))}]"
