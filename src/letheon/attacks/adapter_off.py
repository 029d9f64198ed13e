"""Adapter off: what base and adapter still know when the adapter is switched off.

A low-rank adapter leaves its base as it was: ``base + adapter`` with the adapter disabled is the
target, number for number. The merged checkpoint has nothing to switch off, which is why it is what
must be given away. ``fact_probability`` is measured with the adapter off,
``fact_probability_on`` with it on (``probability`` where no facts are marked); for gold and target,
which have no adapter, both are their own.
"""

from __future__ import annotations

__all__ = ["ATTACK", "AdapterOff"]

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from peft import PeftModel

import letheon.adapters  # noqa: F401  (registers our PEFT method, to load its adapters)
from letheon.attacks.asking import encoded, probabilities
from letheon.attacks.contract import Attack, Measured, Subject, Task
from letheon.errors import MetricError


@dataclass(frozen=True, kw_only=True)
class AdapterOff(Attack):
    """No settings: the adapter is on or off."""

    @property
    def headline(self) -> tuple[str, ...]:
        """The probability with the adapter off."""
        return ("fact_probability", "probability")

    def check(self, task: Task, method: Subject) -> Sequence[str]:
        """Raise MetricError for a run with full weights."""
        if method.adapter is None:
            raise MetricError(
                "An adapter can be switched off where a run made one.",
                got="a run without adapter/: full weights were trained, or it was deleted",
                remedy="Leave this attack out.",
            )
        return ()

    def measure(self, subject: Subject, task: Task) -> Measured:
        """Score the forget answers with the adapter off and on."""
        rows = encoded(task, [e.question for e in task.forget])
        name = task.probability
        if subject.adapter is None or subject.base is None:
            own = probabilities(task.workshop.loaded(subject).model, task, rows)
            return Measured(task.named({name: own, f"{name}_on": own}))
        base = task.workshop.fresh(subject.base)
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5 by a name that it deprecates
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
            model = PeftModel.from_pretrained(base, str(subject.adapter))
        on = probabilities(model, task, rows)
        with model.disable_adapter():
            off = probabilities(model, task, rows)
        return Measured(task.named({name: off, f"{name}_on": on}))

    def note(self) -> str:
        """Say what the scores mean for who gives the model away."""
        return (
            "With its adapter off, base + adapter is the target and knows all it knew: ship "
            "merged/, which has nothing to switch off, and delete adapter/ and the base."
        )


ATTACK = AdapterOff
