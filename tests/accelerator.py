"""What tests that ask for an accelerator go by."""

from __future__ import annotations

import pytest


def need() -> None:
    """End the session where ``--gpu`` cannot be met: tests that were asked for are not skipped."""
    import torch

    if not torch.cuda.is_available():
        raise pytest.UsageError("--gpu needs a CUDA device, and torch finds none here.")
