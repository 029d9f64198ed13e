"""One forward pass over forget and retain rows together, and the untouched model beside it."""

from __future__ import annotations

__all__ = ["Untouched", "answer_views", "by_side", "has_adapter", "layer_number"]

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from letheon import processes
from letheon.adapters.stack import without_trained
from letheon.data.batch import Batch, collate
from letheon.data.template import Encoded
from letheon.errors import InputError
from letheon.models import answer_logits
from letheon.objectives.contract import Needs, Views
from letheon.objectives.view import AnswerView, CachedAnswers, HeldLogits, Layer
from letheon.training import scalars


def answer_views(model: Any, batch: Batch, *, hidden: Sequence[Layer] = ()) -> HeldLogits:
    """Run ``model`` once over ``batch`` and return its view of all answers.

    Raises InputError when the model has no such layer.
    """
    logits, out = answer_logits(model, batch, output_hidden_states=bool(hidden))
    every = out.hidden_states or ()
    states = {}
    for layer in hidden:
        state = every[layer_number(layer, len(every) - 1)].flatten(0, 1)[batch.before]
        states[layer] = _Joined.apply(state, logits)  # type: ignore[no-untyped-call]
    return HeldLogits(logits, batch.targets, batch.rows, batch.lengths, states or None)


class _Joined(torch.autograd.Function):
    """A state whose gradient reaches the blocks after it as zeros.

    DDP waits for the gradient of every parameter that the logits hang on, and an optimizer passes
    over a parameter without one: its weight would decay with other objectives and not with this.
    """

    @staticmethod
    def forward(ctx: Any, state: Tensor, logits: Tensor) -> Tensor:
        ctx.like = logits.shape, logits.dtype, logits.device
        return state.view_as(state)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        shape, dtype, device = ctx.like
        return grads[0], torch.zeros(shape, dtype=dtype, device=device)


def layer_number(layer: Layer, depth: int) -> int:
    """Return which of a model's ``depth`` blocks ``layer`` is, from 1; 0 is the embeddings.

    What a block of that number puts out is entry number of the hidden states that transformers
    returns; of the last one it is after the final norm. Raises InputError when there is none.
    """
    number = max(1, round(layer * depth)) if isinstance(layer, float) else layer
    if not 0 <= number <= depth:
        raise InputError(
            "An objective's layer is a number up to the model's depth, or a share of it (0.5).",
            got=f"{layer}, and the model has {depth} layers",
            remedy="Set the objective's layer.",
        )
    return number


def by_side(view: HeldLogits, sides: Mapping[str, int]) -> dict[str, HeldLogits]:
    """Part a batch's view into those of its ``sides``, given how many rows each has."""
    parts = view.split(*sides.values())
    return dict(zip(sides, parts, strict=False))  # the last part is what is left: nothing


def has_adapter(model: Any) -> bool:
    """Whether ``model`` is a PEFT model, whose adapter can be switched off."""
    return isinstance(model, PeftModel)


class Untouched:
    """The model before unlearning, as far as an objective needs it.

    With an adapter it is the same model with the adapter off, those of earlier requests left on, so
    no second copy of the weights exists. With full weights, scalars are cached before the first
    step; an objective that needs distributions makes it hold a frozen second model
    (``holds_copy``).
    """

    def __init__(self, model: Any, needs: Needs, *, marked: bool = False) -> None:
        self._model = model
        self._needs = needs
        self.holds_copy = needs.distribution and not has_adapter(model)
        self._copy = copy.deepcopy(model).requires_grad_(False) if self.holds_copy else None
        self.models = [each for each in (model, self._copy) if each is not None]
        kinds = {"forget": needs.forget_reference, "preferred": needs.preferred_reference}
        # A retain row's scalars are not needed by any objective, and would be many.
        self._by_scalars = [side for side, kind in kinds.items() if kind == "scalars"]
        self._cached: dict[str, list[Tensor]] = {}
        # Now, because parameters may be shards when the scalars are read.
        self._mark = _mark(model) if marked and self._by_scalars else ""

    def cache(
        self,
        rows: Mapping[str, Sequence[Encoded]],
        *,
        pad_id: int,
        batch_size: int = 32,
        folder: Path | None = None,
    ) -> None:
        """Compute the scalars of every row of a side once, where the objective needs them.

        ``rows`` are those of the sides ``forget`` and ``preferred``. With ``folder`` they are read
        from a file in it if they are there, of these rows and this model, else written there; the
        model must have been ``marked``. Raises StorageError when that is not possible.
        """
        for side in self._by_scalars:
            file = folder and folder / f"reference-{side}.safetensors"
            own = rows[side]
            saved = file and processes.on_main(partial(scalars.read, file, self._mark, own))
            self._cached[side] = saved or self._scalars(own, pad_id, batch_size)
            if file and not saved:
                write = partial(scalars.write, file, self._mark, own, self._cached[side])
                processes.on_main(write)

    def _scalars(self, rows: Sequence[Encoded], pad_id: int, batch_size: int) -> list[Tensor]:
        with self._switched_off() as model:
            return [
                logp
                for start in range(0, len(rows), batch_size)
                for logp in _token_logp(model, rows[start : start + batch_size], pad_id)
            ]

    def reference(self, batch: Batch, sides: Mapping[str, int], forget: Sequence[int]) -> Views:
        """Return what the untouched model says about ``batch``.

        ``sides``: how many of its rows, one side after another, belong to each; ``forget``: which
        forget rows they are about.
        """
        device = batch.input_ids.device
        views: dict[str, AnswerView] = {}
        if self._needs.distribution:
            with self._switched_off() as model:
                views |= by_side(answer_views(model, batch, hidden=self._needs.hidden), sides)
        for side in self._by_scalars:
            if forget:
                views[side] = CachedAnswers([self._cached[side][i].to(device) for i in forget])
        return Views(**views)

    @contextmanager
    def _switched_off(self) -> Iterator[Any]:
        model = self._copy if self._copy is not None else self._model
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), without_trained(model) if has_adapter(model) else nullcontext():
                yield model
        finally:
            model.train(was_training)


def _mark(model: Any) -> str:
    """Name the model; not by the adapter that trains, since it is off in the untouched one."""
    adapted = has_adapter(model)
    every = model.named_parameters()
    return scalars.mark_of((k, p) for k, p in every if not (adapted and p.requires_grad))


def _token_logp(model: Any, rows: Sequence[Encoded], pad_id: int) -> tuple[Tensor, ...]:
    # A function of its own: what a batch computed is free before the next one starts.
    view = answer_views(model, collate(rows, pad_id=pad_id).to(next(model.parameters()).device))
    return torch.split(view.logp().cpu(), list(view.lengths))
