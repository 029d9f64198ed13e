"""The adapted layer on an accelerator against fp32 on the CPU, whole and in pieces."""

from __future__ import annotations

import peft
import pytest
import torch
from torch import Tensor

from letheon.adapters import BoundedLoraConfig, blocks, bounds
from letheon.adapters.linear import Change, Plan, bounded_linear
from tiny import VOCAB, tiny_llama

pytestmark = pytest.mark.gpu

TOKENS, N_IN, N_OUT, RANK = 48, 96, 160, 4
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 2e-2}


def problem(*, transposed: bool) -> list[Tensor]:
    """x, weight, bias, A, B and a gradient of the output, on bf16's grid where they have one."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    weight = normal(N_IN, N_OUT) if transposed else normal(N_OUT, N_IN)
    rounded = [normal(TOKENS, N_IN), weight * 0.1, normal(N_OUT), normal(TOKENS, N_OUT)]
    x, weight, bias, grad = (each.bfloat16().float() for each in rounded)
    return [x, weight, bias, normal(RANK, N_IN) * 0.4, normal(N_OUT, RANK) * 0.4, grad]


def results(
    problem: list[Tensor], plan: Plan, device: str, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """Output and gradients of x, A and B, on the CPU in fp32."""
    x, weight, bias, grad = (problem[k].to(device, dtype) for k in (0, 1, 2, 5))
    factors = [problem[k].to(device).requires_grad_() for k in (3, 4)]
    y = bounded_linear(x.requires_grad_(), weight, bias, plan, factors)
    assert y.dtype == dtype
    found = (y, *torch.autograd.grad(y, (x, *factors), grad))
    return tuple(each.detach().cpu().float() for each in found)


def assert_near(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...], tolerance: float) -> None:
    for name, a, b in zip(("y", "x", "A", "B"), found, wanted, strict=True):
        assert float((a - b).norm() / b.norm()) < tolerance, name


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", bounds.names())
def test_a_layer_is_that_of_the_cpu(
    name: str,
    dtype: torch.dtype,
    transposed: bool,
    pieces: bool,
) -> None:
    given = problem(transposed=transposed)
    plan = Plan((Change(bounds.get(name), 1.7, 0.3),), transposed=transposed)
    wanted = results(given, plan, "cpu", torch.float32)
    small = blocks.Blocks(columns=33, entries=1, tile=1000, multiple=1)
    with blocks.as_on(small if pieces else blocks.ACCELERATOR):
        found = results(given, plan, "cuda", dtype)
    assert_near(found, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("name", bounds.names())
def test_a_model_under_autocast_is_near_that_of_the_cpu(name: str) -> None:
    model = peft.get_peft_model(tiny_llama(seed=0), BoundedLoraConfig(r=4, bound=name, seed=0))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "bounded_lora_B" in key:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.1)
    ids = torch.randint(0, VOCAB, (2, 12), generator=generator)
    wanted = model.eval()(ids).logits.detach()
    model.to("cuda")
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        found = model(ids.cuda()).logits.float().cpu()
    assert float((found - wanted).norm() / wanted.norm()) < 5e-2
