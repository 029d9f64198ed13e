"""The page of a comparison: which runs forgot and kept, side by side."""

from __future__ import annotations

__all__ = ["comparison_page"]

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from letheon.report import blocks
from letheon.report.attacked import LEGEND as ATTACKS_LEGEND
from letheon.report.attacked import attacks_compared, attacks_over_seeds, attacks_plots
from letheon.report.caveats import of_comparison
from letheon.report.load import Run
from letheon.report.page import Page, Section
from letheon.report.plots import progress_plots
from letheon.report.provenance import describe_environment, heading, made
from letheon.report.scatter import tradeoffs
from letheon.report.sequence import sequence_tables
from letheon.report.tables import DETAIL, MAIN, details, over_seeds, table
from letheon.report.words import (
    LEGEND,
    explained,
    failure_lines,
    label,
    mood,
    plain_verdict,
    verdict,
)

Row = Mapping[str, Any]


def comparison_page(comparison: Mapping[str, Any], runs: Iterable[tuple[Row, Run]]) -> Page:
    """Compose the page; ``runs`` are those whose curves are drawn, each with its row."""
    rows, runs = comparison["rows"], list(runs)
    every = [
        Section("Comparison", _compared(comparison, rows)),
        Section("Forgetting against utility", _figure(rows)),
        Section("What stood in the way", _reasons(rows)),
        Section("What this does not show", [blocks.bullets(of_comparison(comparison))]),
        Section("What the scores mean", [blocks.pairs(_explained(rows))]),
        Section("On the forget set, next to gold", _details(comparison, rows)),
        Section("Attacks", _attacks(comparison, rows, runs)),
        Section("Requests one after another", _sequence(rows)),
        Section("Progress, by step", _curves(runs)),
        Section("The gate, criterion by criterion", _gates(rows)),
        Section("How it was made", [blocks.pairs(list(_made(comparison).items()))]),
    ]
    return Page(
        title=heading(comparison),
        verdict=verdict(rows),
        mood=mood([row.get("gate") for row in _declared(rows)]),
        lead=blocks.paragraph(plain_verdict([row.get("gate") for row in _declared(rows)])),
        sections=[section for section in every if any(section.blocks)],
    )


def _compared(comparison: Mapping[str, Any], rows: Sequence[Row]) -> list[Markup]:
    seeds = {row.get("seed") for row in rows if row["role"] == "method"}
    summary = (
        [blocks.tabled(over_seeds([comparison]), "Over all seeds", runs=_labels(rows), titled=True)]
        if len(seeds) > 1
        else []
    )
    each = blocks.tabled(table(comparison), "Each model", runs=_labels(rows), titled=bool(summary))
    return [blocks.tools(), *summary, each, blocks.paragraph(LEGEND, "note")]


def _figure(rows: Sequence[Row]) -> list[Markup]:
    plots = tradeoffs(rows)
    words = (
        "Left: the forgotten is answered as by a model that never saw it. Up: the rest is known. "
        "Good unlearning is where gold is: as far up, and at the distance of two gold models."
    )
    return [blocks.paragraph(words, "note"), blocks.figures(plots, large=True)] if plots else []


def _reasons(rows: Sequence[Row]) -> list[Markup]:
    found = failure_lines(rows)
    return [blocks.pairs(found)] if found else []


def _explained(rows: Sequence[Row]) -> list[tuple[str, str]]:
    there = {name for row in rows for name in row["scores"]}
    named = [n for n in (*MAIN, *DETAIL) if n in there or f"forget.{n}" in there]
    return explained(named)


def _details(comparison: Mapping[str, Any], rows: Sequence[Row]) -> list[Markup]:
    detail = details(comparison)
    return [blocks.tabled(detail, "Scores on the forget set", runs=_labels(rows))] if detail else []


def _attacks(
    comparison: Mapping[str, Any], rows: Sequence[Row], runs: Sequence[tuple[Row, Run]]
) -> list[Markup]:
    attacked = attacks_compared(comparison)
    if not attacked:
        return []
    found = [blocks.tabled(attacked, "After each attack", runs=_labels(rows))]
    seeds = {row.get("seed") for row in rows if row["role"] == "method"}
    if len(seeds) > 1 and (differences := attacks_over_seeds([comparison])):
        found.insert(
            0, blocks.tabled(differences, "After each attack, over seeds", runs=_labels(rows))
        )
    found.append(blocks.paragraph(ATTACKS_LEGEND, "note"))
    plots = attacks_plots([(_named(row), run.attacks) for row, run in runs])
    return [*found, blocks.figures(plots)] if plots else found


def _sequence(rows: Sequence[Row]) -> list[Markup]:
    found = sequence_tables([(_named(row), row.get("sequence")) for row in rows])
    return [blocks.tabled(laid, title, titled=True) for title, laid in found]


def _curves(runs: Sequence[tuple[Row, Run]]) -> list[Markup]:
    return [
        Markup('<div data-run="{}"><h3>{}</h3>{}</div>').format(
            label(row), _named(row), blocks.figures(progress_plots(run.progress))
        )
        for row, run in runs
        if run.progress
    ]


def _gates(rows: Sequence[Row]) -> list[Markup]:
    return [
        Markup('<div data-run="{}">{}</div>').format(
            label(row),
            blocks.fold(_named(row), blocks.criteria(row["gate"]["criteria"], _named(row))),
        )
        for row in rows
        if row.get("gate")
    ]


def _made(comparison: Mapping[str, Any]) -> dict[str, str]:
    return made(comparison) | describe_environment(comparison.get("environment") or {})


def _declared(rows: Sequence[Row]) -> Sequence[Row]:
    """Keep the rows of the default method, all where none is declared."""
    return [row for row in rows if row.get("default")] or rows


def _labels(rows: Sequence[Row]) -> set[str]:
    return {label(row) for row in rows}


def _named(row: Row) -> str:
    seed = row.get("seed")
    return label(row) if seed is None else f"{label(row)}, seed {seed}"
