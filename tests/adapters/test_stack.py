"""Stacked adapters: earlier ones on and fixed, the newest alone trains, their sum is merged."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from letheon.adapters import BoundedLoraConfig
from letheon.adapters.arithmetic import principal_angles, read_factors
from letheon.adapters.stack import NEWEST, fixed, lay, on_top, without_trained
from letheon.objectives.npo import NPO
from letheon.recipe import Choice, Training
from letheon.stabilisers.orthogonal import Orthogonal
from letheon.training import loop
from tiny import tiny_llama, tiny_rows

IDS = torch.tensor([[3, 4, 5, 6]])
ROWS = loop.Rows(tiny_rows(6, seed=1), tiny_rows(9, seed=2), pad_id=0)


def base() -> Any:
    return tiny_llama(seed=0, layers=1).eval()


def config(seed: int, bound: str = "sine", r: int = 4) -> BoundedLoraConfig:
    return BoundedLoraConfig(r=r, bound=bound, seed=seed)


def move(model: Any, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.1, generator=generator)
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters of different bound and rank, saved as runs save them."""
    folder = tmp_path_factory.mktemp("adapters")
    places = []
    for k, (bound, r) in enumerate([("sine", 4), ("identity", 3)]):
        places.append(folder / str(k))
        move(peft.get_peft_model(base(), config(k, bound, r)), k).save_pretrained(places[-1])
    return places


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(IDS).logits
    return found


def weights(model: Any) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters()}


def expected(saved: list[Path]) -> Any:
    """The base with each adapter's change, taken alone, added by hand."""
    start, model = weights(base()), base()
    for place in saved:
        one = weights(peft.PeftModel.from_pretrained(base(), str(place)).merge_and_unload())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter += one[name] - start[name]
    return model


def test_earlier_adapters_add_up_and_a_fresh_one_changes_nothing(saved: list[Path]) -> None:
    model = on_top(lay(base(), saved), config(9))
    torch.testing.assert_close(logits(model), logits(expected(saved)), rtol=1e-4, atol=1e-5)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all(f".{NEWEST}" in name for name in trained)
    assert fixed(model) == ["earlier0", "earlier1"]


def test_what_is_saved_is_the_newest_alone_and_what_is_merged_is_all(
    saved: list[Path], tmp_path: Path
) -> None:
    model = move(on_top(lay(base(), saved), config(9)), 9)
    model.save_pretrained(tmp_path / "own", selected_adapters=[NEWEST])
    assert not [p for p in (tmp_path / "own").iterdir() if p.is_dir()]
    said = logits(model)
    again = lay(base(), [*saved, tmp_path / "own"])
    torch.testing.assert_close(logits(again), said)
    torch.testing.assert_close(logits(model.merge_and_unload()), said, rtol=1e-4, atol=1e-5)
    assert (said - logits(expected(saved))).abs().max() > 1e-3


@pytest.mark.parametrize("earlier", [0, 2])
def test_the_reference_has_earlier_adapters_on_and_the_newest_off(
    saved: list[Path], earlier: int
) -> None:
    model = move(on_top(lay(base(), saved[:earlier]), config(9)), 9)
    before, trained = logits(model), [p.requires_grad for p in model.parameters()]
    with without_trained(model):
        untouched = logits(model)
    torch.testing.assert_close(untouched, logits(expected(saved[:earlier])), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits(model), before)
    assert [p.requires_grad for p in model.parameters()] == trained


def test_training_starts_from_its_reference_and_moves_the_newest_alone(saved: list[Path]) -> None:
    model = on_top(lay(base(), saved), config(9))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    events: list[dict] = []
    training = Training(
        steps=2, batch_size=3, lr=1e-2, stabilisers=(Choice(name="orthogonal"),), weights_every=1
    )
    loop.run(model, NPO(beta=0.2), ROWS, training, watch=events.append)
    first = next(e for e in events if e["event"] == "step")
    assert first["terms"]["forget"] == pytest.approx(10 * math.log(2), rel=1e-5)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p.detach(), before[n])}
    assert moved == {n for n, p in model.named_parameters() if p.requires_grad}


def test_without_numbers_the_shapes_are_those_of_the_saved_ones(saved: list[Path]) -> None:
    shapes = []
    for numbers in (True, False):
        model = on_top(lay(base(), saved, numbers=numbers), config(9))
        shapes.append({k: (p.shape, p.requires_grad) for k, p in model.named_parameters()})
    assert shapes[0] == shapes[1]


def test_the_penalty_is_the_overlap_of_what_adapters_read(saved: list[Path]) -> None:
    model = on_top(lay(base(), saved), config(9))
    own = read_of(model, NEWEST)
    by_hand = sum(
        float((own[name] @ other[name].T).square().sum())
        for other in (read_of(model, "earlier0"), read_of(model, "earlier1"))
        for name in own
    )
    penalty = Orthogonal(weight=0.3).penalty(model)
    assert penalty is not None
    assert penalty.item() == pytest.approx(0.3 * by_hand, rel=1e-5)
    penalty.backward()
    grads = {name for name, p in model.named_parameters() if p.grad is not None}
    assert grads == {name for name, p in model.named_parameters() if f"_A.{NEWEST}" in name}
    assert Orthogonal().penalty(on_top(base(), config(9))) is None


def read_of(model: Any, adapter: str) -> dict[str, Tensor]:
    end = f"_A.{adapter}"
    return {n.removesuffix(end): p.detach() for n, p in model.named_parameters() if n.endswith(end)}


def test_angles_between_row_spaces_are_those_of_geometry() -> None:
    thirty = math.radians(30)
    flat = torch.tensor([[2.0, 0, 0, 0], [1.0, 3.0, 0, 0]])
    tilted = torch.tensor([[math.cos(thirty), 0, math.sin(thirty), 0], [0, 0, 0, 5.0]])
    found = principal_angles(flat, tilted)
    torch.testing.assert_close(found, torch.tensor([30.0, 90.0], dtype=torch.float64))
    same = principal_angles(flat, flat[:1])
    torch.testing.assert_close(same, torch.zeros(1, dtype=torch.float64), atol=1e-5, rtol=0)


def test_what_an_adapter_reads_is_found_in_its_folder(saved: list[Path]) -> None:
    found = read_factors(saved[0])
    every = load_file(saved[0] / "adapter_model.safetensors")
    assert len(found) == len(every) // 2
    assert all(factor.shape[0] == 4 for factor in found.values())
