"""Gradient checkpointing: the same run with less memory, and nothing of it afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import peft
import pytest
import torch
from _measure import peak_bytes
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from letheon.adapters import BoundedLoraConfig
from letheon.data.batch import collate
from letheon.errors import InputError
from letheon.objectives.contract import LossTerms, Needs, Objective, Term, Views
from letheon.objectives.gradient_difference import GradientDifference
from letheon.objectives.kl import KL
from letheon.objectives.npo import NPO
from letheon.recipe import Training
from letheon.training import loop
from letheon.training.checkpoint import trained_state
from letheon.training.forward import Untouched, answer_views
from letheon.training.recompute import recomputing
from tiny import VOCAB, tiny_llama, tiny_rows

ROWS = loop.Rows(tiny_rows(6, seed=1), tiny_rows(9, seed=2), pad_id=0)


@dataclass(frozen=True, kw_only=True)
class Stir(Objective):
    """Makes the hidden states of forget answers large."""

    @property
    def needs(self) -> Needs:
        return Needs(hidden=(1,))

    def loss(self, model: Views, reference: Views, state: Any) -> LossTerms:
        assert model.forget is not None
        size = model.forget.hidden(1).square().mean(-1)
        return LossTerms({"forget": Term(-size.sum(), len(size), "forget_token")})


def with_dropout() -> Any:
    torch.manual_seed(0)
    config = GPT2Config(
        n_embd=32, n_layer=2, n_head=2, vocab_size=VOCAB, n_positions=64, resid_pdrop=0.2
    )
    return GPT2LMHeadModel(config)


def adapted(model: Any) -> Any:
    return peft.get_peft_model(model, BoundedLoraConfig(r=4, seed=0))


def run(model: Any, objective: Objective, **settings: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    training = Training(**{"steps": 4, "batch_size": 4, "lr": 1e-3, **settings})
    torch.manual_seed(5)
    loop.run(model, objective, ROWS, training, watch=events.append)
    return [event for event in events if event["event"] == "step"]


@pytest.mark.parametrize(
    ("make", "objective", "settings"),
    [
        (lambda: adapted(tiny_llama(seed=0)), NPO(), {"accumulate": 2}),
        (lambda: adapted(tiny_llama(seed=0)), KL(), {}),
        (lambda: adapted(tiny_llama(seed=0)), NPO(), {"mixed_precision": "bf16"}),
        (lambda: adapted(tiny_llama(seed=0)), Stir(), {}),
        (lambda: adapted(tiny_llama(seed=0).bfloat16()), GradientDifference(), {}),
        (lambda: adapted(with_dropout()), NPO(), {}),
        (lambda: tiny_llama(seed=0), KL(), {"accumulate": 2}),
    ],
    ids=["npo", "kl", "autocast", "hidden", "bf16", "dropout", "full"],
)
def test_the_same_losses_and_parameters(
    make: Any, objective: Objective, settings: dict[str, Any]
) -> None:
    kept, recomputed = make(), make()
    wanted = run(kept, objective, **settings)
    found = run(recomputed, objective, **settings, gradient_checkpointing=True)
    for mine, other in zip(found, wanted, strict=True):
        assert mine["terms"] == pytest.approx(other["terms"], abs=1e-6, rel=1e-6)
        assert mine["grad_norm"] == pytest.approx(other["grad_norm"], abs=1e-6, rel=1e-6)
    torch.testing.assert_close(trained_state(recomputed), trained_state(kept), atol=1e-6, rtol=0)


def test_a_reference_between_forward_and_backward_changes_no_gradient() -> None:
    batch = collate(ROWS.forget, pad_id=0)
    gradients = []
    for on in (False, True):
        model = adapted(tiny_llama(seed=0)).train()
        factors = [p for p in model.parameters() if p.requires_grad]
        torch.manual_seed(1)
        for factor in factors:
            torch.nn.init.normal_(factor, std=0.02)
        untouched = Untouched(model, KL().needs)
        with recomputing(model, Training(steps=1, gradient_checkpointing=on)):
            logp = answer_views(model, batch).logp()
            reference = untouched.reference(batch, {"forget": 6}, range(6)).forget
            logp.sum().backward()
        assert reference is not None
        assert (reference.logp() - logp).abs().max() > 1e-2
        gradients.append([factor.grad for factor in factors])
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-6, rtol=1e-6)


def test_less_is_kept_for_the_backward_pass() -> None:
    model = adapted(tiny_llama(seed=0, layers=6, hidden=64))
    rows = loop.Rows(tiny_rows(40, seed=1), tiny_rows(40, seed=2), pad_id=0)

    def peak(on: bool) -> int:
        training = Training(steps=1, batch_size=40, lr=1e-3, gradient_checkpointing=on)
        return peak_bytes(lambda: loop.run(model, GradientDifference(), rows, training) and None)

    assert peak(True) < 0.5 * peak(False)


def test_nothing_of_it_is_left_after_a_run_or_an_error() -> None:
    model = adapted(tiny_llama(seed=0))
    ids = torch.tensor([[5, 6, 7]])
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 1, "eos_token_id": None}
    spoken = model.generate(input_ids=ids, use_cache=False, **options)
    run(model, KL(), steps=1, lr=1e-9, gradient_checkpointing=True)

    def fail(event: dict[str, Any]) -> None:
        recomputing.append(any(getattr(m, "gradient_checkpointing", 0) for m in model.modules()))
        raise KeyboardInterrupt

    recomputing: list[bool] = []
    training = Training(steps=1, batch_size=4, gradient_checkpointing=True)
    with pytest.raises(KeyboardInterrupt):
        loop.run(model, NPO(), ROWS, training, watch=fail)
    assert recomputing == [True]
    assert not any(getattr(m, "gradient_checkpointing", False) for m in model.modules())
    embeddings = model.get_input_embeddings()
    assert not embeddings._forward_hooks
    assert not embeddings(ids).requires_grad
    model.train()  # where a layer that recomputes would drop its cache
    assert torch.equal(model.generate(input_ids=ids, use_cache=True, **options), spoken)


def test_a_probe_inside_the_run_generates_with_its_cache() -> None:
    model = adapted(tiny_llama(seed=0))
    caches: list[Any] = []

    def probe(m: Any) -> dict[str, float]:
        m.eval()
        with torch.no_grad():
            out = m(input_ids=torch.tensor([[5, 6, 7]]), use_cache=True)
        caches.append(out.past_key_values.get_seq_length())
        return {}

    training = Training(steps=2, batch_size=4, probe_every=1, gradient_checkpointing=True)
    loop.run(model, NPO(), ROWS, training, probe=probe)
    assert caches == [3, 3]


def test_a_model_that_transformers_cannot_recompute_is_refused() -> None:
    config = AutoConfig.for_model("ctrl", n_embd=16, n_layer=1, n_head=2, dff=32, vocab_size=VOCAB)
    model = AutoModelForCausalLM.from_config(config)
    training = Training(steps=1, batch_size=4, gradient_checkpointing=True)
    with pytest.raises(InputError, match=r"Got: ctrl: .*does not support.*training\.accumulate"):
        loop.check(NPO(), ROWS, training, model)
