"""What a verdict does not show, said as plainly as the verdict; and what must still be deleted."""

from __future__ import annotations

__all__ = ["of_comparison", "of_run", "to_delete"]

from collections.abc import Mapping, Sequence
from typing import Any

from letheon.report.evidence import Evidence
from letheon.report.load import Run, own_words


def of_run(run: Run, evidence: Evidence) -> list[str]:
    """List what the scores of one run leave open."""
    rows, units = evidence.counts.get("forget", (0, 0))
    seeds = run.scores.get("reference_seeds") or {}
    golds = sum("gold" in name for name in seeds or evidence.references)
    return [
        _questions(rows, units),
        _gold(golds, judged=run.scores.get("gate") is not None),
        *([_OWN_WORDS] if own_words(run) else []),
        _attacks(sorted((run.attacks or {}).get("attacks", {}))),
        _ONE_RUN,
        _CHECKPOINT,
    ]


def of_comparison(comparison: Mapping[str, Any]) -> list[str]:
    """List what a comparison leaves open."""
    rows: Sequence[Mapping[str, Any]] = comparison["rows"]
    task = comparison.get("task") or {}
    methods = [row for row in rows if row["role"] == "method"]
    attacks = {name for row in methods for name in row.get("attacks") or {}}
    golds = sum(row["role"] == "gold" for row in rows)
    seeds = {row.get("seed") for row in methods}
    return [
        _questions(task.get("n_forget", 0), task.get("n_forget_units", 0)),
        _gold(golds, judged=any(row.get("gate") for row in methods)),
        _attacks(sorted(attacks)),
        *([_ONE_RUN] if len(seeds) < 2 else []),
        _CHECKPOINT,
    ]


def to_delete(run: Run) -> tuple[str, list[str]]:
    """Say what of a run still holds the knowledge: a sentence, and the things to delete."""
    adapted = "adapter" in run.holds
    words = (
        "An adapter can be switched off: the base model with this run's adapter still holds what "
        "was to be forgotten. Only the merged checkpoint may be handed on."
        if adapted
        else "The weights that this run began from still hold what was to be forgotten."
    )
    if adapted and "merged" not in run.holds:
        words += " It is not here: letheon merge makes it."
    items = [
        f"the model that was unlearned, with all its copies{f': {run.model}' if run.model else ''}",
        "the data it was trained on, as far as it has to go",
        *(text for name, text in _FOLDERS.items() if name in run.holds),
    ]
    return words, items


_FOLDERS = {
    "adapter": "adapter/ of this folder: what was changed, of use with the base only",
    "checkpoints": "checkpoints/ of this folder: states between the model before and after",
    "private": "private/ of this folder: questions, answers and what the model wrote",
}
_ONE_RUN = "It is one run with one seed: another seed may come out otherwise."
_OWN_WORDS = (
    "What was to be kept is what the model says by itself, right or wrong, because no rows to keep "
    "were given: what it knows but rarely says was neither kept on purpose nor measured."
)
_CHECKPOINT = (
    "It is a test of behaviour, no proof that nothing is left in the weights, and it says nothing "
    "of other copies of the model or of the data."
)


def _questions(rows: int, units: int) -> str:
    if not rows:
        return "Only the questions of the forget set were asked; others may bring out more."
    return (
        f"Only {rows:,} questions on {units:,} {'unit' if units == 1 else 'units'} (people, "
        "authors, documents) were asked, as they are worded in the data; others may bring out more."
    )


def _gold(count: int, *, judged: bool) -> str:
    if not judged or not count:
        return "There was no gold model (trained without the forget set) that could judge."
    more = " Others were used to set limits." if count > 1 else ""
    return (
        "One gold model stands for all models that never saw the data; trained again it would give "
        f"somewhat other numbers.{more}"
    )


def _attacks(names: Sequence[str]) -> str:
    if not names:
        return (
            "No attack was tried: whether training, rounding, other wordings or many samples "
            "bring it back is not known (letheon attack tries)."
        )
    told = ", ".join(name.replace("_", " ") for name in names)
    return f"These attacks were tried: {told}. Others may succeed."
