"""A model over several processes: a copy on each (ddp), or a shard of it on each (fsdp2).

PyTorch's own ``fully_shard`` is called, not accelerate's: that one falls back to copies on CPU.
"""

from __future__ import annotations

__all__ = ["is_sharded", "like", "place", "whole", "wrap"]

from typing import Any

from accelerate import Accelerator
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from letheon.adapters.layer import BoundedLoraLayer
from letheon.recipe import Training


def is_sharded(model: Any) -> bool:
    """Whether each process holds a part of ``model`` only, so that every process must call it."""
    return isinstance(model, FSDPModule)


def place(model: Any, training: Training, accelerator: Accelerator) -> None:
    """Put ``model`` on this process's device: all of it, or this process's shard of it."""
    if training.parallel == "ddp" or accelerator.num_processes == 1:
        model.to(accelerator.device)
        return
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    blocks = set(getattr(model, "_no_split_modules", None) or ())
    for module in model.modules():
        if isinstance(module, BoundedLoraLayer):
            # A kept weight would be whole on every process, and goes by version counters, which
            # gathered parameters do not raise when their shards have changed.
            module.keep_weight = dict.fromkeys(module.keep_weight, "never")
    for module in reversed(list(model.modules())):  # inner ones first
        if type(module).__name__ in blocks:
            fully_shard(module, mesh=mesh)
    # Also the rest is given back after a forward pass: parameters are shards whenever they are
    # read, saved or restored.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    register_fsdp_forward_method(model, "generate")


def wrap(model: Any, accelerator: Accelerator) -> Any:
    """Return what a training step calls, so that gradients are averaged over the processes.

    Mixed precision is the step's own: accelerate would leave it in ``model.forward`` for good, and
    probes and final scores would be those of a model in half precision, which nobody saves.
    """
    if is_sharded(model) or accelerator.num_processes == 1:
        return model
    wrapped = accelerator.prepare_model(model)
    if model.__dict__.pop("_original_forward", None) is not None:
        del model.forward  # the class's own is called again
    return wrapped


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that may be sharded as a whole one; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(value: Tensor, parameter: Tensor) -> Tensor:
    """Return the whole tensor ``value`` sharded as ``parameter`` is, if it is."""
    if not isinstance(parameter, DTensor):
        return value
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements
    )
