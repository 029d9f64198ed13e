"""A run's scores beside those of the models that it is judged by, in three tables."""

from __future__ import annotations

__all__ = ["forgotten", "kept", "others"]

from collections.abc import Mapping, Sequence
from typing import Any

from letheon.report.tables import DETAIL, MAIN, Table
from letheon.report.words import ABSENT, number, score_title, with_interval

Scores = Sequence[Mapping[str, Any]]
References = Mapping[str, Mapping[str, Mapping[str, Any]]]

_UTILITY = ("model_utility", "retain_utility")
_FORGOTTEN = tuple(name for name in (*MAIN, *DETAIL) if name not in _UTILITY)
_KEPT_SPLITS = ("retain", "real_authors", "world_facts")
_KEPT = ("probability", "rouge_l_recall", "truth_ratio")
_BETTER = {"up": "higher", "down": "lower", "gold": "near gold"}


def forgotten(scores: Scores, references: References) -> Table:
    """Lay out what is measured on the forget set, the gate's scores first."""
    names = [name for stem in _FORGOTTEN for name in (stem, f"forget.{stem}")]
    return _laid_out(_named(scores, names), references)


def kept(scores: Scores, references: References) -> Table:
    """Lay out what is measured on what was to be kept."""
    names = [*_UTILITY, *(f"{split}.{stem}" for split in _KEPT_SPLITS for stem in _KEPT)]
    return _laid_out(_named(scores, names), references)


def others(scores: Scores, references: References) -> Table:
    """Lay out all scores that the other two tables leave out."""
    names = {row["name"] for row in scores}
    for laid in (_FORGOTTEN, [f"forget.{s}" for s in _FORGOTTEN], _UTILITY):
        names -= set(laid)
    names -= {f"{split}.{stem}" for split in _KEPT_SPLITS for stem in _KEPT}
    return _laid_out([row for row in scores if row["name"] in names], references)


def _named(scores: Scores, names: Sequence[str]) -> list[Mapping[str, Any]]:
    by_name = {score["name"]: score for score in scores}
    return [by_name[name] for name in names if name in by_name]


def _laid_out(scores: Scores, references: References) -> Table:
    beside = [name for name in ("target", "gold", "second_gold") if name in references]
    rows = [
        [
            score_title(score["name"], score.get("direction")),
            _BETTER.get(score.get("direction") or "", ABSENT),
            with_interval(score),
            *(_value(references[name], score["name"]) for name in beside),
            str(score.get("n", ABSENT)),
            str(score.get("interval") or ABSENT),
        ]
        for score in scores
    ]
    heads = [
        "Score",
        "Better",
        "This run",
        *(name.replace("_", " ").capitalize() for name in beside),
    ]
    return Table([*heads, "n", "Interval"], rows, [""] * len(rows))


def _value(found: Mapping[str, Mapping[str, Any]], name: str) -> str:
    return number(found[name]["value"]) if name in found else ABSENT
