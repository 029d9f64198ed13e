"""Comparisons as Markdown: a summary over seeds, a table each, and how they were made."""

from __future__ import annotations

__all__ = ["markdown"]

from collections.abc import Mapping, Sequence
from typing import Any

from letheon.report.attacked import LEGEND as ATTACKS_LEGEND
from letheon.report.attacked import attacks_compared, attacks_over_seeds
from letheon.report.provenance import describe_environment, heading, made, method_seeds
from letheon.report.sequence import sequence_tables
from letheon.report.tables import details, over_seeds, table
from letheon.report.words import LEGEND, failure_lines, label, verdict


def markdown(comparisons: Sequence[Mapping[str, Any]], *, title: str = "Comparison") -> str:
    """Write one Markdown page of one or several comparisons (one a seed).

    Several, or one that holds several seeds, get a summary first. Every comparison states its
    command and seeds; versions and hardware are stated once where all agree.
    """
    parts = [f"# {title}\n", LEGEND + "\n"]
    if len(comparisons) > 1 or any(len(method_seeds(c)) > 1 for c in comparisons):
        parts += ["## Over all seeds\n", over_seeds(comparisons).to_markdown()]
        if attacked := attacks_over_seeds(comparisons):
            parts += [
                f"Attacks: the differences to gold. {ATTACKS_LEGEND}\n",
                attacked.to_markdown(),
            ]
    environments = [describe_environment(c.get("environment") or {}) for c in comparisons]
    same = all(one == environments[0] for one in environments)
    for comparison, environment in zip(comparisons, environments, strict=True):
        parts += [f"## {heading(comparison)}\n", *_tables(comparison)]
        parts.append(_bullets(made(comparison) | ({} if same else environment)))
    if same and environments[0]:
        parts += ["## Where it was made\n", _bullets(environments[0])]
    return "\n".join(parts)


def _tables(comparison: Mapping[str, Any]) -> list[str]:
    rows = comparison["rows"]
    parts = [f"{verdict(rows)}\n", table(comparison).to_markdown()]
    if reasons := failure_lines(rows):
        parts.append("".join(f"- {name}: {words}\n" for name, words in reasons))
    if detail := details(comparison):
        parts.append(detail.to_markdown())
    if attacked := attacks_compared(comparison):
        parts += ["### Attacks\n", f"{ATTACKS_LEGEND}\n", attacked.to_markdown()]
    for title, laid in sequence_tables([(label(row), row.get("sequence")) for row in rows]):
        parts += [f"### {title}\n", laid.to_markdown()]
    return parts


def _bullets(told: Mapping[str, str]) -> str:
    quoted = {name: f"`{words}`" if name == "Command" else words for name, words in told.items()}
    return "".join(f"- {name}: {words}\n" for name, words in quoted.items())
