"""What a stabiliser is: a penalty on the model, a projection after each step, or both."""

from __future__ import annotations

__all__ = ["Stabiliser"]

from typing import Any, ClassVar

from torch import Tensor


class Stabiliser:
    """Subclasses are frozen dataclasses of their hyper-parameters; they keep no state.

    ``projects``: whether ``project`` does anything.
    """

    projects: ClassVar[bool] = False

    def check(self, model: Any) -> None:
        """Raise InputError when ``model``, which may have no numbers yet, does not suit it."""
        del model

    def penalty(self, model: Any) -> Tensor | None:
        """Return what is added to the loss of a step, once, a scalar with gradient; or None."""
        del model
        return None

    def project(self, model: Any) -> None:
        """Bring the trained parameters back, in place, after a step; no gradient is recorded."""
        del model
