"""The stabilisers of a run, applied in the loop: penalties before its step, projections after."""

from __future__ import annotations

__all__ = ["Stabilisers"]

from typing import Any

from accelerate import Accelerator

from letheon import registry
from letheon.errors import InputError
from letheon.recipe import Training
from letheon.stabilisers.contract import Stabiliser


class Stabilisers:
    """What ``training.stabilisers`` names, in that order, for ``model``.

    Raises RecipeError for what there is not, InputError for what does not suit the model.
    """

    def __init__(self, model: Any, training: Training) -> None:
        self._every = [_made(choice, model, training) for choice in training.stabilisers]

    def penalise(self, model: Any, accelerator: Accelerator) -> float | None:
        """Add the penalties' gradients to those that are there; return the penalties' sum.

        Each process adds the same whole gradient after those of the terms were averaged over the
        processes: DDP's reducer listens from a forward pass to the end of its backward pass only.
        """
        found = [each.penalty(model) for each in self._every]
        penalties = [penalty for penalty in found if penalty is not None]
        for penalty in penalties:
            accelerator.backward(penalty)
        return sum(float(penalty.detach()) for penalty in penalties) if penalties else None

    def project(self, model: Any) -> None:
        """Bring the parameters back after a step."""
        for each in self._every:
            each.project(model)


def _made(choice: Any, model: Any, training: Training) -> Stabiliser:
    made: Stabiliser = registry.make("letheon.stabilisers", choice.name, choice.params)
    made.check(model)
    if made.projects and training.offload_optimizer:
        raise InputError(
            "training.offload_optimizer keeps masters of the parameters, which a stabiliser that "
            "projects does not reach.",
            got=f"the stabiliser {choice.name}",
            remedy="Leave offload_optimizer out: an adapter's optimizer state is small.",
        )
    return made
