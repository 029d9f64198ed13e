"""What an objective is: its needs, its loss terms, its state."""

from __future__ import annotations

__all__ = [
    "Answers",
    "LossTerms",
    "Needs",
    "Objective",
    "ReferenceKind",
    "State",
    "Term",
    "Unit",
    "Views",
]

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from letheon.data.example import Example
from letheon.objectives.view import AnswerView, Layer

Unit = Literal[
    "forget_token", "forget_example", "retain_token", "retain_example", "preferred_token"
]
ReferenceKind = Literal["none", "scalars", "distribution"]
State = Any
# Answers of the untouched model to questions, one each: (questions, seed) -> texts.
Answers = Callable[[Sequence[str], int], list[str]]


@dataclass(frozen=True)
class Needs:
    """What a loop must supply.

    ``preferred``: another answer to each forget question, as ``Objective.prepare`` makes it. The
    ``..._reference`` fields say what is needed of the untouched model on each side: ``scalars`` are
    log-probabilities, cached once per example; ``distribution`` is a forward pass every step, with
    hidden states where they are asked for. ``hidden``: layers whose states the views must carry.
    """

    forget: bool = True
    retain: bool = True
    preferred: bool = False
    forget_reference: ReferenceKind = "none"
    retain_reference: ReferenceKind = "none"
    preferred_reference: ReferenceKind = "none"
    hidden: tuple[Layer, ...] = ()

    @property
    def forget_rows(self) -> bool:
        """Whether a step draws forget rows, for their own answers or for the preferred ones."""
        return self.forget or self.preferred

    @property
    def distribution(self) -> bool:
        """Whether a forward pass of the untouched model is needed every step."""
        kinds = (self.forget_reference, self.retain_reference, self.preferred_reference)
        return "distribution" in kinds


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
class Views:
    """What one model says about a micro-batch, as far as ``Needs`` asked for it.

    ``preferred`` holds the other answers to the questions of ``forget``, row by row.
    """

    forget: AnswerView | None = None
    retain: AnswerView | None = None
    preferred: AnswerView | None = None


class Objective(ABC):
    """A loss over answer views. Subclasses are frozen dataclasses of their hyper-parameters."""

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """What the loop must supply."""

    @abstractmethod
    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the terms of one micro-batch; what is not in ``needs`` is ``None``.

        ``model`` is what trains, ``reference`` the untouched model.
        """

    def prepare(
        self, examples: Sequence[Example], answers: Answers, seed: int
    ) -> Sequence[Example] | None:
        """Return the forget ``examples`` with the preferred answers, in their order.

        Asked for once, before the first step, where ``needs.preferred``; ``answers`` lets the
        untouched model speak.
        """
        del examples, answers, seed
        return None

    def init(self, seed: int) -> State:
        """Return the state before the first step; it is checkpointed. ``None``: stateless."""
        del seed
        return None

    def update(self, state: State, global_terms: Mapping[str, float]) -> State:
        """Return the state after a step, given the terms' global values."""
        del global_terms
        return state
