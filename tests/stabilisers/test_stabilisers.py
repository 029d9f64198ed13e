"""Stabilisers against dense matrices: what they measure, what they leave, what they refuse."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
import transformers as tf

from letheon import registry
from letheon.adapters import BoundedLoraConfig, weight_change
from letheon.adapters.layer import BoundedLoraLayer
from letheon.errors import InputError, RecipeError
from letheon.objectives.contract import Needs
from letheon.objectives.gradient_ascent import GradientAscent
from letheon.recipe import Choice, Training
from letheon.stabilisers._products import products
from letheon.stabilisers.clip_change import ClipChange
from letheon.stabilisers.clip_factors import ClipFactors
from letheon.stabilisers.l2_product import L2Product
from letheon.stabilisers.spectral_norm import SpectralNorm
from letheon.training import loop
from tiny import tiny_llama, tiny_rows

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

ROWS = loop.Rows(tiny_rows(6, seed=1), tiny_rows(9, seed=2), pad_id=0)
SETTINGS = {"l2_product": {"weight": 0.1}, "orthogonal": {"weight": 0.1}}


def adapted(bound: str = "identity", **settings: Any) -> Any:
    config = BoundedLoraConfig(r=4, bound=bound, seed=0, **settings)
    model = peft.get_peft_model(tiny_llama(seed=0), config)
    stir(model, size=0.2)
    return model


def mixture() -> Any:
    torch.manual_seed(0)
    experts = {"num_local_experts": 3, "num_experts_per_tok": 2, "num_key_value_heads": 1}
    sizes = {"hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 1, "vocab_size": 30}
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    config = tf.GptOssConfig(
        **experts, **sizes, num_attention_heads=2, head_dim=8, rope_parameters=rope, pad_token_id=0
    )
    model = peft.get_peft_model(
        tf.GptOssForCausalLM(config), BoundedLoraConfig(r=4, bound="identity", seed=0)
    )
    stir(model, size=0.2)
    return model


def stir(model: Any, *, size: float) -> None:
    """Move every B away from zero."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for product in products(model):
            product.B.copy_(torch.randn(product.B.shape, generator=generator) * size)


def dense(model: Any) -> list[torch.Tensor]:
    """Build every plain change by the definition: ``(alpha / r) B A``, a stack's one by one."""
    found: list[torch.Tensor] = []
    for layer in model.modules():
        if isinstance(layer, BoundedLoraLayer):
            for index in range(len(layer.matrices)):
                A, B = layer.factors(["default"], index)
                parts = [(A, B)] if A.dim() == 2 else list(zip(A, B, strict=True))
                found += [2.0 * (b @ a) for a, b in parts]
    return found


def flat(values: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.reshape(-1) for value in values])


@pytest.mark.parametrize("model", [adapted, mixture])
def test_norms_by_factors_are_those_of_the_dense_change(model: Any) -> None:
    model = model()
    every = list(products(model))
    norms = torch.stack([torch.linalg.matrix_norm(d) for d in dense(model)])
    largest = torch.stack([torch.linalg.svdvals(d)[0] for d in dense(model)])
    torch.testing.assert_close(flat([p.square().sqrt() for p in every]), norms)
    torch.testing.assert_close(flat([p.spectral() for p in every]), largest)


def test_a_product_worked_by_hand() -> None:
    """gain 2, B = (3, 4)^T, A = (1, 0, 2): ||2 B A|| = 2 * 5 * sqrt(5), its only singular value."""
    model = peft.get_peft_model(
        torch.nn.Sequential(torch.nn.Linear(3, 2)),
        BoundedLoraConfig(r=1, bound="identity", target_modules=["0"]),
    )
    (product,) = products(model)
    with torch.no_grad():
        product.A.copy_(torch.tensor([[1.0, 0.0, 2.0]]))
        product.B.copy_(torch.tensor([[3.0], [4.0]]))
    assert product.square().item() == pytest.approx(500)
    assert product.spectral().item() == pytest.approx(500**0.5)
    SpectralNorm(limit=5.0).project(model)
    assert product.B.flatten().tolist() == pytest.approx([3 / 20**0.5, 4 / 20**0.5])
    assert product.A.flatten().tolist() == [1, 0, 2]
    ClipFactors(limit=0.75).project(model)
    assert product.A.flatten().tolist() == [0.75, 0, 0.75]
    assert product.B.flatten().tolist() == pytest.approx([3 / 20**0.5, 0.75])


@pytest.mark.parametrize("model", [adapted, mixture])
def test_a_change_is_clipped_to_its_share_of_the_weight_and_keeps_its_direction(model: Any) -> None:
    model = model()
    before = dense(model)
    every = list(products(model))
    weights = flat([p.weight_norm() for p in every])
    limits = 0.5 * torch.stack([torch.linalg.matrix_norm(d) for d in before]) / weights
    limit = limits.median().item()
    ClipChange(limit=limit).project(model)
    wanted = [
        d * min(1.0, (limit * w / d.norm()).item()) for d, w in zip(before, weights, strict=True)
    ]
    assert any(not torch.allclose(d, w) for d, w in zip(before, wanted, strict=True))
    for mine, other in zip(dense(model), wanted, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("bound", ["sine", "sigmoid"])
def test_a_bounded_change_is_within_the_limit_of_its_product(bound: str) -> None:
    model = adapted(bound, omega=20.0)
    assert max(change["norm"] for change in weight_change(model)) > 0.3
    ClipChange(limit=0.3, of="absolute").project(model)
    assert 0.05 < max(change["norm"] for change in weight_change(model)) <= 0.3


def test_a_change_below_the_limit_is_left_as_it_is() -> None:
    model = adapted()
    before = flat([p.detach().clone() for p in model.parameters() if p.requires_grad])
    for stabiliser in (ClipChange(limit=1e3), SpectralNorm(limit=1e3), ClipFactors(limit=1e3)):
        stabiliser.project(model)
    assert flat([p for p in model.parameters() if p.requires_grad]).equal(before)


@pytest.mark.parametrize("model", [adapted, mixture])
def test_the_penalty_and_its_gradient_are_those_of_the_dense_changes(model: Any) -> None:
    model = model()
    trained = [p for p in model.parameters() if p.requires_grad]
    penalty = L2Product(weight=0.1).penalty(model)
    wanted = 0.1 * sum(d.square().sum() for d in dense(model))
    torch.testing.assert_close(penalty, wanted)
    pairs = (torch.autograd.grad(value, trained) for value in (penalty, wanted))
    for mine, other in zip(*pairs, strict=True):
        torch.testing.assert_close(mine, other)


def trained(stabiliser: str, params: dict[str, Any], **settings: Any) -> tuple[Any, list[Any]]:
    events: list[dict[str, Any]] = []
    model = peft.get_peft_model(
        tiny_llama(seed=0), BoundedLoraConfig(r=4, bound="identity", seed=0)
    )
    training = Training(
        steps=12,
        batch_size=3,
        lr=3e-2,
        stabilisers=(Choice(name=stabiliser, params=params),),
        weights_every=1,
        **settings,
    )
    loop.run(model, GradientAscent(), ROWS, training, watch=events.append)
    return model, events


@pytest.mark.parametrize(
    ("name", "params", "measure"),
    [
        ("clip_factors", {"limit": 0.1}, lambda m: [p.abs().max() for p in _factors(m)]),
        ("clip_change", {"limit": 0.1, "of": "absolute"}, lambda m: [d.norm() for d in dense(m)]),
        ("spectral_norm", {"limit": 0.1}, lambda m: [torch.linalg.svdvals(d)[0] for d in dense(m)]),
    ],
)
def test_an_ascent_is_held_at_the_limit(name: str, params: Any, measure: Any) -> None:
    model, events = trained(name, params)
    assert max(value.item() for value in measure(model)) == pytest.approx(0.1, rel=1e-4)
    assert not [event for event in events if "penalty" in event]


def _factors(model: Any) -> list[torch.Tensor]:
    return [p for p in model.parameters() if p.requires_grad]


def test_a_step_tells_its_penalty_and_a_penalised_ascent_stays_smaller() -> None:
    _, weak = trained("l2_product", {"weight": 1e-6})
    model, strong = trained("l2_product", {"weight": 1.0})
    penalties = [e["penalty"] for e in strong if e["event"] == "step"]
    assert penalties[0] == 0
    last = L2Product(weight=1.0).penalty(model).item()
    norms = [sum(m["norm"] ** 2 for m in e["matrices"]) for e in strong if e["event"] == "weights"]
    assert norms[-1] == pytest.approx(last, rel=1e-4)
    assert penalties[1:] == pytest.approx(norms[:-1], rel=1e-4)
    free = [sum(m["norm"] ** 2 for m in e["matrices"]) for e in weak if e["event"] == "weights"]
    assert norms[-1] < 0.5 * free[-1]


@pytest.mark.parametrize("name", registry.names("letheon.stabilisers"))
def test_without_an_adapter_it_is_refused_before_training(name: str) -> None:
    choice = Choice(name=name, params=SETTINGS.get(name, {"limit": 1.0}))
    training = Training(steps=1, stabilisers=(choice,))
    with pytest.raises(InputError, match=f"stabiliser {name}.*Got: a model without an adapter"):
        loop.check_model(Needs(), tiny_llama(seed=0), training)


@pytest.mark.parametrize(
    ("name", "params", "bound", "settings", "said"),
    [
        ("spectral_norm", {"limit": 1.0}, "sine", {}, "not a bounded function.*clip_change"),
        ("clip_factors", {"limit": 0.0}, "sine", {}, r"greater than 0.*limit = 0\.0"),
        ("clip_change", {}, "sine", {}, "clip_change: Field required"),
        ("clip_change", {"limt": 1}, "sine", {}, "limt. Did you mean limit"),
        ("clip_chance", {}, "sine", {}, "clip_chance.*clip_change"),
        ("clip_factors", {"limit": 1}, "sine", {"offload_optimizer": True}, "does not reach"),
    ],
)
def test_settings_that_do_not_suit_are_refused_before_training(
    name: str, params: Any, bound: str, settings: Any, said: str
) -> None:
    training = Training(steps=1, stabilisers=(Choice(name=name, params=params),), **settings)
    with pytest.raises((InputError, RecipeError), match=said):
        loop.check_model(Needs(), adapted(bound), training)
