"""AdamW whose state and fp32 master weights lie in CPU memory, and which computes its update there.

The device holds parameters and gradients only, of AdamW's state nothing: for an fp32 parameter that
is half. A bf16 parameter has a master in fp32, so that updates below half of its spacing (2^-9 of
its value) are not lost but add up; the parameter is the master, rounded. An fp32 parameter on the
CPU is its own master, and the run that of torch's AdamW to the last bit.
"""

from __future__ import annotations

__all__ = ["OffloadedAdamW"]

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class OffloadedAdamW(torch.optim.Optimizer):
    """torch's AdamW on masters of ``params`` in CPU memory; a step brings the result back.

    A gradient comes and its parameter goes through one buffer in the parameter's type, pinned where
    the parameter is on an accelerator. ``state_dict`` has AdamW's form, with a ``master`` beside
    each parameter's moments. A parameter that others change between steps is overwritten by its
    master, until a state is loaded.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        self._params = list(params)
        options: dict[str, Any] = {"lr": lr, "betas": betas, "weight_decay": weight_decay}
        super().__init__(self._params, options)
        self._masters = [_master(p) for p in self._params]
        pairs = zip(self._params, self._masters, strict=True)
        self._copied = [(p, master, _buffer(p)) for p, master in pairs if master is not p]
        self._adamw = torch.optim.AdamW(self._masters, **options, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Fetch the gradients, update the masters, write them into the parameters.

        ``closure`` is not supported: a step uses the gradients that are there.
        """
        assert closure is None
        for parameter, _, buffer in self._copied:
            if parameter.grad is not None:
                buffer.copy_(parameter.grad, non_blocking=True)
        for device in {p.device for p, _, _ in self._copied if p.device.type != "cpu"}:
            torch.accelerator.synchronize(device)
        for parameter, master, buffer in self._copied:
            master.grad = None if parameter.grad is None else buffer.to(master.dtype)
        self._adamw.param_groups[0].update(self._options())
        self._adamw.step()
        for parameter, master, buffer in self._copied:
            master.grad = None
            parameter.copy_(buffer.copy_(master), non_blocking=True)

    def state_dict(self) -> dict[str, Any]:
        """Return AdamW's state with the masters; a parameter that is its own has none."""
        found: dict[str, Any] = self._adamw.state_dict()
        own = {k: {"master": m} for k, m in enumerate(self._masters) if m is not self._params[k]}
        state = {k: values | own.get(k, {}) for k, values in found["state"].items()}
        groups = [found["param_groups"][0] | self._options()]
        return {"state": state, "param_groups": groups}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put a state back; a parameter whose state has no master starts from its own value."""
        state = {k: dict(values) for k, values in state_dict["state"].items()}
        masters = {k: values.pop("master", None) for k, values in state.items()}
        for k, (parameter, master) in enumerate(zip(self._params, self._masters, strict=True)):
            saved = masters.get(k)
            master.copy_(parameter if saved is None else saved)
        self._adamw.load_state_dict(state_dict | {"state": state})
        loaded = self._adamw.param_groups[0]
        self.param_groups[0].update({key: loaded[key] for key in self._options()})

    def _options(self) -> dict[str, Any]:
        return {key: value for key, value in self.param_groups[0].items() if key != "params"}


def _master(parameter: Tensor) -> Tensor:
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    if parameter.device.type == "cpu" and parameter.dtype == dtype:
        return parameter
    return parameter.detach().to("cpu", dtype)


def _buffer(parameter: Tensor) -> Tensor:
    # In the parameter's own type: copies between types need a temporary that is not pinned.
    pinned = parameter.device.type != "cpu"
    return torch.empty(parameter.shape, dtype=parameter.dtype, device="cpu", pin_memory=pinned)
