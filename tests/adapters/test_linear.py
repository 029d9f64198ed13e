"""The panelled function against a slow obvious one, in every layout, type and panel width."""

import dataclasses

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from letheon.adapters import blocks, bounds
from letheon.adapters.keep import KeptWeight
from letheon.adapters.linear import Change, Plan, bounded_linear, effective_weight

N_IN, N_OUT, RANK = 7, 11, 3


def problem(*, transposed=False, dtype=torch.float64, shape=(2, 5), n_changes=1, seed=0):
    torch.manual_seed(seed)
    x = torch.randn(*shape, N_IN, dtype=dtype)
    weight = torch.randn((N_IN, N_OUT) if transposed else (N_OUT, N_IN), dtype=dtype)
    bias = torch.randn(N_OUT, dtype=dtype)
    factor = torch.float64 if dtype == torch.float64 else torch.float32
    factors = []
    for _ in range(n_changes):
        factors.append(torch.randn(RANK, N_IN, dtype=factor) * 0.4)
        factors.append(torch.randn(N_OUT, RANK, dtype=factor) * 0.4)
    return x, weight, bias, factors


def obvious(x, weight, bias, plan, factors):
    matrix = weight.t() if plan.transposed else weight
    for k, (bound, omega, scale) in enumerate(plan.changes):
        A, B = factors[2 * k], factors[2 * k + 1]
        matrix = matrix + scale * bound.value(omega * (B @ A))
    y = x @ matrix.t()
    return y if bias is None else y + bias


def plan_for(*names, transposed=False, panel=None, keeper=None):
    changes = tuple(Change(bounds.get(n), 1.7 + k, 0.3 + k / 4) for k, n in enumerate(names))
    return Plan(changes, transposed=transposed, panel=panel, keeper=keeper)


@pytest.fixture(autouse=True)
def small_tiles():
    """Cut panels into several ragged tiles even at this size."""
    with blocks.as_on(dataclasses.replace(blocks.CPU, tile=9)):
        yield


@pytest.mark.parametrize("panel", [3, 100])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("name", bounds.names())
def test_gradcheck(name, transposed, panel):
    x, weight, bias, factors = problem(transposed=transposed)
    leaves = [t.requires_grad_() for t in (x, weight, bias, *factors)]
    plan = plan_for(name, transposed=transposed, panel=panel)

    def run(x, weight, bias, *factors):
        return bounded_linear(x, weight, bias, plan, factors)

    assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("shape", [(4,), (2, 5), (1, 2, 3)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("changes", [("sine",), ("sine", "tanh"), ("softsign", "identity")])
def test_equals_the_obvious_implementation(shape, transposed, with_bias, changes):
    x, weight, bias, factors = problem(transposed=transposed, shape=shape, n_changes=len(changes))
    bias = bias if with_bias else None
    plan = plan_for(*changes, transposed=transposed, panel=3)
    leaves = [t.requires_grad_() for t in (x, *factors)]
    weights = torch.randn(*shape, N_OUT, dtype=torch.float64)
    results = []
    for function in (bounded_linear, obvious):
        y = function(x, weight, bias, plan, factors)
        results.append((y, *torch.autograd.grad((y * weights).sum(), leaves)))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_only_what_needs_a_gradient_gets_one():
    x, weight, bias, factors = problem(n_changes=2)
    for factor in factors[2:]:
        factor.requires_grad_()
    plan = plan_for("sine", "tanh", panel=2)
    bounded_linear(x, weight, bias, plan, factors).sum().backward()
    assert [t.grad is None for t in (x, weight, bias, *factors)] == [True] * 5 + [False] * 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_the_phase_in_fp32(dtype):
    # omega 100 and phases of some hundred: a phase rounded to 8 bits would be a random sine
    x, weight, bias, factors = problem(dtype=dtype)
    plan = Plan((Change(bounds.get("sine"), 100.0, 1.0),), panel=3)
    kept = effective_weight(weight, plan, factors, dtype)
    truth = weight.double() + torch.sin(100.0 * (factors[1].double() @ factors[0].double()))
    assert kept.dtype == dtype
    torch.testing.assert_close(kept.double(), truth, rtol=0, atol=0.02)
    y = bounded_linear(x, weight, bias, plan, factors)
    torch.testing.assert_close(y, x @ kept.t() + bias, rtol=0.02, atol=0.1)


def test_half_precision_gradients_are_near_those_of_fp32():
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        x, weight, bias, factors = problem(dtype=torch.float32, shape=(64,))
        for factor in factors:
            factor.requires_grad_()
        x, weight, bias = (t.to(dtype).requires_grad_() for t in (x, weight, bias))
        bounded_linear(x, weight, bias, plan_for("sine", panel=3), factors).sum().backward()
        assert all(f.grad.dtype == torch.float32 for f in factors)
        results.append([x.grad.float(), *(f.grad for f in factors)])
    torch.testing.assert_close(*results, rtol=0.05, atol=0.5)


def test_autocast_products_are_half_precision_and_phases_are_not():
    x, weight, bias, factors = problem(dtype=torch.float32)
    plan = Plan((Change(bounds.get("sine"), 100.0, 1.0),), panel=3)
    truth = bounded_linear(x, weight, bias, plan, factors)
    for factor in factors:
        factor.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = bounded_linear(x, weight, bias, plan, factors)
        assert y.equal(truth)
        y.sum().backward()
    assert all(factor.grad.dtype == torch.float32 for factor in factors)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("panel", [2, 100])
def test_nothing_of_the_weights_size_is_saved(transposed, panel):
    x, weight, bias, factors = problem(transposed=transposed, n_changes=2)
    for factor in factors:
        factor.requires_grad_()
    saved = []
    with saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        bounded_linear(x, weight, bias, plan_for("sine", "tanh", transposed=transposed), factors)
    sizes = [t.numel() for t in saved if t.data_ptr() != weight.data_ptr()]
    assert x.numel() in sizes
    assert max(sizes) < weight.numel()


@pytest.mark.parametrize("transposed", [False, True])
def test_the_kept_weight_changes_no_number(transposed):
    results = []
    for keeper in (None, KeptWeight()):
        x, weight, bias, factors = problem(transposed=transposed)
        leaves = [t.requires_grad_() for t in (x, *factors)]
        plan = plan_for("sine", transposed=transposed, panel=3, keeper=keeper)
        y = bounded_linear(x, weight, bias, plan, factors)
        results.append((y, *torch.autograd.grad(y.square().sum(), leaves)))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_the_kept_weight_is_dropped_when_anything_changes():
    x, weight, _, factors = problem()
    keeper = KeptWeight()
    plan = plan_for("sine", keeper=keeper)
    for change in (None, weight, *factors):
        if change is not None:
            change.add_(0.1)
            assert keeper.find(weight, factors, x.dtype) is None
        y = bounded_linear(x, weight, None, plan, factors)
        torch.testing.assert_close(y, obvious(x, weight, None, plan, factors))
        assert keeper.find(weight, factors, x.dtype) is not None
    assert keeper.find(weight, factors, torch.float32) is None
    bounded_linear(x, weight, None, plan, factors)
    assert keeper.find(weight, [f.clone() for f in factors], x.dtype) is None


def test_a_second_derivative_is_refused():
    x, weight, _, factors = problem()
    x.requires_grad_()
    y = bounded_linear(x, weight, None, plan_for("sine"), factors)
    (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_large_matrices_are_cut_into_several_panels_and_tiny_ones_are_not():
    assert len(blocks.CPU.panels(3072, 768)) > 4
    assert len(blocks.CPU.panels(512, 128)) == 1


@pytest.mark.parametrize("kind", [blocks.CPU, blocks.ACCELERATOR, blocks.Blocks(3, 5, 7, 2)])
@pytest.mark.parametrize(("size", "other"), [(1, 1), (100, 30), (14336, 4096), (2050, 1)])
def test_blocks_cover_a_matrix_once(kind, size, other):
    panels = kind.panels(size, other)
    assert [i for p in panels for i in range(p.start, p.stop)] == list(range(size))
    tiles = kind.tiles(slice(5, 5 + other), panels[0])
    assert [i for t in tiles for i in range(t.start, t.stop)] == list(range(5, 5 + other))
    width = panels[0].stop
    assert all((t.stop - t.start) * width <= max(kind.tile + width, width) for t in tiles)


def test_an_accelerator_gets_few_large_pieces_of_a_large_matrix():
    assert len(blocks.ACCELERATOR.panels(3072, 768)) == 1
    panels = blocks.ACCELERATOR.panels(14336, 4096)
    assert len(panels) <= 8 < len(blocks.CPU.panels(14336, 4096))
    assert len(blocks.ACCELERATOR.tiles(slice(0, 4096), panels[0])) == 1
