"""A comparison or a run as one self-contained HTML page: no script, nothing loaded."""

from __future__ import annotations

__all__ = ["html", "render"]

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from letheon import __version__
from letheon.report.attacked import LEGEND as ATTACKS_LEGEND
from letheon.report.attacked import (
    attacks,
    attacks_compared,
    attacks_over_seeds,
    attacks_plots,
)
from letheon.report.load import Run
from letheon.report.plots import progress_plots
from letheon.report.provenance import describe_environment, heading, made
from letheon.report.sequence import sequence_tables
from letheon.report.tables import details, over_seeds, scores_table, table
from letheon.report.words import (
    LEGEND,
    failure_lines,
    failures,
    gate_word,
    label,
    number,
    verdict,
)


def html(
    source: Run | Mapping[str, Any],
    *,
    runs: Iterable[tuple[Mapping[str, Any], Run]] = (),
    title: str | None = None,
) -> str:
    """Write one HTML page of a comparison or of a single run.

    ``runs`` (from ``load_runs``) adds each method's progress curves to a comparison. All texts
    are escaped; the page shows numbers and identifiers only, as the shareable files hold them.
    """
    page = _of_run(source) if isinstance(source, Run) else _of_comparison(source, runs)
    page["title"] = title or page["title"]
    return render(page)


def render(page: Mapping[str, Any]) -> str:
    """Fill the template of all pages; what a page does not have it leaves out."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    template = files("letheon.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    empty = {"figures": [], "curves": [], "notes": {}, "legend": LEGEND}
    empty |= {"attacks": "", "attack_notes": [], "relearning": []}
    return environment.from_string(template).render({**empty, **page}, version=__version__)


def _of_comparison(
    comparison: Mapping[str, Any], runs: Iterable[tuple[Mapping[str, Any], Run]]
) -> dict[str, Any]:
    rows, runs = comparison["rows"], list(runs)
    many = len({row.get("seed") for row in rows if row["role"] == "method"}) > 1
    tables = [("Over all seeds", over_seeds([comparison]))] if many else []
    tables.append(("Comparison", table(comparison)))
    if detail := details(comparison):
        tables.append(("On the forget set, next to gold", detail))
    if many and (differences := attacks_over_seeds([comparison])):
        tables.append(("Attacks, over all seeds", differences))
    if attacked := attacks_compared(comparison):
        tables.append(("Attacks", attacked))
    tables += sequence_tables([(_run_label(row), row.get("sequence")) for row in rows])
    return {
        "title": heading(comparison),
        "attacks": ATTACKS_LEGEND if attacked else "",
        "attack_notes": [],
        "relearning": _relearning([(_run_label(row), run.attacks) for row, run in runs]),
        "verdict": verdict(rows),
        "mood": _mood([row.get("gate") for row in _declared(rows)]),
        "reasons": failure_lines(rows),
        "tables": tables,
        "gates": [(_run_label(row), row["gate"]["criteria"]) for row in rows if row.get("gate")],
        "curves": [(_run_label(row), _plots(run)) for row, run in runs if run.progress],
        "made": made(comparison) | describe_environment(comparison.get("environment") or {}),
        "recipe": "",
    }


def _of_run(run: Run) -> dict[str, Any]:
    gate = run.scores.get("gate")
    benchmark = run.scores.get("benchmark") or {}
    name = " ".join(str(benchmark[key]) for key in ("name", "version") if benchmark.get(key))
    told = {"Benchmark": name} if name else {}
    tables = [("Scores", scores_table(run.scores["scores"]))]
    if run.attacks:
        tables.append(("Attacks", attacks(run.attacks)))
    return {
        "attacks": ATTACKS_LEGEND if run.attacks else "",
        "attack_notes": _attack_notes(run.attacks),
        "relearning": _relearning([("method", run.attacks)]),
        "title": f"Run {run.name}",
        "verdict": _run_verdict(gate),
        "mood": _mood([gate]),
        "reasons": [(run.name, " ".join(c["words"] for c in failures(gate)))]
        * bool(failures(gate)),
        "tables": [*tables, *sequence_tables([(run.name, run.scores.get("sequence"))])],
        "gates": [(run.name, gate["criteria"])] if gate else [],
        "curves": [(run.name, _plots(run))] if run.progress else [],
        "made": told | describe_environment(run.environment),
        "recipe": run.recipe,
    }


def _run_verdict(gate: Mapping[str, Any] | None) -> str:
    sentences = {
        "passed": "Forgotten and kept.",
        "not passed": "Not passed: this run did not forget and keep.",
        "cannot decide": "This task cannot decide whether the run forgot and kept.",
    }
    return sentences.get(gate_word(gate), "Not judged: there is no gold model to compare with.")


def _declared(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Keep the rows of the default method, all where none is declared."""
    return [row for row in rows if row.get("default")] or rows


def _mood(gates: Sequence[Mapping[str, Any] | None]) -> str:
    words = {gate_word(gate) for gate in gates if gate is not None}
    if words == {"passed"}:
        return "good"
    return "bad" if words == {"not passed"} else "mixed"


def _run_label(row: Mapping[str, Any]) -> str:
    seed = row.get("seed")
    return label(row) if seed is None else f"{label(row)}, seed {seed}"


def _plots(run: Run) -> list[Markup]:
    # The plots escape what they take from the run themselves.
    return [Markup(plot) for plot in progress_plots(run.progress)]


def _relearning(found: Sequence[tuple[str, Mapping[str, Any] | None]]) -> list[Markup]:
    return [Markup(plot) for plot in attacks_plots(found)]


def _attack_notes(found: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Say of each attack what its scores mean, and what was left out."""
    notes = []
    for name, entry in (found or {}).get("attacks", {}).items():
        words = [*filter(None, [entry.get("note")]), *entry.get("skipped", [])]
        notes += [(name, text) for text in words]
    return notes + [(entry["name"], entry["reason"]) for entry in (found or {}).get("skipped", [])]
