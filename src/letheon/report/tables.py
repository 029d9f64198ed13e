"""A comparison as headers and cells, for the terminal, Markdown and HTML alike."""

from __future__ import annotations

__all__ = [
    "DETAIL",
    "MAIN",
    "Column",
    "Row",
    "Table",
    "details",
    "laid_out",
    "over_seeds",
    "scores_table",
    "table",
]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from letheon.report.words import ABSENT, gate_word, label, number, score_title, with_interval

MAIN = ("forget_quality", "gold_distance", "model_utility", "retain_utility")
DETAIL = (
    "ks_d",
    "fact_probability",
    "probability",
    "rouge_l_recall",
    "extraction_strength",
    "exact_memorisation",
    "min_k_auc",
    "privleak",
)

Row = Mapping[str, Any]
Column = tuple[str, list[str]]


@dataclass(frozen=True, slots=True)
class Table:
    """Text cells, one list a row; ``marks`` names each row's kind (its role or its verdict)."""

    headers: list[str]
    rows: list[list[str]]
    marks: list[str]

    def to_markdown(self) -> str:
        """Return a Markdown table; text columns to the left, numbers to the right."""
        body = [[_escape(cell) for cell in row] for row in (self.headers, *self.rows)]
        rule = ["---", *("--:" for _ in self.headers[1:])]
        return "\n".join(f"| {' | '.join(row)} |" for row in [body[0], rule, *body[1:]]) + "\n"


def table(comparison: Mapping[str, Any], *, scores: Sequence[str] = MAIN) -> Table:
    """Lay out a comparison: a row per model with the given scores, its cost and the gate.

    A score that no row has gets no column; of a score with splits the forget set's is shown. The
    number of examples stands in the head where all rows agree, else in the cell.
    """
    rows: list[Row] = comparison["rows"]
    seconds = ("Seconds", [_seconds(row) for row in rows])
    gate = ("Gate", [gate_word(row.get("gate")) for row in rows])
    return laid_out(rows, [*_columns(rows, scores), seconds, gate])


def details(comparison: Mapping[str, Any], *, scores: Sequence[str] = DETAIL) -> Table | None:
    """Lay out the scores that the verdict is made of; None where no row has any of them."""
    rows: list[Row] = comparison["rows"]
    columns = _columns(rows, scores)
    return laid_out(rows, columns) if columns else None


def over_seeds(comparisons: Iterable[Mapping[str, Any]], *, scores: Sequence[str] = MAIN) -> Table:
    """Gather each method's runs over all comparisons: centre, range, and how often it passed.

    The centre is the mean, for the p-value forget quality the median; brackets hold the smallest
    and the largest value.
    """
    groups: dict[str, list[Row]] = {}
    for comparison in comparisons:
        for row in comparison["rows"]:
            if row["role"] == "method":
                groups.setdefault(label(row), []).append(row)
    every = [row for rows in groups.values() for row in rows]
    shown = [name for name in scores if any(_score(row, name) for row in every)]
    return Table(
        headers=["Method", "Runs", *(score_title(name) for name in shown), "Gate"],
        rows=[
            [name, str(len(rows)), *(_spread(rows, score) for score in shown), _passes(rows)]
            for name, rows in groups.items()
        ],
        marks=[
            "passed" if all(_mark(r) == "passed" for r in rows) else "" for rows in groups.values()
        ],
    )


def scores_table(scores: Iterable[Mapping[str, Any]]) -> Table:
    """Lay out one run's scores: value with interval, n, and what the interval is."""
    rows = [
        [
            score_title(score["name"], score.get("direction")),
            with_interval(score),
            str(score.get("n", ABSENT)),
            str(score.get("interval") or ABSENT),
        ]
        for score in scores
    ]
    return Table(["Score", "Value", "n", "Interval"], rows, [""] * len(rows))


def _score(row: Row, name: str) -> Mapping[str, Any] | None:
    scores: Mapping[str, Mapping[str, Any]] = row["scores"]
    return scores.get(name) or scores.get(f"forget.{name}")


def laid_out(rows: Sequence[Row], columns: Sequence[Column]) -> Table:
    """Lay out a comparison's rows: who each is, then ``columns``, titles with a cell a row."""
    columns = [*_lead(rows), *columns]
    return Table(
        headers=[title for title, _ in columns],
        rows=[list(cells) for cells in zip(*(cells for _, cells in columns), strict=True)],
        marks=[_mark(row) for row in rows],
    )


def _lead(rows: Sequence[Row]) -> list[Column]:
    seeds = {row.get("seed") for row in rows if row["role"] == "method"}
    columns: list[Column] = [("Model", [label(row) for row in rows])]
    if len(seeds) > 1:
        columns.append(("Seed", [str(row.get("seed", ABSENT)) for row in rows]))
    return columns


def _columns(rows: Sequence[Row], scores: Sequence[str]) -> list[Column]:
    return [column for name in scores if (column := _column(rows, name))]


def _column(rows: Sequence[Row], name: str) -> Column | None:
    found = [_score(row, name) for row in rows]
    counts = {score.get("n") for score in found if score}
    if not any(found):
        return None
    one = counts != {None} and len(counts) == 1
    cells = [
        ABSENT if not score else with_interval(score) + ("" if one else _n(score.get("n")))
        for score in found
    ]
    return score_title(name) + (_n(counts.pop()) if one else ""), cells


def _n(count: int | None) -> str:
    # No-break spaces: a head may break before the count but not in it.
    return "" if count is None else f" (n\u00a0=\u00a0{count})"


def _seconds(row: Row) -> str:
    seconds = (row.get("cost") or {}).get("seconds")
    return ABSENT if seconds is None else f"{seconds:,.1f}"


def _mark(row: Row) -> str:
    gate = row.get("gate")
    return str(row["role"]) if gate is None else gate_word(gate)


def _spread(rows: Sequence[Row], name: str) -> str:
    found = [score["value"] for row in rows if (score := _score(row, name))]
    values = [value for value in found if value is not None]
    if not values:
        return ABSENT
    centre = median(values) if name.startswith("forget_quality") else fmean(values)
    return f"{number(centre)} [{number(min(values))}, {number(max(values))}]"


def _passes(rows: Sequence[Row]) -> str:
    judged = [row for row in rows if row.get("gate") is not None]
    return f"{sum(row['gate']['passed'] for row in judged)} of {len(judged)}" if judged else ABSENT


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
