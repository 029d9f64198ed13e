"""What an objective is: its needs, its loss terms, its state."""

from __future__ import annotations

__all__ = ["LossTerms", "Needs", "Objective", "Reference", "ReferenceKind", "State", "Term", "Unit"]

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from letheon.objectives.view import AnswerView

Unit = Literal["forget_token", "forget_example", "retain_token", "retain_example"]
ReferenceKind = Literal["none", "scalars", "distribution"]
State = Any


@dataclass(frozen=True)
class Needs:
    """What a loop must supply.

    ``forget_reference`` and ``retain_reference`` say what is needed of the untouched model on
    either side: ``scalars`` are log-probabilities, cached once per example; ``distribution`` is a
    forward pass every step. ``hidden``: layers whose states the views must carry.
    """

    forget: bool = True
    retain: bool = True
    forget_reference: ReferenceKind = "none"
    retain_reference: ReferenceKind = "none"
    hidden: tuple[int, ...] = ()


@dataclass(frozen=True)
class Term:
    """One part of a loss: a sum over this micro-batch and what it is to be divided by.

    ``weight * sum / global count of unit`` is the part's share of the loss. ``sum`` is a scalar
    tensor with gradient; ``count`` the number of units in this micro-batch.
    """

    sum: Tensor
    count: int
    unit: Unit
    weight: float = 1.0


@dataclass(frozen=True)
class LossTerms:
    """Named terms whose weighted, globally normalised sum is the loss."""

    terms: Mapping[str, Term]

    def total(self, counts: Mapping[Unit, int]) -> Tensor:
        """Return the micro-batch's share of the loss, a scalar, given global ``counts``.

        Summed over micro-batches and processes the shares are the loss of the whole batch.
        """
        parts = [t.weight * t.sum / counts[t.unit] for t in self.terms.values()]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def shares(self, counts: Mapping[Unit, int]) -> dict[str, Tensor]:
        """Return each term's unweighted share, detached, by name."""
        return {k: t.sum.detach() / counts[t.unit] for k, t in self.terms.items()}


@dataclass(frozen=True)
class Reference:
    """The untouched model's views of the same answers, as far as ``Needs`` asked for them."""

    forget: AnswerView | None = None
    retain: AnswerView | None = None


class Objective(ABC):
    """A loss over answer views. Subclasses are frozen dataclasses of their hyper-parameters."""

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """What the loop must supply."""

    @abstractmethod
    def loss(
        self,
        forget: AnswerView | None,
        retain: AnswerView | None,
        reference: Reference,
        state: State,
    ) -> LossTerms:
        """Return the terms of one micro-batch; sides not in ``needs`` are ``None``."""

    def init(self, seed: int) -> State:
        """Return the state before the first step; it is checkpointed. ``None``: stateless."""
        del seed
        return None

    def update(self, state: State, global_terms: Mapping[str, float]) -> State:
        """Return the state after a step, given the terms' global values."""
        del global_terms
        return state
