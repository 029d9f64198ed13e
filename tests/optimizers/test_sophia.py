"""Sophia against a slow obvious reference, its two limits, and a resume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from letheon import registry
from letheon.errors import RecipeError
from letheon.objectives.contract import Needs
from letheon.objectives.gradient_difference import GradientDifference
from letheon.optimizers.sophia import Sophia, SophiaStep
from letheon.recipe import Choice, Training
from letheon.training import loop
from tiny import tiny_llama, tiny_rows

LR = 0.1
TRAINING = {"lr": LR, "betas": (0.9, 0.999), "weight_decay": 0.0}


def made(params: list[Tensor], **fields: Any) -> torch.optim.Optimizer:
    return Sophia(**fields).make(params, **TRAINING)


def gradients(n: int, size: int = 4) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(n, size)) * np.array([1e-3, 0.03, 1.0, 30.0])


def obvious(start: np.ndarray, grads: np.ndarray, every: int) -> np.ndarray:
    """One number at a time, as the formula is written."""
    theta = start.copy()
    for i in range(len(theta)):
        m = h = 0.0
        for t, g in enumerate(grads[:, i]):
            m = 0.9 * m + 0.1 * g
            if t % every == 0:
                h = 0.95 * h + 0.05 * g * g
            ratio = abs(m) / (0.04 * 5120 * h + 1e-15)
            sign = int(m > 0) - int(m < 0)
            theta[i] = theta[i] * (1 - LR * 0.1) - LR * sign * min(ratio, 1.0)
    return theta


@pytest.mark.parametrize("every", [1, 3])
def test_steps_are_those_of_the_formula(every: int) -> None:
    start, grads = np.array([0.5, -2.0, 3.0, 0.1]), gradients(7)
    parameter = torch.tensor(start, requires_grad=True)
    optimizer = made([parameter], every=every)
    for grad in grads:
        parameter.grad = torch.tensor(grad)
        optimizer.step()
    np.testing.assert_allclose(parameter.detach().numpy(), obvious(start, grads, every), rtol=1e-12)
    steps = abs(start * (1 - LR * 0.1) ** 7 - parameter.detach().numpy())
    assert steps[0] > 0.2, "a small gradient is taken by its sign"
    assert steps[3] < 0.01, "a large one by its curvature"


def test_without_curvature_it_is_sign_descent() -> None:
    parameter = torch.tensor([1.0, 1.0, 1.0], requires_grad=True)
    optimizer = made([parameter], betas=(0.0, 0.95), rho=1e-30, weight_decay=0.0)
    for grad in ([5.0, -1e-4, 0.0], [-2.0, -3.0, 0.0]):
        parameter.grad = torch.tensor(grad)
        optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([1.0, 1.0 + 2 * LR, 1.0]))


def test_a_resumed_run_takes_the_same_steps() -> None:
    grads = gradients(5)
    parameter = torch.ones(4, dtype=torch.float64, requires_grad=True)
    optimizer = made([parameter], every=2)
    for t, grad in enumerate(grads):
        if t == 3:
            state, kept = optimizer.state_dict(), parameter.detach().clone()
            parameter = kept.requires_grad_()
            optimizer = made([parameter], every=2)
            optimizer.load_state_dict(state)
        parameter.grad = torch.tensor(grad)
        optimizer.step()
    expected = obvious(np.ones(4), grads, 2)
    np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-12)


def test_a_parameter_without_gradient_stays() -> None:
    still, moved = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    moved.grad = torch.ones(2)
    made([still, moved]).step()
    assert torch.equal(still.detach(), torch.ones(2))
    assert (moved.detach() < 1).all()


def test_the_loop_runs_it_and_resumes_it(tmp_path: Any) -> None:
    rows = loop.Rows(tiny_rows(6, seed=1), tiny_rows(9, seed=2), pad_id=0)

    def train(steps: int, checkpoint: Any) -> Tensor:
        model = tiny_llama(seed=0, layers=1)
        training = Training(
            steps=steps, batch_size=3, lr=1e-3, optimizer=Choice(name="sophia"), checkpoint_every=2
        )
        loop.run(model, GradientDifference(), rows, training, checkpoint=checkpoint)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    whole = train(4, None)
    train(2, tmp_path / "last.pt")
    assert torch.equal(train(4, tmp_path / "last.pt"), whole)
    assert not torch.equal(train(2, None), whole)


@pytest.mark.parametrize(
    ("name", "value"), [("betas", (0.9, 0.95)), ("weight_decay", 0.1)], ids=["betas", "decay"]
)
def test_settings_that_would_not_be_used_are_refused(name: str, value: Any) -> None:
    training = Training(steps=1, optimizer=Choice(name="sophia"), **{name: value})
    with pytest.raises(RecipeError, match=rf"training\.optimizer\.params\.{name}"):
        loop.check_model(Needs(), tiny_llama(seed=0, layers=1), training)


@pytest.mark.parametrize("params", [{"rho": 0}, {"every": 0}, {"betas": [1.0, 0.5]}, {"rh": 1}])
def test_params_out_of_range_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        registry.make("letheon.optimizers", "sophia", params)


def test_its_state_is_what_a_plan_counts() -> None:
    parameter = torch.ones(3, 5, requires_grad=True)
    optimizer = made([parameter])
    assert isinstance(optimizer, SophiaStep)
    parameter.grad = torch.ones(3, 5)
    optimizer.step()
    held = [v for v in optimizer.state[parameter].values() if isinstance(v, Tensor)]
    assert sum(v.numel() for v in held) == 2 * parameter.numel()
