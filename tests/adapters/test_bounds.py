"""Every bound that `names()` lists keeps the contract; a new one is tested without a new line."""

import math
import pickle

import pytest
import torch

from letheon.adapters import bounds
from letheon.errors import ModelError

# away from the kinks of hard_tanh, where no derivative exists
Z = torch.cat([torch.linspace(-30, 30, 402), torch.tensor([-0.5, 0.3])]).double()


@pytest.fixture(params=bounds.names())
def bound(request):
    return bounds.get(request.param)


def test_nothing_changes_at_zero(bound):
    assert bound.value(torch.zeros(3)).eq(0).all()
    assert bound.derivative(torch.zeros(1)).item() > 0


def test_stays_within_its_supremum_and_comes_close(bound):
    largest = bound.value(Z * 1e3).abs().max().item()
    assert largest <= bound.sup
    if bound.bounded:
        assert largest > 0.99 * bound.sup


def test_derivative_is_that_of_the_value(bound):
    z = Z.clone().requires_grad_()
    (grad,) = torch.autograd.grad(bound.value(z).sum(), z)
    torch.testing.assert_close(bound.derivative(Z), grad, rtol=1e-12, atol=1e-12)


def test_leaves_its_argument_alone(bound):
    z = Z.clone()
    bound.value(z).add_(1)
    bound.derivative(z).add_(1)
    assert z.equal(Z)


def test_survives_pickling(bound):
    assert pickle.loads(pickle.dumps(bound)) is bound


@pytest.mark.parametrize(
    ("name", "at_one"),
    [
        ("identity", 1.0),
        ("sine", math.sin(1)),
        ("tanh", math.tanh(1)),
        ("sigmoid", 2 / (1 + math.exp(-1)) - 1),
        ("hard_tanh", 1.0),
        ("softsign", 0.5),
    ],
)
def test_value_at_one(name, at_one):
    value = bounds.get(name).value(torch.tensor(1.0, dtype=torch.float64))
    assert value.item() == pytest.approx(at_one, abs=1e-15)


def test_only_plain_lora_is_unbounded():
    assert [name for name in bounds.names() if not bounds.get(name).bounded] == ["identity"]


def test_unknown_name_is_told_the_nearest():
    with pytest.raises(ModelError, match="Did you mean sine"):
        bounds.get("sin")
