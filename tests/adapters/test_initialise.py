"""FILA against numpy and by hand, and the life of an adapter that has such a start."""

import numpy as np
import peft
import pytest
import torch
import transformers as tf
from adapter_families import FAMILIES, inputs, logits, make, stir

from letheon.adapters import BoundedLoraConfig, bounds, initialise, weight_change
from letheon.adapters.layer import BoundedLoraLayer
from letheon.errors import ModelError

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def test_a_start_worked_by_hand():
    """d = (2, 1); diag(d) W = diag(6, 4): rank 1 is 6 e1 e1^T; over gain 2 the root is sqrt(3)."""
    weight = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    importance = torch.tensor([[1.0, 3.0], [0.5, 0.5]])
    A, B = initialise.fila(weight, importance, r=1, gain=2.0)
    torch.testing.assert_close(A.abs(), torch.tensor([[3**0.5, 0.0]]))
    torch.testing.assert_close(B.abs(), torch.tensor([[3**0.5 / 2.00001], [0.0]]))
    torch.testing.assert_close(2 * B @ A, torch.tensor([[3.0, 0.0], [0.0, 0.0]]), rtol=0, atol=1e-4)


def test_a_start_is_numpys_weighted_low_rank_part():
    rng = np.random.default_rng(0)
    weight, importance = rng.normal(size=(5, 7)), rng.random((5, 7)) ** 4
    d = np.sqrt(importance.sum(1))
    u, s, vt = np.linalg.svd(d[:, None] * weight)
    part = (u[:, :3] * s[:3]) @ vt[:3] / (d[:, None] + 1e-5)
    A, B = initialise.fila(torch.tensor(weight), torch.tensor(importance), r=3, gain=0.7)
    torch.testing.assert_close(0.7 * B @ A, torch.tensor(part, dtype=torch.float32))
    torch.testing.assert_close((A @ A.T).diag().sum(), torch.tensor(s[:3].sum() / 0.7).float())


@pytest.mark.parametrize("name", bounds.names())
def test_within_reach_every_slope_is_above_half(name):
    generator = torch.Generator().manual_seed(0)
    A, B = torch.randn(2, 9, generator=generator), torch.randn(8, 2, generator=generator)
    small = initialise.within_reach(A, B, omega=100.0)
    phase = 100 * small[1] @ small[0]
    assert float(phase.abs().max()) == pytest.approx(initialise.REACH)
    torch.testing.assert_close(phase / phase.norm(), (B @ A) / (B @ A).norm())
    bound = bounds.get(name)
    assert (bound.derivative(phase) > bound.derivative(torch.zeros(())) / 2).all()
    same = initialise.within_reach(*small, omega=50.0)
    assert all(a.equal(b) for a, b in zip(same, small, strict=True))


def test_squared_gradients_are_the_mean_over_tokens():
    """Gradients of w * c are c: (2^2 * 1 + 3^2 * 4) / 5 = 8 and 0 for a weight out of it."""
    w, other = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    losses = [lambda: (2 * w.sum(), 1), lambda: (3 * w.sum(), 4)]
    first, second = initialise.squared_gradients([w, other], losses)
    assert first.tolist() == [8, 8]
    assert second.tolist() == [0, 0, 0]
    assert w.grad is None


def informed(family, bound):
    config = BoundedLoraConfig(r=4, bound=bound, seed=7, start="fila")
    return inform(peft.get_peft_model(make(family), config).eval(), family)


def inform(model, family):
    def loss(power):
        return lambda: (model(**inputs(family)).logits.pow(power).mean(), 1)

    with model.disable_adapter():
        initialise.inform(model, [loss(2)], [loss(4)])
    return model


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bound", ["identity", "sine"])
@pytest.mark.parametrize(
    "family", ["gpt2", "qwen3_moe", "vit", pytest.param("gpt_oss", marks=pytest.mark.slow)]
)
def test_the_life_of_an_informed_adapter(family, bound, tmp_path):
    base, model = logits(make(family), family), informed(family, bound)
    kind = type(make(family))
    layers = [m for m in model.modules() if isinstance(m, BoundedLoraLayer)]
    for layer in layers:
        for A, B, A0, B0 in (layer.factors(["default"], k) for k in range(len(layer.matrices))):
            assert B0.any()
            assert A.equal(A0)
            assert B.equal(B0)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n.split(".")[-2][-1] for n in trained} == {"A", "B"}
    same(logits(model, family), base)
    assert all(w["active_share"] == 0 for w in weight_change(model))
    assert max(w["norm"] for w in weight_change(model)) < 1e-5
    stir(model)
    moved = logits(model, family)
    assert (moved - base).abs().max() > 1e-3
    same(model(**inputs(family)).logits.detach(), moved)  # in panels, no weight kept
    with model.disable_adapter():
        assert logits(model, family).equal(base)
    model.save_pretrained(tmp_path)
    assert logits(peft.PeftModel.from_pretrained(make(family), tmp_path).eval(), family).equal(
        moved
    )
    alone = make(family)
    assert not alone.load_adapter(tmp_path).missing_keys
    assert logits(alone, family).equal(moved)
    model.add_adapter("other", BoundedLoraConfig(r=3, bound="tanh"))
    stir(model, "other", seed=3)
    model.base_model.set_adapter(["default", "other"])
    both = logits(model, family)
    assert (both - moved).abs().max() > 1e-3
    model.merge_adapter()
    same(logits(model, family), both)
    model.unmerge_adapter()
    assert logits(model, family).equal(both)
    model.delete_adapter("other")
    model.base_model.set_adapter(["default"])
    same(logits(model, family), moved)
    merged = model.merge_and_unload()
    assert type(merged) is kind
    same(logits(merged, family), moved)


def test_plain_lora_starts_from_the_important_part_of_the_weight_in_its_own_layout():
    model = informed("gpt2", "identity")
    layer = next(m for m in model.modules() if isinstance(m, BoundedLoraLayer))
    A, B = layer.factors(["default"])[:2]
    part, weight = 2.0 * (B @ A).detach(), layer.weight().detach().t()
    residual = (weight - part).norm() / weight.norm()
    least = torch.linalg.svdvals(weight)[4:].norm() / weight.norm()
    assert least < residual < 1


def test_gradients_reach_the_factors_and_not_the_start():
    model = informed("gpt2", "sine")
    model(**inputs("gpt2")).logits.pow(2).mean().backward()
    grads = {n: p.grad for n, p in model.named_parameters()}
    for name, grad in grads.items():
        assert (grad is not None) == name.endswith(("_A.default", "_B.default"))
    assert all(grad.any() for grad in grads.values() if grad is not None)


def test_an_expert_that_no_token_reaches_keeps_the_ordinary_start():
    experts = {"num_local_experts": 4, "num_experts_per_tok": 1, "num_key_value_heads": 1}
    sizes = {"hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 1, "vocab_size": 30}
    torch.manual_seed(0)
    config = tf.MixtralConfig(**experts, **sizes, num_attention_heads=2)
    model = peft.get_peft_model(
        tf.MixtralForCausalLM(config), BoundedLoraConfig(r=4, seed=0, start="fila")
    ).eval()
    ids = torch.tensor([[3]])

    def loss():
        return model(input_ids=ids).logits.pow(2).mean(), 1

    with model.disable_adapter():
        initialise.inform(model, [loss], [loss])
    layer = next(m for m in model.modules() if isinstance(m, BoundedLoraLayer))
    A, B, A0, _ = layer.factors(["default"], 0)
    reached = [bool(b.any()) for b in B]
    assert sorted(reached) == [False, False, False, True]
    assert all(a.any() for a in A)
    assert A0.equal(A)


def test_an_unknown_start_names_the_nearest():
    with pytest.raises(ModelError, match=r"Got: fyla. Did you mean fila"):
        BoundedLoraConfig(start="fyla")


def test_every_family_here_is_one_of_the_table():
    assert {"gpt2", "qwen3_moe", "vit", "gpt_oss"} <= FAMILIES.keys()
