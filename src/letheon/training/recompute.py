"""Gradient checkpointing: a block keeps its input and is computed again for the backward pass.

transformers' own, not reentrant: a frozen model's first block, whose input needs no gradient, is
recomputed too, and hooks and autocast are as in the first pass. A block recomputes in training
mode only, so a reference, a probe or generation with a cache runs as without it.
"""

from __future__ import annotations

__all__ = ["recomputing"]

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from letheon.errors import InputError
from letheon.recipe import Training


@contextmanager
def recomputing(model: Any, training: Training) -> Iterator[None]:
    """Recompute the blocks of ``model`` in the block, where ``training`` asks for it.

    Raises InputError when the model's class does not support it.
    """
    if not training.gradient_checkpointing:
        yield
        return
    _enable(model)
    try:
        yield
    finally:
        with _old_names():
            model.gradient_checkpointing_disable()


def _enable(model: Any) -> None:
    try:
        with _old_names():
            model.gradient_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise InputError(
            "training.gradient_checkpointing is for models that transformers can recompute.",
            got=f"{model.config.model_type}: {error}",
            remedy="Leave it out, and raise training.accumulate to save memory.",
        ) from None
    # For reentrant checkpoints transformers makes embeddings require a gradient, which would be
    # computed for nobody, and stay so after the run.
    model.disable_input_require_grads()


@contextmanager
def _old_names() -> Iterator[None]:
    with warnings.catch_warnings():
        # transformers 5.23 deprecates the names that 5.20 has
        warnings.filterwarnings("ignore", ".*gradient_checkpointing_", FutureWarning)
        yield
