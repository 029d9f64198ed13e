"""L2 on the product: ``weight * sum over matrices of ||s omega B A||_F^2`` is added to the loss.

Computed as ``sum((B^T B) * (A A^T))``, two ``r x r`` matrices, so that no change is built. Weight
decay (``training.weight_decay``) shrinks A and B instead, each by itself and apart from the loss;
this penalises what is added to the weight. For a bounded adapter it is the product before the
bound, with the bound's slope at zero, which also keeps its phases where the bound does not act (a
reconstruction: the reviewers of arXiv 2509.24166 asked for the baseline without a formula).
"""

from __future__ import annotations

__all__ = ["STABILISER", "L2Product"]

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from letheon.stabilisers._products import check, products
from letheon.stabilisers.contract import Stabiliser


@dataclass(frozen=True, kw_only=True)
class L2Product(Stabiliser):
    """``weight``: of the summed squares in the loss, nats per squared unit of weight."""

    weight: Annotated[float, Field(gt=0)]

    def check(self, model: Any) -> None:
        """Raise InputError for a model without an adapter that trains."""
        check(model, "l2_product", scales=False)

    def penalty(self, model: Any) -> Tensor:
        """Return the penalty, a scalar."""
        squares = [product.square().sum() for product in products(model)]
        return self.weight * torch.stack(squares).sum()


STABILISER = L2Product
