"""Spectral clipping: the largest singular value of each matrix's change is held within a limit.

``B <- B * min(1, limit / sigma_max(s omega B A))`` after each step, after spectral normalisation
(Miyato et al. 2018, arXiv 1802.05957). Two differences: a change below the limit is left as it is
(normalising a change that starts at zero would blow it up), and the value is exact, from QR of the
factors (cost ``r^2 (in + out)``), not a power iteration that must be kept between steps. For plain
LoRA only: the function of a bounded adapter goes entry by entry, and keeps no singular value.
"""

from __future__ import annotations

__all__ = ["STABILISER", "SpectralNorm"]

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field

from letheon.stabilisers._products import check, products
from letheon.stabilisers.contract import Stabiliser


@dataclass(frozen=True, kw_only=True)
class SpectralNorm(Stabiliser):
    """``limit``: the largest singular value of a change."""

    limit: Annotated[float, Field(gt=0)]
    projects = True

    def check(self, model: Any) -> None:
        """Raise InputError for a model without an adapter that trains, or with a bounded one."""
        check(model, "spectral_norm", plain=True)

    @torch.no_grad()
    def project(self, model: Any) -> None:
        """Scale the B of every product whose largest singular value is above the limit."""
        for product in products(model):
            product.shrink(product.spectral(), self.limit)


STABILISER = SpectralNorm
