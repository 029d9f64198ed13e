"""What a killed run resumes from: trained parameters, optimizer, objective state, random state."""

from __future__ import annotations

__all__ = ["Best", "Checkpoint", "load_trained", "optimizer_state", "scaler_state", "trained_state"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from letheon.errors import FolderError
from letheon.folder import replacing
from letheon.training.parallel import like, whole


def trained_state(model: Any) -> dict[str, Tensor]:
    """Return a CPU copy of the parameters that train, by name.

    Of a sharded model each process gets whole parameters, so every process must ask.
    """
    return {
        k: whole(p.detach()).to("cpu", copy=True)
        for k, p in model.named_parameters()
        if p.requires_grad
    }


def load_trained(model: Any, state: dict[str, Tensor]) -> None:
    """Put parameters saved by ``trained_state`` back."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(like(value, own[name]))


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the optimizer's state with whole tensors, whatever the number of processes."""
    state: dict[str, Any] = optimizer.state_dict()
    return state | {"state": {k: _each(v, whole) for k, v in state["state"].items()}}


def scaler_state(scaler: Any) -> dict[str, Any] | None:
    """Return the state of fp16's gradient scaler; None where there is no scaler."""
    return None if scaler is None else dict(scaler.state_dict())


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
    scaler: dict[str, Any] | None = None

    def save(self, path: Path) -> None:
        """Write atomically: an interrupted or failed write leaves the previous one in place.

        Raises StorageError when the disk is full.
        """
        self.rng = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            self.rng["cuda"] = torch.cuda.get_rng_state()
        names = ("step", "params", "optimizer", "state", "rng", "scaler")
        payload = {name: getattr(self, name) for name in names}
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

    def restore(self, model: Any, optimizer: torch.optim.Optimizer, scaler: Any = None) -> None:
        """Put parameters, optimizer, fp16's ``scaler`` and random state back.

        Whole tensors become shards again where the parameters are sharded.
        """
        load_trained(model, self.params)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        moments = {
            k: _each(v, partial(_moment, parameter=parameters[k]))
            for k, v in self.optimizer["state"].items()
        }
        optimizer.load_state_dict(self.optimizer | {"state": moments})
        if scaler is not None and self.scaler is not None:
            scaler.load_state_dict(self.scaler)
        torch.set_rng_state(self.rng["cpu"])
        if "cuda" in self.rng and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.rng["cuda"])


def _each(state: Mapping[str, Any], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    return {k: change(v) if isinstance(v, Tensor) else v for k, v in state.items()}


def _moment(value: Tensor, *, parameter: Tensor) -> Tensor:
    # An optimizer also keeps tensors that are not of a parameter's shape: the number of steps.
    return like(value, parameter) if value.shape == parameter.shape else value
