"""Linear layers whose type the processor emulates, whatever the processor of this test is."""

import copy

import pytest
import torch
from peft import get_peft_model
from torch import nn

from letheon.adapters import BoundedLoraConfig, blocks
from letheon.adapters.bounds import get
from letheon.adapters.converted import ConvertedLinear, convert
from letheon.adapters.linear import Change, Plan, bounded_linear
from tiny import tiny_llama

SHAPES = [((5, 7), (11, 7)), ((2, 3, 40), (300, 40))]


@pytest.fixture(autouse=True, params=[False, True], ids=["one panel", "several"])
def emulated(request, monkeypatch):
    monkeypatch.setattr(blocks, "_native", lambda dtype: False)
    several = blocks.Blocks(columns=8, entries=20, tile=30, multiple=2, converts=True)
    with blocks.as_on(several if request.param else blocks.CPU):
        yield


def problem(x_shape, w_shape, *, bias=True):
    torch.manual_seed(0)
    layer = nn.Linear(w_shape[1], w_shape[0], bias=bias)
    x = torch.randn(x_shape)
    short = copy.deepcopy(layer).bfloat16()
    layer.load_state_dict({k: v.float() for k, v in short.state_dict().items()})
    return layer, short, x.bfloat16()


def close(results):
    """Compare what fp32 and bf16 gave: bf16 has eight bits, and outputs are rounded on the way."""
    for wide, short in zip(*results, strict=True):
        assert (wide - short.float()).abs().max() <= 0.02 * wide.abs().max()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("x_shape", "w_shape"), SHAPES)
def test_results_and_gradients_are_those_of_fp32_rounded(x_shape, w_shape, bias):
    layer, short, x = problem(x_shape, w_shape, bias=bias)
    convert(short)
    assert type(short) is ConvertedLinear
    results = []
    for each, dtype in ((layer, torch.float32), (short, torch.bfloat16)):
        leaf = x.to(dtype).requires_grad_()
        y = each(leaf)
        grads = torch.autograd.grad(y.square().sum(), [leaf, *each.parameters()])
        assert all(t.dtype == dtype for t in (y, *grads))
        results.append([t.float() for t in (y, *grads)])
    close(results)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("x_shape", "w_shape"), SHAPES)
def test_an_adapted_layer_in_bf16_is_that_of_fp32_rounded(x_shape, w_shape, transposed):
    torch.manual_seed(0)
    n_out, n_in = w_shape
    x = torch.randn(x_shape).bfloat16()
    weight = torch.randn(n_out, n_in).bfloat16()
    weight = weight.t().contiguous() if transposed else weight
    factors = [torch.randn(2, n_in), torch.randn(n_out, 2)]
    plan = Plan((Change(get("sine"), 3.0, 0.5),), transposed=transposed)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        leaves = [x.to(dtype).requires_grad_(), *(f.clone().requires_grad_() for f in factors)]
        y = bounded_linear(leaves[0], weight.to(dtype), None, plan, leaves[1:])
        results.append([y, *torch.autograd.grad(y.float().sum(), leaves)])
    close(results)


def test_only_plain_layers_of_an_emulated_type_are_converted():
    model = tiny_llama(seed=0)
    convert(model)
    assert not any(isinstance(m, ConvertedLinear) for m in model.modules()), "fp32 is fp32"
    adapted = get_peft_model(tiny_llama(seed=0).bfloat16(), BoundedLoraConfig())
    convert(adapted)
    assert type(adapted.get_output_embeddings()) is ConvertedLinear
    twin = copy.deepcopy(adapted)
    ids = torch.arange(6)[None]
    assert torch.equal(twin(ids).logits, adapted(ids).logits)
    head = twin.get_output_embeddings().weight
    assert head.data_ptr() != adapted.get_output_embeddings().weight.data_ptr()


def test_what_the_processor_can_do_is_left_alone(monkeypatch):
    monkeypatch.setattr(blocks, "_native", lambda dtype: True)
    layer = nn.Linear(3, 4).bfloat16()
    convert(layer)
    assert type(layer) is nn.Linear
