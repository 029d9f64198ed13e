"""Settings, errors and the corners of PEFT's interface."""

import json
import subprocess
import sys

import peft
import pytest
import torch
from adapter_families import inputs, logits, make, stir
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from torch import nn

from letheon.adapters import BoundedLoraConfig, BoundedLoraLinear
from letheon.errors import ModelError

# PEFT 0.21 still reads the attribute that transformers 5.23 has renamed
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def layers(model):
    return [m for m in model.modules() if isinstance(m, BoundedLoraLinear)]


def keeps(layer):
    return any(keeper._effective is not None for keeper in layer._kept.values())


def test_defaults_are_filled_in():
    bounded, plain = BoundedLoraConfig(), BoundedLoraConfig(r=4, bound="identity")
    assert (bounded.lora_alpha, bounded.omega, bounded.scale) == (32, 100, "fan_in")
    assert (plain.lora_alpha, plain.omega, plain.scale) == (8, 1, 1)
    assert bounded.change(64).scale == pytest.approx(2 / 8)
    assert plain.change(64).scale == 2


def test_the_config_survives_its_file(tmp_path):
    config = BoundedLoraConfig(
        r=3, bound="tanh", omega=7.5, scale=0.02, target_modules={"b", "a"}, attention=True, seed=1
    )
    config.save_pretrained(tmp_path)
    assert PeftConfig.from_pretrained(tmp_path) == config
    assert json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"] == [
        "a",
        "b",
    ]


def test_identity_is_pefts_lora_to_the_last_bit():
    names = ["gate_proj", "up_proj", "down_proj"]
    ours = get_peft_model(make("llama"), BoundedLoraConfig(r=4, lora_alpha=6, bound="identity"))
    theirs = get_peft_model(make("llama"), LoraConfig(r=4, lora_alpha=6, target_modules=names))
    stir(ours)
    factors = {n: p for n, p in ours.named_parameters() if "bounded_lora_" in n}
    for name, p in theirs.named_parameters():
        if "lora_" in name:
            key = name.replace("lora_", "bounded_lora_").replace(".weight", "")
            p.data.copy_(factors[key].data)
    assert logits(ours.eval(), "llama").equal(logits(theirs.eval(), "llama"))
    for model in (ours, theirs):
        model(**inputs("llama")).logits.square().mean().backward()
    for name, p in theirs.named_parameters():
        if "lora_" in name:
            key = name.replace("lora_", "bounded_lora_").replace(".weight", "")
            assert p.grad.equal(factors[key].grad)


def test_entries_of_the_change_stay_within_scale_times_sup():
    model = get_peft_model(make("llama"), BoundedLoraConfig(r=4))
    stir(model, size=50.0)
    for layer in layers(model):
        delta = layer.get_delta_weight("default")
        limit = 2 / layer.in_features**0.5
        assert 0.99 * limit < delta.abs().max() <= limit * (1 + 1e-6)


def test_a_seed_fixes_each_matrix_whatever_the_order():
    one = get_peft_model(make("llama"), BoundedLoraConfig(r=4, seed=3))
    torch.manual_seed(99)
    two = get_peft_model(make("llama"), BoundedLoraConfig(r=4, seed=3, target_modules=["up_proj"]))
    by_name = {layer.name: layer.bounded_lora_A["default"] for layer in layers(one)}
    assert all(by_name[layer.name].equal(layer.bounded_lora_A["default"]) for layer in layers(two))
    drawn = list(by_name.values())
    assert not drawn[0].equal(drawn[1])


def test_attention_gets_plain_lora():
    model = get_peft_model(make("gpt2"), BoundedLoraConfig(r=4, attention=True))
    kinds = {layer.name.split(".", 3)[3]: layer.changes["default"][0] for layer in layers(model)}
    assert {name: change.bound.name for name, change in kinds.items()} == {
        "attn.c_attn": "identity",
        "attn.c_proj": "identity",
        "mlp.c_fc": "sine",
        "mlp.c_proj": "sine",
    }
    assert kinds["attn.c_attn"].scale == 2


def test_factors_stay_fp32_on_a_half_precision_model(tmp_path):
    model = get_peft_model(make("llama").bfloat16(), BoundedLoraConfig(r=4))
    stir(model)
    model(**inputs("llama")).logits.float().square().mean().backward()
    factors = [p for layer in layers(model) for p in layer.factors(["default"])]
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in factors)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make("llama").bfloat16(), tmp_path, low_cpu_mem_usage=True)
    again = [p for layer in layers(loaded) for p in layer.factors(["default"])]
    assert all(a.equal(b) for a, b in zip(factors, again, strict=True))
    assert logits(loaded.eval(), "llama").equal(logits(model.eval(), "llama"))
    merged = model.merge_and_unload()
    assert merged.dtype == torch.bfloat16
    plain = BoundedLoraConfig(r=4, fp32_factors=False)
    half = inject(make("llama").bfloat16(), plain)
    assert {p.dtype for layer in layers(half) for p in layer.factors(["default"])} == {
        torch.bfloat16
    }


def inject(model, config):
    return peft.inject_adapter_in_model(config, model)


def test_a_classifier_is_trained_and_saved_beside_the_adapter(tmp_path):
    config = BoundedLoraConfig(r=4, modules_to_save=["classifier"])
    model = get_peft_model(make("vit"), config)
    model(**inputs("vit"), labels=torch.tensor([0, 1, 2])).loss.backward()
    trained = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert any("classifier" in name for name in trained)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "modules_to_save" in name:
                p.add_(1)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make("vit"), tmp_path).eval()
    assert logits(loaded, "vit").equal(logits(model.eval(), "vit"))


@pytest.mark.parametrize("bound", ["sine", "identity"])
def test_autocast(bound):
    model = get_peft_model(make("llama"), BoundedLoraConfig(r=4, bound=bound))
    stir(model)
    exact = logits(model, "llama")
    with torch.autocast("cpu", torch.bfloat16):
        out = model(**inputs("llama")).logits
        out.float().square().mean().backward()
    torch.testing.assert_close(out.float(), exact, rtol=0.1, atol=0.05)
    assert all(p.grad.any() for layer in layers(model) for p in layer.factors(["default"]))


def test_weights_are_kept_only_where_nothing_trains():
    model = get_peft_model(make("llama"), BoundedLoraConfig(r=4)).eval()
    stir(model)

    def kept():
        return [keeps(layer) for layer in layers(model)]

    first = logits(model, "llama")
    assert all(kept())
    assert logits(model, "llama").equal(first)
    stir(model, seed=5)
    assert not logits(model, "llama").equal(first)
    model(**inputs("llama"))
    assert not any(kept())
    logits(model, "llama")
    logits(model.train(), "llama")
    assert not any(kept())


@pytest.mark.parametrize("keep", ["never", "step"])
def test_the_other_ways_to_keep_weights(keep):
    model = get_peft_model(make("llama"), BoundedLoraConfig(r=4, keep_weight=keep, seed=1))
    usual = get_peft_model(make("llama"), BoundedLoraConfig(r=4, seed=1))
    for m in (model, usual):
        stir(m)
        m(**inputs("llama")).logits.square().mean().backward()
    grads = [
        [p.grad for layer in layers(m) for p in layer.factors(["default"])] for m in (model, usual)
    ]
    torch.testing.assert_close(*grads)
    expected = keep == "step"
    assert [keeps(layer) for layer in layers(model)] == [expected] * 6


def test_a_rank_above_the_matrix_is_refused_before_anything_is_replaced():
    model = make("llama")
    with pytest.raises(
        ModelError, match=r"layers\.0\.mlp\.gate_proj is 48 x 32.*r = 33.*32 or less"
    ):
        get_peft_model(model, BoundedLoraConfig(r=33))
    assert not layers(model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bound": "sinus"}, "Did you mean sine"),
        ({"r": 0}, "r must be positive"),
        ({"lora_alpha": -1}, "lora_alpha must be positive"),
        ({"omega": float("nan")}, "omega must be positive"),
        ({"scale": 0}, "scale must be positive"),
        ({"scale": "fanin"}, "'fan_in'"),
        ({"keep_weight": "steps"}, "Did you mean step"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ModelError, match=message):
        BoundedLoraConfig(**settings)


def test_an_unknown_architecture_is_told_its_layers():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ModelError, match=r"linear layers 0, 2.*Set target_modules"):
        get_peft_model(model, BoundedLoraConfig(r=2))


def test_only_linear_layers_can_be_adapted():
    with pytest.raises(ModelError, match=r"embed_tokens \(Embedding\)"):
        get_peft_model(make("llama"), BoundedLoraConfig(r=2, target_modules=["embed_tokens"]))


# PEFT only warns of it
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_a_weight_that_two_layers_share_is_refused():
    targets = BoundedLoraConfig(r=2, target_modules=["lm_head"])
    with pytest.raises(ModelError, match=r"lm_head, whose weight model\.embed_tokens has too"):
        get_peft_model(make("llama_tied"), targets)
    model = get_peft_model(make("llama"), targets)
    assert [layer.name for layer in layers(model)] == ["lm_head"]


def test_without_the_plug_in_nothing_is_loaded(tmp_path):
    model = make("llama")
    model.save_pretrained(tmp_path / "base")
    get_peft_model(model, BoundedLoraConfig(r=2)).save_pretrained(tmp_path / "adapter")
    code = (
        "import sys, peft, transformers\n"
        "base = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "assert 'letheon' not in sys.modules\n"
        "peft.PeftModel.from_pretrained(base, sys.argv[2])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "base"), str(tmp_path / "adapter")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "KeyError: 'BOUNDED_LORA'" in result.stderr
