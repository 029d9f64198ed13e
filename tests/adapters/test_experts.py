"""Stacked experts against transformers' own computation on stacks with the change added."""

import copy
import itertools

import pytest
import torch
import transformers as tf
from adapter_families import EXPERTS, GROUPED, QWEN_MOE, inputs, logits, make, stir
from peft import PeftModel, get_peft_model
from torch.autograd.graph import saved_tensors_hooks
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHExperts
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeExperts

from letheon.adapters import (
    BoundedLoraConfig,
    BoundedLoraExperts,
    blocks,
    bounds,
    mlp_targets,
    weight_change,
)
from letheon.errors import ModelError

N_EXPERTS, WIDTH, INNER, TOKENS, RANK = 5, 12, 10, 9, 3
COMMON = {"hidden_size": WIDTH, "num_attention_heads": 2}

KINDS = {
    "gated": lambda: Qwen3MoeExperts(
        tf.Qwen3MoeConfig(**COMMON, num_experts=N_EXPERTS, moe_intermediate_size=INNER)
    ),
    "transposed, biased, interleaved": lambda: GptOssExperts(
        tf.GptOssConfig(**COMMON, num_local_experts=N_EXPERTS, intermediate_size=INNER)
    ),
    "without a gate": lambda: NemotronHExperts(
        tf.NemotronHConfig(
            **COMMON, n_routed_experts=N_EXPERTS, moe_intermediate_size=INNER, moe_latent_size=None
        )
    ),
}


@pytest.fixture(autouse=True)
def small_tiles():
    """Cut matrices into several ragged panels and tiles even at this size."""
    with blocks.as_on(blocks.Blocks(columns=4, entries=20, tile=9, multiple=2)):
        yield


def problem(kind, *names, dtype=torch.float64):
    """Return adapted experts, tokens [T, H] and their routing [T, 2]; one expert gets no token."""
    torch.manual_seed(0)
    experts = KINDS[kind]().to(dtype)
    experts.config._experts_implementation = "eager"
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    layer = BoundedLoraExperts(experts, "experts")
    for k, bound in enumerate(names):
        layer.add(f"a{k}", BoundedLoraConfig(r=RANK, bound=bound, omega=1.7 + k, scale=0.3 + k))
    layer.set_adapter([f"a{k}" for k in range(len(names))])
    experts.requires_grad_(False)
    stir(layer, r"a\d", size=0.5)
    tokens = torch.randn(TOKENS, WIDTH, dtype=dtype)
    ids = torch.stack([torch.randperm(N_EXPERTS - 1)[:2] for _ in range(TOKENS)])
    routing = torch.rand(TOKENS, 2, dtype=dtype)
    return layer, tokens, ids, routing


def obvious(layer, tokens, ids, routing):
    """Transformers' forward over experts, on stacks that the whole change was added to."""
    experts = copy.copy(layer.get_base_layer())
    experts._parameters = dict(experts._parameters)
    for index, matrix in enumerate(layer.matrices):
        stack = experts._parameters.pop(matrix.weight)
        for name in layer.active():
            A, B = layer.factors([name], index)
            change = layer.changes[name][index]
            delta = change.scale * change.bound.value(change.omega * (B @ A))
            stack = stack + (delta.transpose(1, 2) if matrix.transposed else delta)
        setattr(experts, matrix.weight, stack)
    return experts(tokens, ids, routing)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    "names", [*([n] for n in bounds.names()), ["sine", "identity"]], ids="+".join
)
def test_equals_transformers_on_changed_stacks(kind, names):
    layer, tokens, ids, routing = problem(kind, *names)
    leaves = [tokens.requires_grad_(), routing.requires_grad_()]
    leaves += [p for p in layer.parameters() if p.requires_grad]
    assert len(leaves) == 2 + 4 * len(names)
    results = []
    for function in (layer, lambda *args: obvious(layer, *args)):
        y = function(tokens, ids, routing)
        results.append((y, *torch.autograd.grad(y.square().sum(), leaves)))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", list(KINDS))
def test_nothing_of_a_matrixs_size_is_saved(kind):
    layer, tokens, ids, routing = problem(kind, "sine", "tanh")
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}

    def largest(function):
        saved = []
        with saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
            function(tokens[:4], ids[:4], routing[:4])
        return max(t.numel() for t in saved if t.untyped_storage().data_ptr() not in own)

    least = min(a * b for a, b in (matrix.shape for matrix in layer.matrices))
    assert largest(layer) < least
    assert largest(lambda *args: obvious(layer, *args)) >= N_EXPERTS * least


@pytest.mark.parametrize("kind", list(KINDS))
def test_only_experts_with_tokens_keep_a_weight_and_only_until_a_change(kind):
    layer, tokens, ids, routing = problem(kind, "sine")
    layer.eval()
    with torch.no_grad():
        first = layer(tokens, ids, routing)
        kept = {key: keeper._effective for key, keeper in layer._kept.items()}
        assert set(kept) == set(itertools.product((0, 1), ids.unique().tolist()))
        assert layer(tokens, ids, routing).equal(first)
        assert all(layer._kept[key]._effective is kept[key] for key in kept)
        for index in (0, 1):
            for factor in layer.factors(["a0"], index):
                factor.add_(0.1)
                now = layer(tokens, ids, routing)
                torch.testing.assert_close(now, obvious(layer, tokens, ids, routing))
                assert not now.equal(first)
    layer(tokens, ids, routing)
    assert not layer._kept


def test_weights_kept_for_the_step_serve_the_backward_pass_too():
    layer, tokens, ids, routing = problem("gated", "sine")
    layer.keep_weight["a0"] = "step"
    factors = [f for k in (0, 1) for f in layer.factors(["a0"], k)]
    results = []
    for function in (layer, lambda *args: obvious(layer, *args)):
        y = function(tokens, ids, routing)
        results.append(torch.autograd.grad(y.square().sum(), factors))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)
    kept = [keeper._effective for keeper in layer._kept.values()]
    assert len(kept) == 2 * len(ids.unique())
    assert all(weight is not None for weight in kept)


def test_an_id_past_the_last_expert_yields_nothing():
    # experts spread over processes: another process computes that expert
    layer, tokens, ids, routing = problem("gated", "sine")
    ids[3] = N_EXPERTS
    ids[5, 1] = N_EXPERTS
    y = layer(tokens, ids, routing)
    assert y[3].eq(0).all()
    torch.testing.assert_close(y, obvious(layer, tokens, ids, routing))


def test_autocast():
    layer, tokens, ids, routing = problem("gated", "sine", dtype=torch.float32)
    exact = layer(tokens, ids, routing)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(tokens, ids, routing)
        y.square().sum().backward()
    torch.testing.assert_close(y, exact, rtol=0.05, atol=0.3)
    assert all(f.grad[: N_EXPERTS - 1].any() for k in (0, 1) for f in layer.factors(["a0"], k))


def test_experts_start_apart_and_by_the_seed_alone():
    def draw(seed):
        config = BoundedLoraConfig(r=4, seed=seed)
        model = get_peft_model(make("qwen3_moe"), config)
        layers = [m for m in model.modules() if isinstance(m, BoundedLoraExperts)]
        return [layer.factors(["default"], k)[0].data for layer in layers for k in (0, 1)]

    one, again, other = draw(3), draw(3), draw(4)
    assert all(a.equal(b) for a, b in zip(one, again, strict=True))
    experts = [part for A in (*one, *other) for part in A]
    assert all(not a.equal(b) for a, b in itertools.combinations(experts, 2) if a.shape == b.shape)
    # kaiming-uniform by the matrix's own number of columns, not by the stack's
    assert all(0.9 < A.abs().max() * A.shape[-1] ** 0.5 <= 1 for A in one)


def test_a_merge_that_is_not_finite_leaves_every_stack_as_it_was():
    layer, *_ = problem("gated", "identity")
    before = [p.clone() for p in layer.get_base_layer().parameters()]
    layer.factors(["a0"], 1)[1].data[2] = torch.inf
    with pytest.raises(ModelError, match="must be finite"):
        layer.merge(safe_merge=True)
    assert all(a.equal(b) for a, b in zip(before, layer.get_base_layer().parameters(), strict=True))


def test_loaded_without_memory_for_two(tmp_path):
    model = get_peft_model(make("qwen3_moe"), BoundedLoraConfig(r=4)).eval()
    stir(model)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make("qwen3_moe"), tmp_path, low_cpu_mem_usage=True).eval()
    assert logits(loaded, "qwen3_moe").equal(logits(model, "qwen3_moe"))


def test_the_router_stays_as_it_is():
    model = get_peft_model(make("qwen3_moe"), BoundedLoraConfig(r=4)).train()
    stir(model)
    model(**inputs("qwen3_moe")).logits.square().mean().backward()
    routers = {n: p for n, p in model.named_parameters() if ".mlp.gate." in n}
    assert len(routers) == 2
    assert all(p.grad is None and "base_layer" not in n for n, p in routers.items())


def test_a_stack_is_one_row_of_the_diagnostics():
    model = get_peft_model(make("qwen3_moe"), BoundedLoraConfig(r=4, omega=30.0))
    stir(model, size=0.3)
    rows = weight_change(model)
    parts = ("gate_up_proj", "down_proj")
    assert [row["name"] for row in rows] == [
        f"model.layers.{i}.mlp.experts.{part}" for i in (0, 1) for part in parts
    ]
    layer = model.base_model.model.model.layers[0].mlp.experts
    A, B = layer.factors(["default"], 1)
    delta = 2 / A.shape[-1] ** 0.5 * torch.sin(30 * (B @ A))
    assert rows[1]["norm"] == pytest.approx(delta.norm().item(), rel=1e-5)
    assert rows[1]["max_abs"] == pytest.approx(delta.abs().max().item(), rel=1e-5)
    share = (torch.cos(30 * (B @ A)).abs() < 0.5).double().mean().item()
    assert rows[1]["active_share"] == pytest.approx(share, abs=1e-3)


def test_a_rank_above_a_stacks_matrices_is_refused():
    model = make("qwen3_moe")
    with pytest.raises(ModelError, match=r"experts\.down_proj is 32 x 24.*r = 25.*24 or less"):
        get_peft_model(model, BoundedLoraConfig(r=25))
    assert not [m for m in model.modules() if isinstance(m, BoundedLoraExperts)]


def test_quantised_experts_are_refused():
    model = tf.Qwen3MoeForCausalLM(tf.Qwen3MoeConfig(**QWEN_MOE))
    experts = model.model.layers[0].mlp.experts
    stack = experts.down_proj.data.to(torch.int8)
    experts.down_proj = torch.nn.Parameter(stack, requires_grad=False)
    with pytest.raises(ModelError, match=r"layers\.0\.mlp\.experts.*set target_modules"):
        get_peft_model(model, BoundedLoraConfig(r=2))
    named = BoundedLoraConfig(r=2, target_modules=["layers.0.mlp.experts"])
    with pytest.raises(ModelError, match=r"floating-point weights.*Qwen3MoeExperts"):
        get_peft_model(model, named)


def test_experts_that_do_not_say_how_they_are_stored_are_not_passed_over():
    config = tf.Llama4TextConfig(
        **GROUPED, **EXPERTS, num_local_experts=4, intermediate_size_mlp=48, moe_layers=[1]
    )
    model = tf.Llama4ForCausalLM(config)
    with pytest.raises(ModelError) as error:
        get_peft_model(model, BoundedLoraConfig(r=2))
    said = str(error.value)
    assert "model.layers.1.feed_forward.experts (Llama4TextExperts)" in said
    # what it proposes works, and leaves the router out
    names = said.split("for example to ")[1].rstrip(".").split(", ")
    assert names == ["down_proj", "gate_proj", "up_proj"]
    adapted = get_peft_model(model, BoundedLoraConfig(r=2, target_modules=names))
    assert any("shared_expert" in row["name"] for row in weight_change(adapted))


def test_experts_are_found_wherever_they_are():
    model = torch.nn.ModuleDict({"mixture": KINDS["gated"](), "gate": torch.nn.Linear(4, 4)})
    assert mlp_targets(model) == ["mixture"]
