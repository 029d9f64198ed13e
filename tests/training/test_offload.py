"""The optimizer in CPU memory: torch's AdamW to the last bit, and fp32 masters of bf16 weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from letheon.adapters import BoundedLoraConfig
from letheon.objectives.gradient_difference import GradientDifference
from letheon.recipe import Training
from letheon.training import loop, offload
from letheon.training.checkpoint import trained_state
from letheon.training.offload import OffloadedAdamW
from tiny import tiny_llama, tiny_rows

ROWS = loop.Rows(tiny_rows(6, seed=1), tiny_rows(9, seed=2), pad_id=0)
OPTIONS: dict[str, Any] = {"lr": 1e-2, "betas": (0.8, 0.99), "weight_decay": 0.1}


def run(model: Any, checkpoint: Path | None = None, watch: Any = None, **settings: Any) -> Any:
    events: list[dict[str, Any]] = []
    defaults = {"steps": 6, "batch_size": 3, "lr": 1e-3, "weight_decay": 0.1, "max_grad_norm": 0.5}
    loop.run(
        model,
        GradientDifference(),
        ROWS,
        Training(**(defaults | settings)),
        watch=watch or events.append,
        checkpoint=checkpoint,
    )
    return [event["terms"] for event in events if event["event"] == "step"]


def in_bf16() -> Any:
    return tiny_llama(seed=0).bfloat16()


def copied(parameter: Tensor) -> Tensor:
    """Make a master as of a parameter on another device."""
    return parameter.detach().clone()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["own masters", "copied masters"])
@pytest.mark.parametrize("adapter", [False, True], ids=["full", "adapter"])
def test_in_fp32_it_is_torchs_own_to_the_last_bit(
    elsewhere: bool, adapter: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if elsewhere:
        monkeypatch.setattr(offload, "_master", copied)
    models = [tiny_llama(seed=0) for _ in range(2)]
    if adapter:
        config = BoundedLoraConfig(r=4, seed=0)
        models = [peft.get_peft_model(model, config) for model in models]
    settings = {"schedule": "cosine", "warmup": 0.4, "accumulate": 2}
    assert run(models[0], **settings) == run(models[1], **settings, offload_optimizer=True)
    torch.testing.assert_close(trained_state(models[0]), trained_state(models[1]), atol=0, rtol=0)


def test_parameters_on_the_cpu_in_fp32_have_no_second_copy() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    assert OffloadedAdamW([parameter], **OPTIONS)._masters[0] is parameter


def test_updates_below_the_spacing_of_bf16_are_not_lost() -> None:
    """At lr 3e-6 no step moves a weight of 0.02, whose neighbours are 1e-4 away; 100 do."""
    models = {
        name: tiny_llama(seed=0, layers=1).bfloat16() for name in ("fp32", "plain", "offload")
    }
    models["fp32"].float()
    start = trained_state(models["fp32"])
    settings = {"steps": 100, "lr": 3e-6, "weight_decay": 0.0}
    moved = {}
    for name, model in models.items():
        run(model, **settings, offload_optimizer=name == "offload")
        ends = trained_state(model)
        moved[name] = torch.cat([(ends[k].float() - start[k]).flatten() for k in start])
    size = moved["fp32"].norm()
    assert (moved["offload"] - moved["fp32"]).norm() < 0.5 * size
    assert (moved["plain"] - moved["fp32"]).norm() > 0.8 * size


def test_a_parameter_is_its_master_rounded() -> None:
    parameter = torch.nn.Parameter(torch.randn(50).bfloat16())
    optimizer = OffloadedAdamW([parameter], **OPTIONS)
    plain = torch.nn.Parameter(parameter.detach().float())
    reference = torch.optim.AdamW([plain], **OPTIONS)
    for k in range(5):
        parameter.grad = torch.full_like(parameter, 0.5 - 0.25 * k)
        plain.grad = parameter.grad.float()
        for each in (optimizer, reference):
            each.param_groups[0]["lr"] = 1e-3 * (k + 1)
            each.step()
            each.zero_grad()
    torch.testing.assert_close(optimizer._masters[0], plain.detach(), atol=1e-7, rtol=0)
    assert torch.equal(parameter.detach(), optimizer._masters[0].bfloat16())


def test_a_parameter_without_a_gradient_stays() -> None:
    parameters = [torch.nn.Parameter(torch.ones(2).bfloat16()) for _ in range(2)]
    optimizer = OffloadedAdamW(parameters, **OPTIONS)
    for k in range(2):
        parameters[k].grad = torch.ones(2).bfloat16()
        optimizer.step()
        optimizer.zero_grad()
    first = parameters[0].detach().clone()
    parameters[1].grad = torch.ones(2).bfloat16()
    optimizer.step()
    assert torch.equal(parameters[0].detach(), first)
    assert list(optimizer.state_dict()["state"][0]["step"].shape) == []
    assert float(optimizer.state_dict()["state"][0]["step"]) == 1


@pytest.mark.parametrize("make", [in_bf16, lambda: tiny_llama(seed=0)], ids=["bf16", "fp32"])
def test_a_killed_run_goes_on_with_the_losses_of_an_unbroken_one(make: Any, tmp_path: Path) -> None:
    settings = {"steps": 9, "lr": 1e-5, "offload_optimizer": True, "checkpoint_every": 2}
    unbroken = make()
    whole = run(unbroken, **settings)

    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make(), tmp_path / "last.pt", interrupt, **settings)
    resumed = make()
    assert run(resumed, tmp_path / "last.pt", **settings) == whole[4:]
    torch.testing.assert_close(trained_state(resumed), trained_state(unbroken), atol=0, rtol=0)


def test_a_state_without_masters_starts_from_the_parameters() -> None:
    values = torch.randn(20).bfloat16()
    plain, offloaded = (torch.nn.Parameter(values.clone()) for _ in range(2))
    before = torch.optim.AdamW([plain], **OPTIONS)
    plain.grad = torch.ones_like(plain)
    before.step()
    optimizer = OffloadedAdamW([offloaded], **OPTIONS)
    with torch.no_grad():
        offloaded.copy_(plain)
    optimizer.load_state_dict(before.state_dict())
    assert torch.equal(optimizer._masters[0], plain.detach().float())
    state = optimizer.state_dict()["state"][0]
    assert (state["exp_avg"].dtype, float(state["step"])) == (torch.float32, 1.0)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_state_is_on_the_device(dtype: torch.dtype) -> None:
    device = torch.accelerator.current_accelerator()
    assert device is not None
    model = tiny_llama(seed=0, layers=4, hidden=256).to(device, dtype)
    parameters = list(model.parameters())
    optimizer = OffloadedAdamW(parameters, **OPTIONS)
    held = torch.cuda.memory_allocated()
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == held
    states = optimizer.state_dict()["state"].values()
    assert len(states) == len(parameters)
    for state in states:
        assert {value.device.type for value in state.values()} == {"cpu"}
        assert state["master"].dtype == torch.float32
    assert all(buffer.is_pinned() for _, _, buffer in optimizer._copied)


@pytest.mark.gpu
def test_a_run_on_a_device_is_that_of_the_state_on_it() -> None:
    models = [tiny_llama(seed=0) for _ in range(2)]
    plain, offloaded = run(models[0]), run(models[1], offload_optimizer=True)
    for mine, other in zip(offloaded, plain, strict=True):
        assert mine == pytest.approx(other, rel=1e-5)
