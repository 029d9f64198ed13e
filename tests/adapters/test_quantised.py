"""Weights in four and eight bits: read by blocks, adapted, trained, merged."""

import dataclasses
import warnings

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GPT2Config, GPT2LMHeadModel

from letheon.adapters import (
    BoundedLoraConfig,
    BoundedLoraLinear,
    blocks,
    bounds,
    weight_change,
)
from letheon.adapters.keep import KeptWeight
from letheon.adapters.linear import Change, Plan, bounded_linear, effective_weight
from letheon.adapters.quantised import FourBit, is_quantised, reader
from letheon.errors import ModelError
from tiny import VOCAB, tiny_llama

bnb = pytest.importorskip("bitsandbytes", reason="needs the extra quantised: bitsandbytes")

# PEFT 0.21 still reads the attribute that transformers 5.23 has renamed
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

# rows of whole scales, of one and a half, of a part of one
WHOLE, RAGGED, ODD = (24, 256), (10, 96), (9, 7)


def four_bit(shape, *, dtype=torch.float32, double=False):
    torch.manual_seed(0)
    layer = bnb.nn.Linear4bit(
        shape[1], shape[0], quant_type="nf4", compress_statistics=double, compute_dtype=dtype
    )
    layer.weight.data = torch.randn(shape, dtype=dtype)
    return layer.to("cpu")


def eight_bit(shape, **_):
    torch.manual_seed(0)
    layer = bnb.nn.Linear8bitLt(shape[1], shape[0], has_fp16_weights=False)
    layer.weight.data = torch.randn(shape)
    return layer.to("cpu")


def whole(layer):
    """Dequantise as bitsandbytes does it."""
    if isinstance(layer, bnb.nn.Linear4bit):
        return bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return bnb.functional.int8_vectorwise_dequant(layer.weight.data, layer.weight.SCB)


@pytest.mark.parametrize("shape", [WHOLE, RAGGED, ODD])
@pytest.mark.parametrize(
    ("make", "dtype", "double"),
    [
        (four_bit, torch.float32, False),
        (four_bit, torch.float32, True),
        (four_bit, torch.bfloat16, False),
        (eight_bit, torch.float32, False),
    ],
)
def test_blocks_are_bitsandbytes_own_numbers(make, dtype, double, shape):
    layer = make(shape, dtype=dtype, double=double)
    expected, matrix = whole(layer), reader(layer)(layer.weight)
    assert matrix.shape == shape
    height, width = shape
    for rows in (slice(0, height), slice(3, height), slice(1, 6), slice(height - 1, height)):
        for cols in (slice(0, width), slice(width // 2, width), slice(2, 5), slice(0, 64)):
            cols = slice(cols.start, min(cols.stop, width))
            assert matrix[rows, cols].equal(expected[rows, cols]), (rows, cols)


def test_a_weight_repacked_for_avx512_is_refused_and_a_read_one_is_never_repacked():
    layer = four_bit((64, 128))
    reader(layer)
    assert not layer.support_avx512bf16_for_cpu
    layer.weight.data, layer.weight.quant_state = bnb.functional._convert_weight_packed_for_cpu(
        layer.weight.data, layer.weight.quant_state
    )
    with pytest.raises(ModelError, match="adapt it first"):
        reader(layer)


def problem(layer, *, panel=None, keeper=None):
    torch.manual_seed(1)
    height, width = layer.out_features, layer.in_features
    wide = {"dtype": torch.float64}
    x = torch.randn(2, 3, width, **wide, requires_grad=True)
    factors = [torch.randn(3, width, **wide) * 0.1, torch.randn(height, 3, **wide) * 0.1]
    change = Change(bounds.get("sine"), 3.0, 0.5)
    plan = Plan((change,), panel=panel, keeper=keeper, reader=reader(layer))
    return x, [f.requires_grad_() for f in factors], plan


@pytest.fixture
def small_tiles():
    with blocks.as_on(dataclasses.replace(blocks.CPU, tile=300)):
        yield


@pytest.mark.parametrize("make", [four_bit, eight_bit])
@pytest.mark.parametrize("shape", [WHOLE, RAGGED])
@pytest.mark.parametrize("panel", [128, 5, None])
@pytest.mark.parametrize("kept", [False, True])
def test_results_and_gradients_are_those_of_the_dequantised_weight(
    make, shape, panel, kept, small_tiles
):
    layer = make(shape)
    x, factors, plan = problem(layer, panel=panel, keeper=KeptWeight() if kept else None)
    dense = Plan(plan.changes)
    results = []
    for weight, each in ((layer.weight, plan), (whole(layer), dense)):
        y = bounded_linear(x, weight, layer.bias, each, factors)
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, *factors])))
    torch.testing.assert_close(*results)
    merged = [
        effective_weight(w, p, factors, torch.float32)
        for w, p in ((layer.weight, plan), (whole(layer), dense))
    ]
    assert merged[0].equal(merged[1])


def test_no_whole_weight_is_decoded_or_saved(monkeypatch):
    monkeypatch.setattr(blocks, "CPU", dataclasses.replace(blocks.CPU, tile=2048))
    layer = four_bit((96, 512))
    x, factors, plan = problem(layer, panel=128)
    decoded, saved = [], []
    real = FourBit._decoded
    monkeypatch.setattr(
        FourBit, "_decoded", lambda *a: decoded.append(a[3][0] * a[3][1]) or real(*a)
    )
    with saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        y = bounded_linear(x, layer.weight, layer.bias, plan, factors)
    y.sum().backward()
    assert max(decoded) <= 2048
    assert sum(decoded) == 2 * 96 * 512  # each entry once forward, once backward
    assert {t.data_ptr() for t in saved if t.numel() >= 96 * 512 // 2} == {layer.weight.data_ptr()}


# --- whole models


def settings(bits):
    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")


def tiny_gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=VOCAB, n_positions=64)
    )


FAMILIES = {"llama": lambda: tiny_llama(seed=0), "gpt2": tiny_gpt2}


def adapted(tmp_path, bits, family="llama", **config):
    place = tmp_path / "model"
    if not place.exists():
        FAMILIES[family]().save_pretrained(place)
    base = AutoModelForCausalLM.from_pretrained(place, quantization_config=settings(bits))
    model = get_peft_model(base, BoundedLoraConfig(r=4, seed=0, task_type="CAUSAL_LM", **config))
    return model.eval()


def stir(model):
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if "bounded_lora" in name and "_B" in name:
            with torch.no_grad():
                parameter.normal_(0, 0.02)


def logits(model):
    ids = torch.arange(2, 23).view(3, 7)
    with torch.no_grad():
        return model(ids).logits


@pytest.fixture(params=["4bit", "8bit"])
def bits(request):
    return request.param


def test_a_fresh_adapter_changes_nothing_and_a_disabled_one_is_the_base(tmp_path, bits):
    model = adapted(tmp_path, bits)
    place = tmp_path / "model"
    base = AutoModelForCausalLM.from_pretrained(place, quantization_config=settings(bits)).eval()
    expected = logits(base)
    # LLM.int8 rounds activations too; an adapted layer does not
    torch.testing.assert_close(
        logits(model), expected, atol=1e-6 if bits == "4bit" else 5e-3, rtol=0
    )
    stir(model)
    assert (logits(model) - expected).abs().max() > 0.1
    with model.disable_adapter():
        assert logits(model).equal(expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_it_is_an_ordinary_checkpoint(tmp_path, bits, family):
    model = adapted(tmp_path, bits, family)
    stir(model)
    before = logits(model)
    with pytest.warns(UserWarning, match="Merging dequantises"):
        merged = model.merge_and_unload()
    assert not any(is_quantised(m) for m in merged.modules())
    merged.save_pretrained(tmp_path / "merged")
    again, found = AutoModelForCausalLM.from_pretrained(
        tmp_path / "merged", output_loading_info=True
    )
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert not hasattr(again.config, "quantization_config")
    assert {type(m) for m in again.modules()} == {type(m) for m in FAMILIES[family]().modules()}
    # in eight bits the attention's activations were rounded, and no more are
    torch.testing.assert_close(
        logits(again.eval()), before, atol=1e-5 if bits == "4bit" else 2e-2, rtol=0
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_unmerging_brings_the_quantised_layers_back(tmp_path, bits, family):
    model = adapted(tmp_path, bits, family)
    stir(model)
    before = logits(model)
    with pytest.warns(UserWarning, match="Merging dequantises"):
        model.merge_adapter()
    torch.testing.assert_close(logits(model), before, atol=1e-5, rtol=0)
    model.unmerge_adapter()
    assert logits(model).equal(before)
    layers = [m for m in model.modules() if isinstance(m, BoundedLoraLinear)]
    assert all(is_quantised(layer.get_base_layer()) for layer in layers)


def test_two_adapters_merge_one_after_the_other(tmp_path, bits):
    model = adapted(tmp_path, bits)
    config = BoundedLoraConfig(r=2, bound="tanh", seed=1, task_type="CAUSAL_LM")
    model.add_adapter("second", config)
    stir(model)
    model.base_model.set_adapter(["default", "second"])
    before = logits(model)
    for name in ("default", "second"):
        said = "Merging dequantises" if name == "default" else "Already following adapters"
        with pytest.warns(UserWarning, match=said):
            model.merge_adapter([name])
    torch.testing.assert_close(logits(model), before, atol=1e-5, rtol=0)
    model.unmerge_adapter()
    assert logits(model).equal(before)


def test_training_lowers_the_loss_and_touches_only_the_adapter(tmp_path, bits):
    model = adapted(tmp_path, bits, attention=True).train()
    stored = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    ids = torch.arange(2, 23).view(3, 7)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(8):
        loss = model(ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    assert all(p.equal(stored[n]) for n, p in model.named_parameters() if n in stored)
    assert all(entry["norm"] > 0 for entry in weight_change(model))


def test_an_adapter_is_saved_and_loaded_on_a_quantised_base(tmp_path, bits):
    model = adapted(tmp_path, bits)
    stir(model)
    model.save_pretrained(tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", quantization_config=settings(bits)
    )
    again = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    assert logits(again).equal(logits(model))


def test_an_ordinary_merge_warns_of_nothing():
    model = get_peft_model(tiny_llama(seed=0), BoundedLoraConfig(r=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        model.merge_and_unload()
