"""The page of one run: the verdict, what it rests on, what it leaves open."""

from __future__ import annotations

__all__ = ["run_page"]

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from letheon.report import blocks
from letheon.report.answers import SHOWN, answer_blocks
from letheon.report.asked import asked, cost, reproduce
from letheon.report.attacked import LEGEND as ATTACKS_LEGEND
from letheon.report.attacked import attacks, attacks_plots
from letheon.report.caveats import of_run, to_delete
from letheon.report.evidence import Evidence
from letheon.report.load import Run, own_words
from letheon.report.page import Page, Section
from letheon.report.places import CUT
from letheon.report.plots import progress_plots
from letheon.report.run_scores import forgotten, kept, others
from letheon.report.sequence import sequence_tables
from letheon.report.truth import truth_blocks
from letheon.report.words import (
    LEGEND,
    explained,
    failures,
    gate_word,
    mood,
    plain_verdict,
    shortfall,
)


def run_page(run: Run, evidence: Evidence) -> Page:
    """Compose the page of a run from its scores and what its records add."""
    gate, missed = run.scores.get("gate"), shortfall(run.scores.get("ended"))
    obstacles = [*filter(None, [missed]), *(c["words"] for c in failures(gate))]
    every = [
        Section("What was asked", _pairs(asked(run, evidence))),
        Section("What stood in the way", [blocks.bullets(obstacles)] if obstacles else []),
        Section("What this does not show", [blocks.bullets(of_run(run, evidence))]),
        Section("What must be deleted", _deleted(run)),
        Section("Scores", _scores(run, evidence)),
        Section("Truth ratios beside gold and target", truth_blocks(evidence.ratios)),
        Section("Before and after", _answers(evidence)),
        Section("Attacks", _attacks(run)),
        Section("Requests one after another", _sequence(run)),
        Section("The way there", _progress(run)),
        Section("The gate, criterion by criterion", _gate(gate)),
        Section("Cost", _pairs(cost(run))),
        Section("To make it again", _again(run)),
    ]
    return Page(
        title=f"Run {run.name}",
        verdict=_verdict(gate, missed=bool(missed)),
        mood=mood([gate]),
        lead=blocks.paragraph(plain_verdict([gate])),
        sections=[section for section in every if section.blocks],
        texts=bool(evidence.answers),
    )


def _verdict(gate: Mapping[str, Any] | None, *, missed: bool) -> str:
    sentences = {
        "passed": "Forgotten and kept.",
        "not passed": "Not passed: this run did not forget and keep.",
        "cannot decide": "This task cannot decide whether the run forgot and kept.",
    }
    unjudged = (
        "Not forgotten by the run's own rule, and not judged: there is no gold model."
        if missed
        else "Not judged: there is no gold model to compare with."
    )
    return sentences.get(gate_word(gate), unjudged)


def _pairs(items: list[tuple[str, str]]) -> list[Markup]:
    return [blocks.pairs(items)] if items else []


def _deleted(run: Run) -> list[Markup]:
    words, items = to_delete(run)
    return [blocks.paragraph(words), blocks.bullets(items)]


def _scores(run: Run, evidence: Evidence) -> list[Markup]:
    scores = run.scores["scores"]
    said = ": rows that the model itself said before" if own_words(run) else ""
    found = [
        blocks.tabled(table, caption, titled=True)
        for caption, table in (
            ("On what was to be forgotten", forgotten(scores, evidence.references)),
            (f"On what was to be kept{said}", kept(scores, evidence.references)),
        )
        if table.rows
    ]
    rest = others(scores, evidence.references)
    if rest.rows:
        found.append(blocks.fold("All other scores", blocks.tabled(rest, "All other scores")))
    told = blocks.pairs(explained([score["name"] for score in scores]))
    return [
        *found,
        blocks.paragraph(LEGEND, "note"),
        blocks.fold("What the scores mean", told, opened=True),
    ]


def _answers(evidence: Evidence) -> list[Markup]:
    if not evidence.answers:
        return []
    # Who asks for the texts of their own data wants every row; a public set may be long.
    found = answer_blocks(evidence.answers, most=None if evidence.consented else SHOWN)
    if evidence.kept:
        found += answer_blocks(evidence.kept, kept=True, most=SHOWN)
    if evidence.consented:
        words = "This page holds texts of the data that was to be forgotten: it is not for sharing."
        found.insert(0, blocks.paragraph(words, "warning"))
    return found


def _attacks(run: Run) -> list[Markup]:
    if not run.attacks:
        return []
    found = [
        blocks.tabled(attacks(run.attacks), "After each attack"),
        blocks.paragraph(ATTACKS_LEGEND, "note"),
    ]
    if notes := _notes(run.attacks):
        found.append(blocks.pairs(notes))
    plots = attacks_plots([("method", run.attacks)])
    return [*found, blocks.figures(plots)] if plots else found


def _notes(made: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say of each attack what its scores mean, and what was left out."""
    notes = []
    for name, entry in made.get("attacks", {}).items():
        words = [*filter(None, [entry.get("note")]), *entry.get("skipped", [])]
        notes += [(name, text) for text in words]
    return notes + [(entry["name"], entry["reason"]) for entry in made.get("skipped", [])]


def _sequence(run: Run) -> list[Markup]:
    found = sequence_tables([(run.name, run.scores.get("sequence"))])
    return [blocks.tabled(table, title, titled=True) for title, table in found]


def _progress(run: Run) -> list[Markup]:
    plots = progress_plots(run.progress)
    if not plots:
        return []
    ends = {event["event"]: event for event in run.progress if event["event"] in ("stop", "kept")}
    words = []
    if "stop" in ends:
        words.append(f"It stopped at step {ends['stop']['step']} ({ends['stop']['reason']}).")
    if "kept" in ends:
        words.append(f"The parameters of step {ends['kept']['step']} were kept: the dashed line.")
    return [blocks.paragraph(" ".join(words), "note"), blocks.figures(plots)]


def _gate(gate: Mapping[str, Any] | None) -> list[Markup]:
    return [blocks.criteria(gate["criteria"], "Criteria of the gate")] if gate else []


def _again(run: Run) -> list[Markup]:
    found = _pairs(reproduce(run))
    if CUT in run.recipe:
        words = "Of absolute paths the page has the last part; recipe.yaml in the folder has all."
        found.append(blocks.paragraph(words, "note"))
    return [*found, blocks.fold("recipe.yaml", blocks.code(run.recipe))] if run.recipe else found
