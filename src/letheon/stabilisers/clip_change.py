"""Clipping of dW: the Frobenius norm of each matrix's change is held within a limit.

``B <- B * min(1, limit / ||s omega B A||_F)`` after each step, for each adapted matrix by itself
(each expert of a mixture, too). For plain LoRA the product is the change, and the projection is
exact: the nearest change of that norm. For a bounded adapter the product is measured before the
bound, with the bound's slope at zero: no entry of the change is larger, so that the norm holds,
and the change is within it rather than at it (a reconstruction; the paper names weight clipping in
appendix E without a formula). Clipping dW entry by entry is the bound ``hard_tanh``: use that.
"""

from __future__ import annotations

__all__ = ["STABILISER", "ClipChange"]

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from letheon.stabilisers._products import check, products
from letheon.stabilisers.contract import Stabiliser


@dataclass(frozen=True, kw_only=True)
class ClipChange(Stabiliser):
    """``limit``: the largest norm, as a share of the weight's own (``of: weight``), or as it is."""

    limit: Annotated[float, Field(gt=0)]
    of: Literal["weight", "absolute"] = "weight"
    projects = True

    def check(self, model: Any) -> None:
        """Raise InputError for a model without an adapter that trains."""
        check(model, "clip_change")

    @torch.no_grad()
    def project(self, model: Any) -> None:
        """Scale the B of every product whose norm is above the limit."""
        for product in products(model):
            limit = self.limit * product.weight_norm() if self.of == "weight" else self.limit
            product.shrink(product.square().sqrt(), limit)


STABILISER = ClipChange
