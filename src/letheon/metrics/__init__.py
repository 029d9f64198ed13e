"""Per-example arrays -> a score with n and an interval; pure numpy and scipy."""

from __future__ import annotations

__all__ = ["MACHINERY", "Computed", "Score", "Skipped", "compute_all", "plain"]

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, NamedTuple

from letheon.errors import MetricError, nearest
from letheon.metrics.score import Score

if TYPE_CHECKING:
    from letheon.metrics.records import Records

# the modules of this folder that are not metrics; all others are
MACHINERY = ("gate", "intervals", "records", "score", "verdict")


class Skipped(NamedTuple):
    """A metric that was left out, and why in a sentence."""

    name: str
    reason: str


class Computed(NamedTuple):
    """The scores of all metrics that apply, and those that do not."""

    scores: list[Score]
    skipped: list[Skipped]


def compute_all(
    records: Records, gold: Records | None = None, names: Iterable[str] | None = None
) -> Computed:
    """Compute the metrics ``names`` (files of this folder), or every one that applies.

    Raises:
        MetricError: a named metric is unknown or lacks its records or the gold model's; with
            ``names`` None such a metric is listed in ``skipped`` instead.
    """
    metrics = _metrics()
    wanted = metrics if names is None else list(names)
    scores: list[Score] = []
    skipped: list[Skipped] = []
    for name in wanted:
        if name not in metrics:
            raise MetricError("Unknown metric.", got=name, remedy=nearest(name, metrics))
        try:
            scores += import_module(f"{__name__}.{name}").compute(records, gold)
        except MetricError as error:
            if names is not None:
                raise
            skipped.append(Skipped(name, str(error)))
    return Computed(scores, skipped)


def plain(score: str) -> str:
    """Say what a score tells, for a reader who is no specialist; "" where no metric says it.

    ``score`` may have a split in front, a part or a variant behind; the sentence is the same.
    """
    sentences: dict[str, str] = {}
    for name in _metrics():
        sentences |= import_module(f"{__name__}.{name}").PLAIN
    whole = score.removesuffix("_arithmetic")
    split, _, rest = whole.partition(".")
    return next((sentences[k] for k in (whole, split, rest) if k in sentences), "")


def _metrics() -> list[str]:
    return sorted(m.name for m in iter_modules(__path__) if m.name not in MACHINERY)
