"""The whole life of an adapter in every family: make, train, save, load, switch, merge, undo."""

import pytest
import torch
from adapter_families import MAKERS, inputs, logits, make, stir
from peft import PeftModel, get_peft_model

from letheon.adapters import BoundedLoraConfig

# PEFT 0.21 still reads the attribute that transformers 5.23 has renamed
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(params=list(MAKERS))
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


def test_a_fresh_adapter_changes_nothing(family, config):
    before = logits(make(family), family)
    assert logits(get_peft_model(make(family), config).eval(), family).equal(before)


def test_the_gradient_reaches_the_factors_and_nothing_else(family, adapted):
    adapted.train()
    adapted(**inputs(family)).logits.square().mean().backward()
    reached = {n for n, p in adapted.named_parameters() if p.grad is not None and p.grad.any()}
    factors = {n for n, _ in adapted.named_parameters() if "bounded_lora_" in n}
    assert reached == factors
    assert {n for n, p in adapted.named_parameters() if p.requires_grad} == factors


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


@pytest.mark.parametrize("family", [name for name in MAKERS if name != "vit"])
def test_greedy_generation_is_that_of_the_merged_model(family, adapted):
    settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    before = adapted.generate(**inputs(family), **settings)
    merged = adapted.merge_and_unload().generate(**inputs(family), **settings)
    assert before.equal(merged)
    assert not before.equal(make(family).generate(**inputs(family), **settings))
