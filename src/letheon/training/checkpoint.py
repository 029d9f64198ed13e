"""What a killed run resumes from: trained parameters, optimizer, objective state, random state."""

from __future__ import annotations

__all__ = ["Best", "Checkpoint", "load_trained", "trained_state"]

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from letheon.errors import FolderError
from letheon.folder import replacing


def trained_state(model: Any) -> dict[str, Tensor]:
    """Return a CPU copy of the parameters that train, by name."""
    return {
        k: p.detach().to("cpu", copy=True) for k, p in model.named_parameters() if p.requires_grad
    }


def load_trained(model: Any, state: dict[str, Tensor]) -> None:
    """Put parameters saved by ``trained_state`` back."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)


@dataclass
class Best:
    """The best checkpoint so far: its ``rank`` (larger is better), scores and parameters."""

    rank: tuple[int, float]
    step: int
    scores: dict[str, float]
    params: dict[str, Tensor]


@dataclass
class Checkpoint:
    """A resumable state after ``step`` steps."""

    step: int
    params: dict[str, Tensor]
    optimizer: dict[str, Any]
    state: Any
    best: Best | None
    rng: dict[str, Tensor] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write atomically: an interrupted or failed write leaves the previous one in place.

        Raises StorageError when the disk is full.
        """
        self.rng = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            self.rng["cuda"] = torch.cuda.get_rng_state()
        payload = {k: getattr(self, k) for k in ("step", "params", "optimizer", "state", "rng")}
        payload["best"] = None if self.best is None else vars(self.best)
        with replacing(path) as temporary:
            torch.save(payload, temporary)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint; raises FolderError when it is broken."""
        try:
            payload = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError) as error:
            raise FolderError(
                "A checkpoint must be readable to resume.",
                got=f"{path} ({error})",
                remedy="Delete the run's checkpoints folder to start it again.",
            ) from None
        best = payload.pop("best")
        return cls(**payload, best=None if best is None else Best(**best))

    def restore(self, model: Any, optimizer: torch.optim.Optimizer) -> None:
        """Put parameters, optimizer and random state back."""
        load_trained(model, self.params)
        optimizer.load_state_dict(self.optimizer)
        torch.set_rng_state(self.rng["cpu"])
        if "cuda" in self.rng and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.rng["cuda"])
