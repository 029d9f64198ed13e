"""What an attack is: settings, what it measures of one model, the scores that follow from it."""

from __future__ import annotations

__all__ = [
    "Attack",
    "Count",
    "Curve",
    "Measured",
    "Resamples",
    "Role",
    "Statistic",
    "Subject",
    "Task",
    "Workshop",
    "mean_of",
]

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from letheon import models, processes
from letheon.data.example import Corpus, Example
from letheon.data.template import Template
from letheon.errors import MetricError
from letheon.metrics.intervals import RESAMPLES, unit_weights, weighted_mean
from letheon.metrics.records import Array, Columns, FloatArray
from letheon.recipe import Evaluation, ModelSource

Role = Literal["method", "gold", "target"]
Count = Annotated[int, Field(ge=1)]


class Resamples:
    """Weights of examples whose ``units`` [n] are drawn anew: the same draw for every model."""

    def __init__(self, units: Array) -> None:
        self.units = units

    def of(self, rows: Array) -> FloatArray:
        """Return [1 + resamples, m] weights of the m ``rows``, in the first line one each.

        Units are drawn among those of the rows alone: none is without them.
        """
        ones = np.ones((1, len(rows)))
        if not len(rows):
            return np.ones((1 + RESAMPLES, 0))
        return np.concatenate([ones, unit_weights(self.units[rows], split="forget")])


class Statistic(NamedTuple):
    """A score's values under the lines of weights of its ``rows``; in front the score itself."""

    values: FloatArray
    rows: Array


class Curve(NamedTuple):
    """A mean along the steps of an attack, by role; a model that is not trained is one level."""

    name: str
    steps: list[int]
    values: dict[str, list[float]]


@dataclass(frozen=True)
class Subject:
    """A model under attack: its checkpoint and the checksum of its weights.

    The method's has also the ``adapter`` (None: full weights were trained) and its ``base``.
    """

    role: Role
    source: ModelSource
    checksum: str
    adapter: Path | None = None
    base: ModelSource | None = None


@dataclass(frozen=True)
class Measured:
    """One model's numbers: ``columns`` with ``id``, ``unit`` and [n] or [n, k] numbers.

    ``texts`` are what the model said, for the owner of the data alone: mappings with ``id``.
    """

    columns: Columns
    texts: Sequence[Mapping[str, Any]] = ()


class Workshop:
    """Loads checkpoints where this process computes; keeps the one that was asked for last."""

    def __init__(self) -> None:
        self._kept: tuple[str, models.Loaded] | None = None

    def loaded(self, subject: Subject) -> models.Loaded:
        """Return the model as it is; whoever asks must not change it."""
        if self._kept is None or self._kept[0] != subject.checksum:
            self._kept = None  # first, so that two models are never in memory
            self._kept = (subject.checksum, _placed(subject.source))
        return self._kept[1]

    def fresh(self, source: ModelSource) -> Any:
        """Return a model of one's own to change; the kept one is given up."""
        self._kept = None
        return _placed(source).model


@dataclass(frozen=True)
class Task:
    """What is asked and how: the run's corpus, template and evaluation settings.

    ``positions``: the longest text the model can read, None where nothing limits it.
    """

    corpus: Corpus
    tokenizer: Any
    template: Template
    evaluation: Evaluation
    positions: int | None
    workshop: Workshop
    watch: Callable[[dict[str, Any]], None] = field(repr=False)

    @property
    def forget(self) -> tuple[Example, ...]:
        """The questions whose answers were to be forgotten."""
        return self.corpus.evaluation["forget"]

    @property
    def probability(self) -> str:
        """Name what a probability is of: fact tokens, or where none are marked the answer."""
        return "fact_probability" if any(e.facts for e in self.forget) else "probability"

    def named(self, numbers: Mapping[str, Any]) -> Columns:
        """Return numbers, one row per forget question, as columns."""
        return {
            "id": np.array([e.id for e in self.forget]),
            "unit": np.array([e.unit for e in self.forget]),
            **{name: np.asarray(values, dtype=np.float64) for name, values in numbers.items()},
        }

    def check_length(self, tokens: int, remedy: str) -> None:
        """Raise MetricError when a text of ``tokens`` outgrows the model's context."""
        if self.positions is not None and tokens > self.positions:
            raise MetricError(
                f"An attack's texts fit the model's {self.positions} positions.",
                got=f"one of {tokens} tokens",
                remedy=remedy,
            )


class Attack(ABC):
    """Subclasses are frozen dataclasses of their settings; a score's good value is gold's."""

    @property
    @abstractmethod
    def headline(self) -> tuple[str, ...]:
        """The scores that stand for the attack in a comparison; those not measured are left out."""

    @property
    def limit(self) -> float:
        """What stands for a value that was not reached (infinite): the attack's budget."""
        return math.inf

    def resolved(self, target_lr: float | None) -> Attack:
        """Return the attack with nothing left open; ``target_lr`` is what taught the target."""
        del target_lr
        return self

    def check(self, task: Task, method: Subject) -> Sequence[str]:
        """Return in sentences what is left out for want of data.

        Raises MetricError or ModelError when the whole attack is impossible here.
        """
        del task, method
        return ()

    @abstractmethod
    def measure(self, subject: Subject, task: Task) -> Measured:
        """Attack one model; the rows are the forget questions, in their order."""

    def note(self) -> str:
        """Say what a reader of the scores must know; "" for nothing."""
        return ""

    def statistics(
        self, columns: Columns, resamples: Resamples, target: Columns
    ) -> dict[str, Statistic]:
        """Return the scores, also under ``resamples``; by default each column's mean.

        ``target`` are the target's columns, for scores that measure against it.
        """
        del target
        names = [name for name in columns if name not in ("id", "unit")]
        return {name: mean_of(np.asarray(columns[name]), resamples) for name in names}

    def curves(self, columns: Mapping[Role, Columns]) -> list[Curve]:
        """Return what a figure shows; nothing by default."""
        del columns
        return []


def mean_of(values: FloatArray, resamples: Resamples) -> Statistic:
    """Return the means of [n] ``values``; rows that are NaN are left out."""
    known = np.flatnonzero(~np.isnan(values))
    weights = resamples.of(known)
    if not len(known):
        return Statistic(np.full(len(weights), np.nan), known)
    return Statistic(weighted_mean(values[known], weights), known)


def _placed(source: ModelSource) -> models.Loaded:
    loaded = models.load(source)
    if source.quantise is None:  # bitsandbytes places its own
        loaded.model.to(processes.device())
    return loaded
