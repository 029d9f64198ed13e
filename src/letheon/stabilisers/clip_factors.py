"""Weight clipping: every entry of A and B is held within a limit (as WGAN does, arXiv 1701.07875).

``A <- clamp(A, -limit, limit)``, ``B`` likewise, after each step. Entries, not norms: that is what
weight clipping means where it is compared with (Garg et al., arXiv 2509.24166, appendix E), it is
exact without a look at the rest of a factor, and it bounds every entry of the low-rank product, by
``s * omega * r * limit^2``. A fresh ``A`` has entries up to ``1 / sqrt(in)``: a lower limit cuts
its start, which changes nothing of the model since ``B`` is zero.
"""

from __future__ import annotations

__all__ = ["STABILISER", "ClipFactors"]

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field

from letheon.stabilisers._products import check, products
from letheon.stabilisers.contract import Stabiliser


@dataclass(frozen=True, kw_only=True)
class ClipFactors(Stabiliser):
    """``limit``: the largest absolute value of an entry of A or B."""

    limit: Annotated[float, Field(gt=0)]
    projects = True

    def check(self, model: Any) -> None:
        """Raise InputError for a model without an adapter that trains."""
        check(model, "clip_factors")

    @torch.no_grad()
    def project(self, model: Any) -> None:
        """Clamp the factors of every product."""
        for product in products(model):
            product.A.clamp_(-self.limit, self.limit)
            product.B.clamp_(-self.limit, self.limit)


STABILISER = ClipFactors
