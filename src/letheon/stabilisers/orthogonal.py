"""Orthogonal requests (O-LoRA, Wang et al. 2023, arXiv 2310.14152): a new adapter reads anew.

``weight * sum over matrices and earlier adapters k of ||A A_k^T||_F^2``: ``A [r, in]`` of the
adapter that trains, ``A_k [r_k, in]`` of those below it, which are fixed. Zero when no row of ``A``
has a part in the space that an earlier request's adapter reads. O-LoRA's weight is 0.5. Deviations:
adapters are bounded here, so ``A A_k^T = 0`` parts what they read but not, entry by entry, what
they change; every expert of a mixture counts as a matrix.
"""

from __future__ import annotations

__all__ = ["STABILISER", "Orthogonal"]

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from letheon.adapters.layer import BoundedLoraLayer
from letheon.adapters.stack import NEWEST
from letheon.stabilisers._products import check
from letheon.stabilisers.contract import Stabiliser


@dataclass(frozen=True, kw_only=True)
class Orthogonal(Stabiliser):
    """A recipe may name it where adapters are stacked (``after`` with ``how: stacked``)."""

    weight: Annotated[float, Field(gt=0)] = 0.5

    def check(self, model: Any) -> None:
        """Raise InputError for a model without an adapter that trains."""
        check(model, "orthogonal", scales=False)

    def penalty(self, model: Any) -> Tensor | None:
        """Return the weighted sum; None where nothing is below the newest adapter."""
        total: Tensor | None = None
        for layer in (m for m in model.modules() if isinstance(m, BoundedLoraLayer)):
            for earlier in (name for name in layer.active() if name != NEWEST):
                for index in range(len(layer.matrices) if NEWEST in layer.changes else 0):
                    own, other = (layer.factors([n], index)[0] for n in (NEWEST, earlier))
                    overlap = (own @ other.detach().mT).square().sum()
                    total = overlap if total is None else total + overlap
        return None if total is None else self.weight * total


STABILISER = Orthogonal
