"""What losses become at their limits, and where their gradients point."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from letheon.objectives import inverted_hinge, pdu, undial
from letheon.objectives.ce_u import CEU
from letheon.objectives.contract import Objective, Views
from letheon.objectives.gradient_ascent import GradientAscent
from letheon.objectives.sat_imp import SatImp
from letheon.objectives.simnpo import SimNPO
from letheon.objectives.undial import Undial
from letheon.objectives.view import HeldLogits
from letheon.objectives.wga import WGA

TARGETS = torch.tensor([0, 3, 1, 4, 2, 2])
ROWS = torch.tensor([0, 0, 0, 1, 2, 2])
LENGTHS = (3, 1, 2)
COUNTS = {"forget_token": 6, "forget_example": 3}
LOGITS = 2 * torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
P = LOGITS.softmax(-1)
ANSWER = torch.nn.functional.one_hot(TARGETS, 5).bool()


def view(logits: Tensor) -> HeldLogits:
    return HeldLogits(logits, TARGETS, ROWS, LENGTHS)


RETAIN = view(LOGITS)


def gradient(objective: Objective, logits: Tensor = LOGITS) -> Tensor:
    """Return the gradient of the forget term alone, [6, 5]."""
    leaf = logits.clone().requires_grad_()
    reference = Views(forget=view(LOGITS))
    term = objective.loss(Views(view(leaf), RETAIN), reference, objective.init(0)).terms["forget"]
    (term.weight * term.sum / COUNTS[term.unit]).backward()
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize("objective", [WGA(beta=0), SatImp(beta1=0, beta2=0, forget_weight=1)])
def test_without_powers_a_weighted_ascent_is_gradient_ascent(objective: Objective) -> None:
    torch.testing.assert_close(gradient(objective), gradient(GradientAscent()))


def test_sat_imp_without_importance_is_wga() -> None:
    mine, other = SatImp(beta1=3, beta2=0, forget_weight=1), WGA(beta=3)
    torch.testing.assert_close(gradient(mine), gradient(other))


def test_weights_are_constants_of_the_gradient() -> None:
    """d(-w NLL)/dz = w (onehot - p) if w is fixed."""
    p = P[ANSWER]
    weights = p**5 * (1 - p)
    expected = (ANSWER.float() - P) * weights[:, None] / 6
    torch.testing.assert_close(gradient(SatImp(forget_weight=1)), expected)


def test_wga_lowers_the_mean_probability() -> None:
    leaf = LOGITS.clone().requires_grad_()
    leaf.softmax(-1)[ANSWER].mean().backward()
    torch.testing.assert_close(gradient(WGA()), leaf.grad)


def test_a_certain_token_leaves_sat_imp_finite() -> None:
    certain = torch.where(ANSWER, 1e3, -1e3)
    assert gradient(SatImp(), certain).eq(0).all()
    assert gradient(SatImp(beta2=0.5), certain).isfinite().all()


def test_simnpo_with_small_beta_is_ascent_on_the_mean_over_examples() -> None:
    leaf = LOGITS.clone().requires_grad_()
    logp = leaf.log_softmax(-1)[ANSWER]
    torch.stack([part.mean() for part in logp.split(LENGTHS)]).mean().backward()
    found = gradient(SimNPO(beta=1e-4, forget_weight=1))
    torch.testing.assert_close(found, leaf.grad, rtol=1e-3, atol=1e-5)


def test_simnpo_leaves_an_example_alone_that_is_forgotten() -> None:
    far = LOGITS.clone()
    far[3, TARGETS[3]] -= 50
    found = gradient(SimNPO(beta=0.5), far)
    assert found[3].abs().max() < 1e-8
    assert found[0].abs().max() > 1e-4


def test_ce_u_moves_the_answers_mass_to_the_others_in_proportion() -> None:
    """The gradient is p - q: p_t on the answer, -p_t p_v / (1 - p_t) elsewhere."""
    p = P[ANSWER][:, None]
    expected = torch.where(ANSWER, P, -p * P / (1 - p)) / 6
    torch.testing.assert_close(gradient(CEU(ignore_first=0)), expected)
    expected[[0, 3, 4]] = 0  # the first token of each answer
    torch.testing.assert_close(gradient(CEU()), expected)
    assert gradient(CEU(ignore_first=2))[[0, 1, 3, 4, 5]].eq(0).all()


def test_undial_rests_where_the_answers_logit_is_lowered_by_beta() -> None:
    lowered = torch.where(ANSWER, LOGITS - 3, LOGITS)
    assert gradient(Undial(beta=3), lowered).abs().max() < 1e-7
    assert gradient(Undial(beta=3))[ANSWER].gt(0).all()


def test_retain_rows_are_asked_for_where_they_weigh() -> None:
    for kind in (Undial, CEU):
        assert not kind().needs.retain
        both = kind(retain_weight=1.0, retain="kl")
        assert both.needs.retain
        assert both.needs.retain_reference == "distribution"
        assert both.needs.forget_reference == kind().needs.forget_reference


@pytest.mark.parametrize(
    "loss",
    [
        inverted_hinge._hinge,
        partial(undial._to_lowered, beta=2.0),
        pdu._squared_gap,
    ],
)
def test_gradients_are_finite_differences(loss: partial[Tensor]) -> None:
    exact = LOGITS.double().requires_grad_()
    reference = LOGITS.double().flip(1)
    assert torch.autograd.gradcheck(lambda logits: loss(logits, TARGETS, reference), (exact,))
