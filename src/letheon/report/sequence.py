"""Requests one after another: what each earlier one still holds, and utility after each."""

from __future__ import annotations

__all__ = ["sequence_tables"]

from collections.abc import Mapping, Sequence
from typing import Any

from letheon.report.tables import Table
from letheon.report.words import ABSENT, number, score_title, with_interval

_SHOWN = ("forget_quality", "gold_distance", "fact_probability", "probability", "rouge_l_recall")


def sequence_tables(
    runs: Sequence[tuple[str, Mapping[str, Any] | None]],
) -> list[tuple[str, Table]]:
    """Lay out the ``sequence`` of each run's scores, given by the run's label, with titles.

    A run that follows no other has None; where none follows another there are no tables.
    """
    found = [(label, told) for label, told in runs if told]
    if not found:
        return []
    tables = [("Earlier requests, measured again", _requests(found))]
    utility = _utility(found)
    return [*tables, ("Utility after each request", utility)] if utility.rows else tables


def _requests(found: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    entries = [(label, told["how"], each) for label, told in found for each in told["requests"]]
    shown = [name for name in _SHOWN if any(_score(each, name) for *_, each in entries)]
    rows = []
    for label, how, each in entries:
        scores = [_score(each, name) for name in shown]
        cells = [with_interval(score) if score else ABSENT for score in scores]
        angles = each["angles"]
        angle = ABSENT if angles is None else f"{number(angles['mean'])}°"
        rows.append([f"{each['name']}, after {label}", how, *cells, angle, each["reason"] or ""])
    headers = ["Request", "How", *map(score_title, shown), "Mean angle", "Not measured"]
    return _without_empty(Table(headers, rows, [""] * len(rows)))


def _utility(found: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    rows = [
        [each["after"], told["how"], label, with_interval(each)]
        for label, told in found
        for each in told["utility"]
    ]
    return Table(["After", "How", "Sequence", "Utility ↑"], rows, [""] * len(rows))


def _without_empty(table: Table) -> Table:
    keep = [k for k in range(len(table.headers)) if any(row[k] for row in table.rows)]
    rows = [[row[k] for k in keep] for row in table.rows]
    return Table([table.headers[k] for k in keep], rows, table.marks)


def _score(entry: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    by_name = {score["name"]: score for score in entry["scores"]}
    return by_name.get(name) or by_name.get(f"forget.{name}")
