"""Values worked by hand: two answers over a vocabulary of two, logits chosen for round odds."""

from __future__ import annotations

import math

import pytest
import torch

from letheon.objectives.contract import Views
from letheon.objectives.gradient_ascent import GradientAscent
from letheon.objectives.gradient_difference import GradientDifference
from letheon.objectives.kl import KL
from letheon.objectives.npo import NPO
from letheon.objectives.view import CachedAnswers, HeldLogits

COUNTS = {"forget_token": 3, "forget_example": 2, "retain_token": 1, "retain_example": 1}


def view(*answers: list[float]) -> HeldLogits:
    """Answers given by the probability of each token; the other entry holds the rest."""
    p = torch.tensor([p for answer in answers for p in answer])
    rows = [i for i, answer in enumerate(answers) for _ in answer]
    return HeldLogits(
        logits=torch.stack([p, 1 - p], dim=1).log(),
        targets=torch.zeros(len(p), dtype=torch.long),
        rows=torch.tensor(rows),
        lengths=tuple(map(len, answers)),
    )


FORGET = view([0.5, 0.25], [0.5])
RETAIN = view([0.8])
NLL_FORGET = (math.log(2) + math.log(4) + math.log(2)) / 3  # mean over the three tokens
NLL_RETAIN = -math.log(0.8)


def test_gradient_ascent() -> None:
    loss = GradientAscent(forget_weight=0.5).loss(Views(FORGET), Views(), None)
    assert loss.total(COUNTS).item() == pytest.approx(-0.5 * NLL_FORGET)


def test_gradient_difference() -> None:
    objective = GradientDifference(forget_weight=0.5, retain_weight=2.0)
    loss = objective.loss(Views(FORGET, RETAIN), Views(), None)
    assert loss.total(COUNTS).item() == pytest.approx(-0.5 * NLL_FORGET + 2 * NLL_RETAIN)
    assert loss.shares(COUNTS)["forget"].item() == pytest.approx(NLL_FORGET)


def test_kl_is_from_the_untouched_model_to_the_model() -> None:
    untouched = view([0.5])
    loss = KL(forget_weight=0.0).loss(Views(FORGET, RETAIN), Views(retain=untouched), None)
    by_hand = 0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)
    assert loss.total(COUNTS).item() == pytest.approx(by_hand)


def test_npo() -> None:
    # summed log-probabilities: model log(1/8), log(1/2); untouched log(1/2), log(1/2)
    untouched = CachedAnswers([torch.tensor([0.5, 1.0]).log(), torch.tensor([0.5]).log()])
    objective = NPO(beta=0.5, forget_weight=1.0, retain_weight=0.0)
    loss = objective.loss(Views(FORGET, RETAIN), Views(forget=untouched), None)
    # softplus(0.5 log(1/4)) = log(1 + 1/2); softplus(0) = log 2; times 2 / 0.5, mean of two
    by_hand = 4 * (math.log(1.5) + math.log(2)) / 2
    assert loss.total(COUNTS).item() == pytest.approx(by_hand)


def test_npo_with_small_beta_has_the_gradient_of_ascent() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    gradients = []
    for objective in (NPO(beta=1e-4, retain_weight=0.0), GradientAscent()):
        leaf = logits.clone().requires_grad_()
        targets, rows = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 3])
        model = HeldLogits(leaf, targets, rows, (1, 1, 1, 1))
        reference = Views(forget=HeldLogits(logits, targets, rows, (1, 1, 1, 1)))
        counts = {"forget_token": 4, "forget_example": 4, "retain_token": 1}
        retain = RETAIN if objective.needs.retain else None
        objective.loss(Views(model, retain), reference, None).total(counts).backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)


def test_a_cached_reference_refuses_distributions() -> None:
    with pytest.raises(TypeError, match="distribution"):
        CachedAnswers([torch.zeros(2)]).reduce(lambda logits, targets, other: targets)
