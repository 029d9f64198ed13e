"""Values worked by hand: two answers over a vocabulary of two, logits chosen for round odds."""

from __future__ import annotations

import math

import pytest
import torch

from letheon.objectives.ce_u import CEU
from letheon.objectives.contract import Views
from letheon.objectives.gradient_ascent import GradientAscent
from letheon.objectives.gradient_difference import GradientDifference
from letheon.objectives.inverted_hinge import InvertedHinge
from letheon.objectives.kl import KL
from letheon.objectives.npo import NPO
from letheon.objectives.pdu import PDU
from letheon.objectives.sat_imp import SatImp
from letheon.objectives.simnpo import SimNPO
from letheon.objectives.undial import Undial
from letheon.objectives.view import CachedAnswers, HeldLogits
from letheon.objectives.wga import WGA

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


def test_simnpo() -> None:
    # mean nll per token: 1.5 log 2 and log 2; softplus(-2 (1.5 log 2)) = log(1 + 1/8), log(1 + 1/4)
    loss = SimNPO(beta=2.0, forget_weight=0.5).loss(Views(FORGET, RETAIN), Views(), None)
    by_hand = 0.5 * (2 / 2) * (math.log(9 / 8) + math.log(5 / 4)) / 2 + NLL_RETAIN
    assert loss.total(COUNTS).item() == pytest.approx(by_hand)
    # with delta log 2: softplus(-2 (0.5 log 2)) = log(1 + 1/2), softplus(0) = log 2
    margin = SimNPO(beta=2.0, delta=math.log(2)).loss(Views(FORGET, RETAIN), Views(), None)
    assert margin.shares(COUNTS)["forget"].item() == pytest.approx(math.log(1.5 * 2) / 2)


def test_inverted_hinge() -> None:
    loss = InvertedHinge(retain_weight=2.0).loss(Views(FORGET, RETAIN), Views(), None)
    # 1 + p - (1 - p) for p = 1/2, 1/4, 1/2
    assert loss.total(COUNTS).item() == pytest.approx((1 + 0.5 + 1) / 3 + 2 * NLL_RETAIN)
    p = torch.tensor([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]])
    three = HeldLogits(p.log(), torch.tensor([0, 1]), torch.tensor([0, 0]), (2,))
    found = InvertedHinge().loss(Views(three, RETAIN), Views(), None).terms["forget"].sum
    assert found.item() == pytest.approx((1 + 0.2 - 0.5) + (1 + 0.5 - 0.3))


def test_undial() -> None:
    untouched = view([0.75, 0.5], [0.25])
    loss = Undial(beta=math.log(3)).loss(Views(FORGET), Views(forget=untouched), None)
    # odds 3, 1, 1/3 become 1, 1/3, 1/9: the targets are 1/2, 1/4, 1/10 against 1/2, 1/4, 1/2
    second = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert loss.total(COUNTS).item() == pytest.approx((2 * math.log(2) + second) / 3)
    assert set(loss.terms) == {"forget"}


def test_ce_u() -> None:
    # of two tokens all mass goes to the other: -log(1 - p)
    every = CEU(ignore_first=0).loss(Views(FORGET), Views(), None)
    by_hand = (2 * math.log(2) - math.log(0.75)) / 3
    assert every.total(COUNTS).item() == pytest.approx(by_hand)
    later = CEU(retain_weight=2.0).loss(Views(FORGET, RETAIN), Views(), None)
    by_hand = -math.log(0.75) / 3 + 2 * NLL_RETAIN
    assert later.total(COUNTS).item() == pytest.approx(by_hand)


def test_wga() -> None:
    loss = WGA(beta=2.0, forget_weight=0.5).loss(Views(FORGET, RETAIN), Views(), None)
    weighted = (math.log(2) / 4 + math.log(4) / 16 + math.log(2) / 4) / 3
    assert loss.total(COUNTS).item() == pytest.approx(-0.5 * weighted + NLL_RETAIN)


def test_sat_imp() -> None:
    loss = SatImp(beta1=2.0, forget_weight=0.5).loss(Views(FORGET, RETAIN), Views(), None)
    # weights 1/4 * 1/2, 1/16 * 3/4, 1/4 * 1/2
    weighted = (math.log(2) / 8 + math.log(4) * 3 / 64 + math.log(2) / 8) / 3
    assert loss.total(COUNTS).item() == pytest.approx(-0.5 * weighted + NLL_RETAIN)


def test_pdu() -> None:
    objective = PDU(eps=NLL_RETAIN - 0.5, dual_step=2.0, retain_weight=3.0)
    state = objective.init(0)
    loss = objective.loss(Views(FORGET, RETAIN), Views(), state)
    # log 3/4 lies log 3 / 2 above the mean of it and log 1/4; the other tokens are even
    flat = (math.log(3) / 2) ** 2 / 3
    assert loss.total(COUNTS).item() == pytest.approx(flat + 3 * NLL_RETAIN)
    state = objective.update(state, {"forget": flat, "retain": NLL_RETAIN})
    assert state["dual"] == pytest.approx(3 + 2 * 0.5)
    loss = objective.loss(Views(FORGET, RETAIN), Views(), state)
    assert loss.total(COUNTS).item() == pytest.approx(flat + 4 * NLL_RETAIN)
