"""One forward pass over forget and retain rows together, and the untouched model beside it."""

from __future__ import annotations

__all__ = ["Untouched", "answer_views", "has_adapter"]

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from letheon.data.batch import Batch, collate
from letheon.data.template import Encoded
from letheon.models import answer_logits
from letheon.objectives.contract import Needs, Reference
from letheon.objectives.view import CachedAnswers, HeldLogits


def answer_views(model: Any, batch: Batch, *, hidden: Sequence[int] = ()) -> HeldLogits:
    """Run ``model`` once over ``batch`` and return its view of all answers."""
    logits, out = answer_logits(model, batch, output_hidden_states=bool(hidden))
    states = {k: out.hidden_states[k].flatten(0, 1)[batch.before] for k in hidden} or None
    return HeldLogits(logits, batch.targets, batch.rows, batch.lengths, states)


def has_adapter(model: Any) -> bool:
    """Whether ``model`` is a PEFT model, whose adapter can be switched off."""
    return isinstance(model, PeftModel)


class Untouched:
    """The model before unlearning, as far as an objective needs it.

    With an adapter it is the same model with the adapter off, so no second copy of the weights
    exists. With full weights, scalars are cached before the first step; an objective that needs
    distributions makes it hold a frozen second model (``holds_copy``).
    """

    def __init__(self, model: Any, needs: Needs) -> None:
        self._model = model
        self._needs = needs
        distribution = "distribution" in (needs.forget_reference, needs.retain_reference)
        self.holds_copy = distribution and not has_adapter(model)
        self._copy = copy.deepcopy(model).requires_grad_(False) if self.holds_copy else None
        self.models = [each for each in (model, self._copy) if each is not None]
        self._cached: list[Tensor] = []

    def cache(self, rows: Sequence[Encoded], *, pad_id: int, batch_size: int = 32) -> None:
        """Compute the scalars of every forget row once, where the objective needs them."""
        if self._needs.forget_reference != "scalars":
            return
        device = next(self._model.parameters()).device
        with self._switched_off() as model:
            for start in range(0, len(rows), batch_size):
                batch = collate(rows[start : start + batch_size], pad_id=pad_id).to(device)
                view = answer_views(model, batch)
                self._cached.extend(torch.split(view.logp().cpu(), list(view.lengths)))

    def reference(self, batch: Batch, forget: Sequence[int]) -> Reference:
        """Return the reference of a batch whose first rows are the ``forget`` rows."""
        needs, n, device = self._needs, len(forget), batch.input_ids.device
        sides: list[Any] = [None, None]
        if "distribution" in (needs.forget_reference, needs.retain_reference):
            with self._switched_off() as model:
                sides = list(answer_views(model, batch).split(n))
        if needs.forget_reference == "scalars" and forget:
            sides[0] = CachedAnswers([self._cached[i].to(device) for i in forget])
        return Reference(*sides)

    @contextmanager
    def _switched_off(self) -> Iterator[Any]:
        model = self._copy if self._copy is not None else self._model
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                if has_adapter(model):
                    with model.disable_adapter():
                        yield model
                else:
                    yield model
        finally:
            model.train(was_training)
