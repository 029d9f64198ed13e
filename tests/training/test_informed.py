"""The informed start of a run: of its own rows, the same at every call, kept for a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from letheon.adapters import BoundedLoraConfig
from letheon.errors import InputError
from letheon.objectives.contract import Needs
from letheon.objectives.gradient_difference import GradientDifference
from letheon.recipe import Adapter, Choice, Training
from letheon.training import loop
from letheon.training.checkpoint import trained_state
from letheon.training.informed import inform
from tiny import tiny_llama, tiny_rows

ROWS = loop.Rows(tiny_rows(20, seed=1), tiny_rows(30, seed=2), pad_id=0)
FILA = Adapter(r=4, start="fila", start_batches=2)


def adapted(bound: str = "sine") -> Any:
    config = BoundedLoraConfig(r=4, bound=bound, seed=0, start="fila")
    return peft.get_peft_model(tiny_llama(seed=0), config)


def state(model: Any) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items() if "bounded_lora_" in k}


def assert_equal(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    assert all(found[k].equal(wanted[k]) for k in found)


def test_the_start_is_that_of_the_rows_and_the_seed(tmp_path: Path) -> None:
    starts = []
    for seed in (0, 0, 1):
        model = adapted()
        inform(model, FILA, ROWS, seed=seed)
        starts.append(state(model))
    assert_equal(starts[0], starts[1])
    assert any(not starts[0][k].equal(starts[2][k]) for k in starts[0])
    assert all(value.any() for value in starts[0].values())


def test_importances_are_squared_gradients_of_the_batches_mean_nll() -> None:
    """Against a loss by hand on the plain model, where each side is one batch."""
    plain = tiny_llama(seed=0).eval()
    weight = plain.model.layers[0].mlp.down_proj.weight
    squares = []
    rows = loop.Rows(ROWS.forget[:5], ROWS.retain[:6], pad_id=0)
    for side in (rows.forget, rows.retain):
        losses = []
        for row in side:
            logits = plain(torch.tensor([row.ids])).logits[0].log_softmax(-1)
            losses += [
                -logits[k - 1, row.ids[k]] for k, is_answer in enumerate(row.answer) if is_answer
            ]
        squares.append(torch.autograd.grad(torch.stack(losses).mean(), weight)[0].square())
    d = (squares[0] / (squares[1] + 1e-5)).sum(1).sqrt()
    u, s, vt = torch.linalg.svd(d[:, None] * weight.detach())
    part = (u[:, :4] * s[:4]) @ vt[:4] / (d[:, None] + 1e-5)
    model = adapted("identity")
    inform(model, FILA, rows, seed=0)
    layer = model.base_model.model.model.layers[0].mlp.down_proj
    A, B = layer.factors(["default"])[2:]
    torch.testing.assert_close(2.0 * B @ A, part, rtol=1e-3, atol=1e-5)


def test_a_resumed_run_reads_what_the_first_one_wrote(tmp_path: Path) -> None:
    file = tmp_path / "start.safetensors"
    first, second, third = adapted(), adapted(), adapted()
    inform(first, FILA, ROWS, seed=0, file=file)
    events: list[dict[str, Any]] = []
    inform(second, FILA, ROWS, seed=1, file=file, watch=events.append)
    assert events == []
    assert_equal(state(second), state(first))
    file.write_bytes(file.read_bytes()[:-100])
    inform(third, FILA, ROWS, seed=0, file=file, watch=events.append)
    assert "looking at the gradients" in events[0]["text"]
    assert_equal(state(third), state(first))


def test_only_the_factors_train_and_the_start_stays() -> None:
    model = adapted()
    inform(model, FILA, ROWS, seed=0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    training = Training(steps=2, batch_size=3, lr=1e-2)
    loop.run(model, GradientDifference(), ROWS, training)
    moved = {k for k, v in model.state_dict().items() if not v.equal(before[k])}
    assert moved == set(trained_state(model))
    assert moved
    assert not [k for k in moved if "0." in k.rpartition("bounded_lora_")[2]]


def test_the_penalty_on_the_product_starts_at_nothing() -> None:
    model = adapted("identity")
    inform(model, FILA, ROWS, seed=0)
    held = (Choice(name="l2_product", params={"weight": 1.0}),)
    events: list[dict[str, Any]] = []
    training = Training(steps=2, batch_size=3, lr=1e-2, stabilisers=held, weights_every=1)
    loop.run(model, GradientDifference(), ROWS, training, watch=events.append)
    penalties = [e["penalty"] for e in events if e["event"] == "step"]
    first = next(e["matrices"] for e in events if e["event"] == "weights")
    assert penalties[0] == pytest.approx(0, abs=1e-5)
    assert penalties[1] == pytest.approx(sum(m["norm"] ** 2 for m in first), rel=1e-3)
    assert penalties[1] > 1e-2


@pytest.mark.parametrize("name", ["clip_factors", "clip_change", "spectral_norm"])
def test_what_shrinks_factors_is_refused_with_an_informed_start(name: str) -> None:
    held = (Choice(name=name, params={"limit": 1.0}),)
    with pytest.raises(InputError, match=r"Got: adapter.start fila on .*use l2_product"):
        loop.check_model(Needs(), adapted("identity"), Training(steps=1, stabilisers=held))


def test_a_side_without_rows_is_refused() -> None:
    with pytest.raises(InputError, match="Got: no retain rows"):
        inform(adapted(), FILA, loop.Rows(ROWS.forget, [], pad_id=0), seed=0)


def test_an_ordinary_start_is_left_alone() -> None:
    model = peft.get_peft_model(tiny_llama(seed=0), BoundedLoraConfig(r=4, seed=0))
    before = state(model)
    inform(model, Adapter(r=4), ROWS, seed=0)
    assert_equal(state(model), before)
