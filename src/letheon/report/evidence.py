"""What a run's records say beyond its scores: counts, truth ratios, the models beside it."""

from __future__ import annotations

__all__ = ["Evidence", "load_evidence"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from letheon.errors import DataError, MetricError
from letheon.folder import RunFolder
from letheon.metrics import compute_all
from letheon.metrics.records import Records, read
from letheon.metrics.truth_ratio import of_split
from letheon.report.answers import Answer, load_answers

_REFERENCES = ("target", "gold", "second_gold")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Empty where the folder does not hold it.

    ``counts`` maps a split to its rows and units; ``references`` the target and the gold models to
    their scores by name; ``ratios`` each model to the truth ratios of the forget set, natural
    logarithms. ``answers`` (to forget) and ``kept`` (to keep) are filled only where texts may be
    shown; ``consented`` says that they are shown because the owner of the data asked for it.
    """

    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    references: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    ratios: Mapping[str, Sequence[float]] = field(default_factory=dict)
    answers: Sequence[Answer] = ()
    kept: Sequence[Answer] = ()
    consented: bool = False


def load_evidence(path: str | Path, *, texts: bool = False) -> Evidence:
    """Read what the records of a run folder say.

    Texts are read where the data is public, or where ``texts`` says that its owner consents.
    Raises ``DataError`` where texts are asked for and there are none, or a file is broken.
    """
    folder = RunFolder(path)
    own = _records(folder.at(RunFolder.EXAMPLES))
    named = {n: _records(folder.at(f"reference/{n}.parquet")) for n in _REFERENCES}
    references = {name: records for name, records in named.items() if records}
    gold = references.get("gold")
    public = is_public(folder)
    told = load_answers(path) if texts or public else {}
    answers = told.get("forget", ())
    if texts and not answers:
        raise DataError(
            "Texts are shown where the run still has them.",
            got=f"{folder.path} without texts of a forget set in {RunFolder.PRIVATE}/",
            remedy="Make the page without --texts.",
        )
    return Evidence(
        counts={
            split: (len(columns["id"]), len(set(columns["unit"].tolist())))
            for split, columns in own.items()
        },
        references={
            name: _scores(records, None if name == "gold" else gold)
            for name, records in references.items()
        },
        ratios=_ratios({"this run": own, **references}),
        answers=answers,
        kept=told.get("retain", ()),
        consented=bool(answers) and not public,
    )


def is_public(folder: RunFolder) -> bool:
    """Whether a run's folder says that the texts of its data may be shown."""
    if not folder.at(RunFolder.ENVIRONMENT).is_file():
        return False
    return folder.read_json(RunFolder.ENVIRONMENT).get("public") is True


def _records(file: Path) -> Records:
    return read(file) if file.is_file() else {}


def _scores(records: Records, gold: Records | None) -> dict[str, dict[str, Any]]:
    return {score.name: score.to_json() for score in compute_all(records, gold).scores}


def _ratios(models: Mapping[str, Records]) -> dict[str, list[float]]:
    found = {}
    for name, records in models.items():
        try:
            found[name] = of_split(records, "forget")[0].tolist()
        except MetricError:  # no paraphrases: the data has no truth ratio
            continue
    return found
