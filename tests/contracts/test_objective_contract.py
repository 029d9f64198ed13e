"""What every objective promises; a new file in `objectives/` is found and tested by itself."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from letheon import registry
from letheon.adapters import BoundedLoraConfig
from letheon.data.template import Encoded
from letheon.objectives.contract import Needs, Objective, Unit, Views
from letheon.objectives.view import HeldLogits
from letheon.recipe import Training
from letheon.training import loop
from tiny import made_objective, tiny_llama, tiny_rows

NAMES = registry.names("letheon.objectives")


def _view(seed: int, needs: Needs, lengths: tuple[int, ...] = (3, 1, 4)) -> HeldLogits:
    generator = torch.Generator().manual_seed(seed)
    n = sum(lengths)
    return HeldLogits(
        logits=torch.randn(n, 11, generator=generator, requires_grad=True),
        targets=torch.randint(0, 11, (n,), generator=generator),
        rows=torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)),
        lengths=lengths,
        states={k: torch.randn(n, 6, generator=generator).requires_grad_() for k in needs.hidden},
    )


def _inputs(objective: Objective) -> tuple[Views, Views]:
    needs = objective.needs
    kinds = (needs.forget_reference, needs.retain_reference, needs.preferred_reference)
    return (
        Views(
            _view(0, needs) if needs.forget else None,
            _view(1, needs) if needs.retain else None,
            _view(2, needs) if needs.preferred else None,
        ),
        Views(*(_view(3 + k, needs) if kind != "none" else None for k, kind in enumerate(kinds))),
    )


def _sides(views: Views) -> list[HeldLogits | None]:
    return [views.forget, views.retain, views.preferred]  # type: ignore[list-item]


COUNTS: dict[Unit, int] = {
    "forget_token": 8,
    "forget_example": 3,
    "retain_token": 8,
    "retain_example": 3,
    "preferred_token": 8,
}


@pytest.mark.parametrize("name", NAMES)
def test_is_a_frozen_dataclass_that_declares_its_needs(name: str) -> None:
    objective = made_objective(name)
    assert dataclasses.is_dataclass(objective)
    assert isinstance(objective.needs, Needs)
    for field in dataclasses.fields(objective):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(objective, field.name, 0)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "finetune"])
def test_its_first_line_names_the_paper(name: str) -> None:
    line = registry.summary("letheon.objectives", name)
    assert re.search(r"\([A-Z][^()]* \d{4}, arXiv \d{4}\.\d{4,5}\)", line), line


@pytest.mark.parametrize("name", NAMES)
def test_terms_count_what_they_sum(name: str) -> None:
    objective = made_objective(name)
    model, reference = _inputs(objective)
    terms = objective.loss(model, reference, objective.init(0)).terms
    assert terms
    for term in terms.values():
        assert term.sum.shape == ()
        assert torch.isfinite(term.sum)
        assert term.count == COUNTS[term.unit]


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_side_it_needs(name: str) -> None:
    objective = made_objective(name)
    model, reference = _inputs(objective)
    terms = objective.loss(model, reference, objective.init(0))
    terms.total({t.unit: t.count for t in terms.terms.values()}).backward()
    for view in _sides(model):
        if view is not None:
            leaves = [view.logits, *(view.states or {}).values()]
            assert sum(leaf.grad.abs().sum() for leaf in leaves if leaf.grad is not None) > 0


@pytest.mark.parametrize("name", NAMES)
def test_sums_add_up_over_micro_batches(name: str) -> None:
    """Cutting a batch into examples and adding the shares gives the loss of the whole."""
    objective = made_objective(name)
    model, reference = _inputs(objective)
    state = objective.init(0)
    whole = objective.loss(model, reference, state)
    pieces = torch.zeros(())
    for cut in (0, 1):  # the first example, then the other two
        own, ref = (Views(*(v and v.split(1)[cut] for v in _sides(s))) for s in (model, reference))
        pieces = pieces + objective.loss(own, ref, state).total(COUNTS)
    torch.testing.assert_close(pieces, whole.total(COUNTS), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_accumulation_does_not_change_a_loss_term(name: str) -> None:
    """Batch 4 at once, 2 accumulated twice, 1 accumulated four times: the same terms to 1e-5."""
    runs = {accumulate: _losses(name, accumulate) for accumulate in (1, 2, 4)}
    assert len(runs[1]) == 3
    for accumulate in (2, 4):
        for one, other in zip(runs[1], runs[accumulate], strict=True):
            assert one.keys() == other.keys()
            for term in one:
                assert other[term] == pytest.approx(one[term], rel=1e-5, abs=1e-5)


def _losses(name: str, accumulate: int) -> list[dict[str, float]]:
    import peft

    model = peft.get_peft_model(tiny_llama(seed=0), BoundedLoraConfig(r=4, seed=0))
    rows: list[Encoded] = tiny_rows(12, seed=1)
    events: list[dict] = []
    loop.run(
        model,
        made_objective(name),
        loop.Rows(rows[:6], rows[6:], 0, tiny_rows(6, seed=2)),
        Training(steps=3, batch_size=4, accumulate=accumulate, lr=1e-2),
        watch=events.append,
    )
    return [e["terms"] for e in events if e["event"] == "step"]
