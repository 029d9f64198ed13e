"""The whole life of an adapter in every family: make, train, save, load, switch, merge, undo."""

import pytest
import torch
from adapter_families import inputs, logits, make, stir, table
from peft import PeftModel, get_peft_model

from letheon.adapters import BoundedLoraConfig

# PEFT 0.21 still reads the attribute that transformers 5.23 has renamed
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(params=table())
def family(request):
    return request.param


@pytest.fixture(params=["sine", "identity"])
def config(request):
    return BoundedLoraConfig(r=4, bound=request.param, seed=7)


@pytest.fixture
def adapted(family, config):
    model = get_peft_model(make(family), config)
    stir(model)
    return model.eval()


def same(a, b):
    torch.testing.assert_close(a, b, **CLOSE)


def different(a, b):
    return (a - b).abs().max() > 1e-3


def reached(parameter):
    """Whether a gradient came to a factor: of a stack, to that of every expert."""
    if parameter.grad is None:
        return False
    parts = parameter.grad if parameter.dim() == 3 else [parameter.grad]
    return all(part.any() for part in parts)


def test_a_fresh_adapter_changes_nothing(family, config):
    same(logits(get_peft_model(make(family), config).eval(), family), logits(make(family), family))


def test_the_gradient_reaches_the_factors_and_nothing_else(family, adapted):
    adapted.train()
    adapted(**inputs(family)).logits.square().mean().backward()
    parameters = dict(adapted.named_parameters())
    factors = {n for n in parameters if "bounded_lora_" in n}
    assert {n for n, p in parameters.items() if p.requires_grad} == factors
    assert {n for n, p in parameters.items() if p.grad is not None} == factors
    assert not [n for n in factors if not reached(parameters[n])]


def test_saved_and_loaded(family, adapted, tmp_path):
    adapted.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make(family), tmp_path).eval()
    assert logits(loaded, family).equal(logits(adapted, family))
    assert different(logits(loaded, family), logits(make(family), family))


def test_loaded_by_transformers_alone(family, adapted, tmp_path):
    adapted.save_pretrained(tmp_path)
    model = make(family)
    info = model.load_adapter(tmp_path)
    assert not info.missing_keys
    assert not info.unexpected_keys
    assert logits(model, family).equal(logits(adapted, family))
    model.disable_adapters()
    assert logits(model, family).equal(logits(make(family), family))


def test_several_adapters(family, adapted, config):
    first, base = logits(adapted, family), logits(make(family), family)
    other = BoundedLoraConfig(r=3, bound="tanh", attention=True)
    adapted.add_adapter("other", other)
    stir(adapted, "other", seed=3)
    same(logits(adapted, family), first)
    adapted.set_adapter("other")
    second = logits(adapted, family)
    assert different(second, first)
    adapted.base_model.set_adapter(["default", "other"])
    both = logits(adapted, family)
    assert different(both, first)
    assert different(both, second)
    merged = adapted.base_model.merge_and_unload()
    same(logits(merged, family), both)
    assert different(both, base)


def test_disabled_is_the_untouched_model(family, adapted):
    inside = logits(adapted, family)
    with adapted.disable_adapter():
        assert logits(adapted, family).equal(logits(make(family), family))
    assert logits(adapted, family).equal(inside)


def test_merged_and_unmerged(family, adapted):
    weights = {n: p.clone() for n, p in adapted.named_parameters() if "base_layer" in n}
    before = logits(adapted, family)
    same(adapted(**inputs(family)).logits.detach(), before)  # in panels, no weight kept
    adapted.merge_adapter()
    same(logits(adapted, family), before)
    adapted.unmerge_adapter()
    assert all(p.equal(weights[n]) for n, p in adapted.named_parameters() if n in weights)
    assert logits(adapted, family).equal(before)


def test_disabling_a_merged_adapter_unmerges_it(family, adapted):
    adapted.merge_adapter()
    with adapted.disable_adapter():
        assert logits(adapted, family).equal(logits(make(family), family))


def test_merged_for_good_is_an_ordinary_model(family, adapted, tmp_path):
    before = logits(adapted, family)
    merged = adapted.merge_and_unload(safe_merge=True)
    same(logits(merged, family), before)
    merged.save_pretrained(tmp_path)
    same(logits(type(merged).from_pretrained(tmp_path).eval(), family), before)


def test_unloaded_and_deleted(family, adapted, config):
    adapted.add_adapter("other", BoundedLoraConfig(r=2))
    stir(adapted, "other")
    adapted.set_adapter("other")
    adapted.delete_adapter("default")
    assert not [n for n, _ in adapted.named_parameters() if n.endswith(".default")]
    assert different(logits(adapted, family), logits(make(family), family))
    assert logits(adapted.unload(), family).equal(logits(make(family), family))


@pytest.mark.parametrize("family", table(image=False))
def test_greedy_generation_is_that_of_the_merged_model(family, adapted):
    settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    stir(adapted, size=1.0)  # or some untrained models repeat one token, adapted or not
    before = adapted.generate(**inputs(family), **settings)
    merged = adapted.merge_and_unload().generate(**inputs(family), **settings)
    assert before.equal(merged)
    assert not before.equal(make(family).generate(**inputs(family), **settings))


def test_the_model_may_come_from_shards_and_go_to_shards(family, tmp_path):
    kind = type(make(family))
    make(family).save_pretrained(tmp_path / "base", max_shard_size="8KB")
    assert len(list((tmp_path / "base").glob("*.safetensors"))) > 2
    model = get_peft_model(kind.from_pretrained(tmp_path / "base"), BoundedLoraConfig(r=4))
    stir(model)
    before = logits(model.eval(), family)
    assert different(before, logits(make(family), family))
    model.merge_and_unload().save_pretrained(tmp_path / "merged", max_shard_size="8KB")
    assert len(list((tmp_path / "merged").glob("*.safetensors"))) > 2
    same(logits(kind.from_pretrained(tmp_path / "merged").eval(), family), before)


def test_a_bf16_checkpoint_has_fp32_factors(family, tmp_path):
    kind = type(make(family))
    make(family).bfloat16().save_pretrained(tmp_path / "base")
    half = {"dtype": torch.bfloat16}
    model = get_peft_model(
        kind.from_pretrained(tmp_path / "base", **half), BoundedLoraConfig(r=4)
    ).eval()
    assert logits(model, family).dtype == torch.bfloat16
    stir(model)
    cast = {n: v.bfloat16() if v.is_floating_point() else v for n, v in inputs(family).items()}
    model(**cast).logits.float().square().mean().backward()
    factors = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in factors.values())
    model.save_pretrained(tmp_path / "adapter")
    base = kind.from_pretrained(tmp_path / "base", **half)
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert all(p.equal(factors[n]) for n, p in loaded.named_parameters() if n in factors)
    assert logits(loaded, family).equal(logits(model, family))
    merged = model.merge_and_unload()
    assert {p.dtype for n, p in merged.named_parameters()} == {torch.bfloat16}
    assert logits(merged, family).equal(logits(loaded, family))
