"""Relearning: how many steps of fine-tuning bring half of the forgotten back.

All weights of the merged checkpoint are trained by AdamW on answers of one source: ``forget``
(half of the forgotten units), related (retain rows), unrelated (background rows, else the control
sets). Every ``every`` steps p, the mean over forget questions of the probability of the fact tokens
(of the answer's tokens where no facts are marked), is measured.

``relearn_steps``: the first point, on the straight lines between the measurements, where

    p >= (p_0 + p_target) / 2,    p_0 before the first step, p_target of the target model,

on the units that the attack did not show; ``relearn_steps_all`` on all units, shown ones too.
``..._related`` and ``..._unrelated``: on all units, for the other sources. What is not reached
within ``steps`` is censored: the value is the budget, the truth lies above. Where p_0 is not below
p_target nothing is missing: 0. ``relearn_probability...``: p after the last step, in the same
four cases; of the target, which is not trained, p itself.
"""

from __future__ import annotations

__all__ = ["ATTACK", "Relearn", "steps_to"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from letheon.attacks.asking import encoded, probabilities
from letheon.attacks.contract import (
    Attack,
    Count,
    Curve,
    Measured,
    Resamples,
    Role,
    Statistic,
    Subject,
    Task,
)
from letheon.data.batch import pad_id
from letheon.data.example import Example
from letheon.errors import DivergedError, MetricError
from letheon.metrics.intervals import weighted_mean
from letheon.metrics.records import Array, Columns, FloatArray
from letheon.objectives.finetune import FineTune
from letheon.recipe import Training
from letheon.training import loop

Source = Literal["forget", "related", "unrelated"]

# A share of what taught the target: at its own rate a trained model is shaken, and forgets more.
_SHARE = 0.25
# What models are fine-tuned with where nothing is known of how the target was taught.
_LR = 1e-5


@dataclass(frozen=True, kw_only=True)
class Relearn(Attack):
    """Fine-tuning's settings: ``batch_size`` rows a step, all weights in ``dtype``.

    ``lr``: a quarter of the learning rate that taught the target, where a recipe made it, else
    1e-5. ``shown``: the share of the forgotten units that the source ``forget`` holds.
    """

    sources: tuple[Source, ...] = ("forget", "related", "unrelated")
    steps: Count = 40
    every: Count = 5
    batch_size: Count = 16
    lr: Annotated[float, Field(gt=0)] | None = None
    shown: Annotated[float, Field(gt=0, lt=1)] = 0.5
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources names at least one of forget, related and unrelated")

    @property
    def headline(self) -> tuple[str, ...]:
        """Steps and final probability on the units that were not shown, and steps on all."""
        return ("relearn_steps", "relearn_probability", "relearn_steps_all")

    def note(self) -> str:
        """Say where the learning rate is a guess."""
        if self.lr != _LR:
            return ""
        return (
            f"The learning rate is a guess ({_LR:g}): nothing tells how the model was taught. "
            "Where nothing moves, of the model before either, this shows nothing; set relearn.lr."
        )

    @property
    def limit(self) -> float:
        """The budget."""
        return self.steps

    def resolved(self, target_lr: float | None) -> Relearn:
        """Return the attack with its learning rate."""
        if self.lr is not None:
            return self
        return replace(self, lr=_LR if target_lr is None else _SHARE * target_lr)

    def check(self, task: Task, method: Subject) -> Sequence[str]:
        """Say which sources the data lack; MetricError when they lack all."""
        rows = self.rows(task)
        missing = [f"{name}: the data have no such rows" for name in rows if not rows[name]]
        if len(missing) == len(rows):
            raise MetricError(
                "Relearning needs rows of at least one source.",
                got="; ".join(missing),
                remedy="Name other sources: relearn.sources=[related].",
            )
        return missing

    def rows(self, task: Task) -> dict[Source, tuple[Example, ...]]:
        """Return what each source shows."""
        corpus, shown = task.corpus, self.shown_units(task)
        controls = [corpus.evaluation.get(k, ()) for k in ("real_authors", "world_facts")]
        held_out = {e.unit for e in task.forget} - shown
        every: dict[Source, tuple[Example, ...]] = {
            "forget": tuple(e for e in corpus.forget if e.unit in shown) if held_out else (),
            "related": corpus.retain,
            "unrelated": corpus.background or tuple(e for rows in controls for e in rows),
        }
        return {name: every[name] for name in dict.fromkeys(self.sources)}

    def shown_units(self, task: Task) -> set[str]:
        """Return the forgotten units that the source ``forget`` shows: a seeded draw."""
        units = sorted({e.unit for e in task.forget})
        n = min(max(1, round(self.shown * len(units))), len(units))
        return set(Random(f"{self.seed}/relearn").sample(units, n))

    def measure(self, subject: Subject, task: Task) -> Measured:
        """Fine-tune on each source; the target is only measured."""
        shown = self.shown_units(task)
        numbers: dict[str, Any] = {"held_out": [e.unit not in shown for e in task.forget]}
        asked = encoded(task, [e.question for e in task.forget])
        if subject.role == "target":
            model = task.workshop.loaded(subject).model
            return Measured(task.named(numbers | {"level": probabilities(model, task, asked)}))
        for name, examples in self.rows(task).items():
            if examples:
                numbers[name] = self._curve(subject, task, name, examples)
        return Measured(task.named(numbers))

    def _curve(
        self, subject: Subject, task: Task, name: Source, examples: Sequence[Example]
    ) -> FloatArray:
        """Return [n, points] probabilities along the steps, NaN after the loss was not finite."""
        model = task.workshop.fresh(subject.source.model_copy(update={"dtype": self.dtype}))
        asked = encoded(task, [e.question for e in task.forget])
        found = [probabilities(model, task, asked)]

        def probe(model: Any) -> Mapping[str, float]:
            found.append(probabilities(model, task, asked))
            return {"relearned": float(found[-1].mean())}

        texts = [task.template.row(task.tokenizer, e) for e in examples]
        try:
            loop.run(
                model,
                FineTune(),
                loop.Rows([], texts, pad_id(task.tokenizer)),
                self._training(),
                seed=self.seed,
                probe=probe,
                watch=partial(self._tell, task, f"{subject.role}: relearning, {name}"),
            )
        except DivergedError as error:
            task.watch({"event": "note", "text": f"relearning on {name} rows: {error.rule}"})
        missing = len(self.points()) - len(found)
        return np.stack([*found, *[np.full(len(asked), np.nan)] * missing], axis=1)

    def _training(self) -> Training:
        told = {"steps": self.steps, "batch_size": self.batch_size, "lr": self.lr or _LR}
        return Training.model_validate(told | {"probe_every": self.every})

    def _tell(self, task: Task, what: str, event: Mapping[str, Any]) -> None:
        if event["event"] == "step":
            task.watch(
                {"event": "progress", "name": what, "done": event["step"], "total": self.steps}
            )

    def points(self) -> list[int]:
        """Return the steps after which p is measured, 0 first."""
        return [*range(0, self.steps, self.every), self.steps]

    def statistics(
        self, columns: Columns, resamples: Resamples, target: Columns
    ) -> dict[str, Statistic]:
        """Return steps and final probabilities of the four cases, as far as measured."""
        found: dict[str, Statistic] = {}
        for end, column, rows in self._cases(columns):
            weights = resamples.of(rows)
            level = weighted_mean(target["level"][rows], weights)
            if column is None:
                found[f"relearn_probability{end}"] = Statistic(level, rows)
                continue
            means = weights @ column[rows] / weights.sum(axis=1, keepdims=True)
            steps = [
                steps_to(row, goal, self.points()) for row, goal in zip(means, level, strict=True)
            ]
            found[f"relearn_steps{end}"] = Statistic(np.array(steps), rows)
            found[f"relearn_probability{end}"] = Statistic(means[:, -1], rows)
        return found

    def _cases(self, columns: Columns) -> list[tuple[str, FloatArray | None, Array]]:
        """Return the end of a score's name, the [n, points] column, and the rows that count."""
        held_out = np.flatnonzero(columns["held_out"])
        every = np.arange(len(columns["held_out"]))
        cases: dict[str, tuple[Source, Array]] = {
            "": ("forget", held_out),
            "_all": ("forget", every),
            "_related": ("related", every),
            "_unrelated": ("unrelated", every),
        }
        trained = "level" not in columns
        return [
            (end, columns[name] if trained else None, rows)
            for end, (name, rows) in cases.items()
            if (name in columns or (not trained and name in self.sources)) and len(rows)
        ]

    def curves(self, columns: Mapping[Role, Columns]) -> list[Curve]:
        """Return p along the steps, of each case."""
        names = {
            "": "part of the forget set, measured on the rest of it",
            "_all": "part of the forget set, measured on all of it",
            "_related": "related text (retain rows)",
            "_unrelated": "unrelated text",
        }
        shown = {end for end, _, _ in self._cases(columns["method"])}
        found: dict[str, dict[str, list[float]]] = {end: {} for end in names if end in shown}
        for role, one in columns.items():
            for end, column, rows in self._cases(one):
                if end in found:
                    values = one["level"] if column is None else column
                    found[end][role] = np.atleast_1d(values[rows].mean(axis=0)).tolist()
        return [Curve(names[end], self.points(), values) for end, values in found.items()]


def steps_to(means: Sequence[float], target: float, points: Sequence[int]) -> float:
    """Return where ``means`` at ``points`` come half-way from their first to ``target``.

    Infinite where they do not; NaN where they end (as NaN) before they do.

    >>> steps_to([0.0, 0.2, 0.6], 0.8, [0, 10, 20])
    15.0
    """
    if means[0] >= target:
        return 0.0
    goal = (means[0] + target) / 2
    for i in range(1, len(means)):
        if math.isnan(means[i]):
            return math.nan
        if means[i] >= goal:
            share = (goal - means[i - 1]) / (means[i] - means[i - 1])
            return float(points[i - 1] + share * (points[i] - points[i - 1]))
    return math.inf


ATTACK = Relearn
