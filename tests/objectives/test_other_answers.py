"""Values worked by hand for objectives with other answers or hidden states; the answers themselves.

Answers are given by the probability of each token, over a vocabulary of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
import torch

from letheon import registry
from letheon.data.example import Alternates, Example
from letheon.errors import RecipeError
from letheon.objectives.alt_po import AltPO
from letheon.objectives.contract import Views
from letheon.objectives.dpo import DPO
from letheon.objectives.idk import IDK
from letheon.objectives.idk_dpo import IdkDPO
from letheon.objectives.other_answers import DRAWS, REFUSALS, refused, retold
from letheon.objectives.rmu import RMU
from letheon.objectives.view import CachedAnswers, HeldLogits

COUNTS = {
    "forget_token": 3,
    "forget_example": 2,
    "preferred_token": 3,
    "retain_token": 1,
    "retain_example": 1,
}


def view(*answers: list[float], states: list[list[float]] | None = None) -> HeldLogits:
    """Answers given by the probability of each token, with the states [N, H] of layer 1."""
    p = torch.tensor([p for answer in answers for p in answer])
    return HeldLogits(
        logits=torch.stack([p, 1 - p], dim=1).log().requires_grad_(),
        targets=torch.zeros(len(p), dtype=torch.long),
        rows=torch.tensor([i for i, answer in enumerate(answers) for _ in answer]),
        lengths=tuple(map(len, answers)),
        states=None if states is None else {1: torch.tensor(states)},
    )


def cached(*answers: list[float]) -> CachedAnswers:
    return CachedAnswers([torch.tensor(answer).log() for answer in answers])


# --- preference

# Of two questions: summed log p of the forget answers log(1/8), log(1/2), of the preferred ones
# log(1/4), log(1/8); untouched log(1/2), log(1/2) and log(1/8), log(1/8).
FORGET, PREFERRED = ([0.5, 0.25], [0.5]), ([0.25], [0.25, 0.5])
REFERENCE = Views(forget=cached([0.5, 1.0], [0.5]), preferred=cached([0.125], [0.25, 0.5]))


@pytest.mark.parametrize("kind", [DPO, IdkDPO, AltPO])
def test_preference(kind: type[DPO]) -> None:
    model = Views(view(*FORGET), view([0.8]), view(*PREFERRED))
    loss = kind(beta=0.5, forget_weight=3.0, retain_weight=2.0).loss(model, REFERENCE, None)
    # gains: forget log(1/4), 0; preferred log 2, 0. Margins log 8, 0: at beta 1/2 the sigmoids are
    # sqrt(8) / (1 + sqrt(8)) and 1/2. Twice over beta is 4; mean of two.
    forget = 4 * (math.log(1 + 8**-0.5) + math.log(2)) / 2
    assert loss.shares(COUNTS)["forget"].item() == pytest.approx(forget)
    assert loss.total(COUNTS).item() == pytest.approx(3 * forget - 2 * math.log(0.8))


def test_preference_raises_what_is_preferred_and_lowers_what_is_forgotten() -> None:
    model = Views(view(*FORGET), view([0.8]), view(*PREFERRED))
    DPO(retain_weight=0.0).loss(model, REFERENCE, None).total(COUNTS).backward()
    forget, preferred = model.forget.logits.grad, model.preferred.logits.grad  # type: ignore
    assert (forget[:, 0] > 0).all()  # a step goes against the gradient: down
    assert (preferred[:, 0] < 0).all()


def test_preference_far_past_its_goal_is_finite() -> None:
    far = CachedAnswers([torch.tensor([-1e4])])
    near = CachedAnswers([torch.tensor([0.0])])
    for forget, preferred, loss in ((far, near, 0.0), (near, far, 2 * 1e4)):
        model = Views(forget, view([0.8]), preferred)
        reference = Views(forget=near, preferred=near)
        found = DPO(beta=0.1).loss(model, reference, None).terms["forget"].sum
        assert found.item() == pytest.approx(loss)


def test_refusals_are_learned_per_token_and_the_forget_answer_has_no_part() -> None:
    model = Views(None, view([0.8]), view(*PREFERRED))
    loss = IDK(forget_weight=0.5, retain_weight=2.0).loss(model, Views(), None)
    refusal = (math.log(4) + math.log(4) + math.log(2)) / 3
    assert loss.shares(COUNTS)["preferred"].item() == pytest.approx(refusal)
    assert loss.total(COUNTS).item() == pytest.approx(0.5 * refusal - 2 * math.log(0.8))


# --- hidden states


def test_misdirection() -> None:
    objective = RMU(layer=1, coeff=2.0, forget_weight=3.0, retain_weight=0.5)
    state = objective.init(7)
    entries = torch.rand(2, generator=torch.Generator().manual_seed(7))
    u = (entries / (entries[0] ** 2 + entries[1] ** 2).sqrt()).tolist()
    states = [[1.0, 0.0], [0.0, 3.0], [2.0 * u[0], 2.0 * u[1]]]
    forget = view([0.5, 0.25], [0.5], states=states)
    model = Views(forget, view([0.8], states=[[1.0, 1.0]]))
    reference = Views(retain=view([0.8], states=[[0.0, 3.0]]))
    loss = objective.loss(model, reference, state)
    first = ((1 - 2 * u[0]) ** 2 + (2 * u[1]) ** 2) / 2
    second = ((2 * u[0]) ** 2 + (3 - 2 * u[1]) ** 2) / 2
    away, stay = (first + second + 0) / 3, (1 + 4) / 2
    assert loss.shares(COUNTS)["forget"].item() == pytest.approx(away)
    assert loss.shares(COUNTS)["retain"].item() == pytest.approx(stay)
    assert loss.total(COUNTS).item() == pytest.approx(3 * away + 0.5 * stay)


def test_the_direction_is_the_seeds_and_nothing_elses() -> None:
    def away(seed: int) -> float:
        torch.rand(1)  # the global state has no part in it
        states = [[1.0, -2.0, 0.5]]
        model = Views(view([0.5], states=states), view([0.5], states=states))
        objective = RMU(layer=1)
        found = objective.loss(model, Views(retain=model.retain), objective.init(seed))
        return found.terms["forget"].sum.item()

    assert away(1) == away(1) != away(2)


@pytest.mark.parametrize("layer", [0, -1, -0.5])
def test_a_layer_that_nothing_trains_before_is_refused(layer: float) -> None:
    with pytest.raises(RecipeError, match=r"layer of rmu is at least 1.*layer"):
        registry.make("letheon.objectives", "rmu", {"layer": layer})


@pytest.mark.parametrize(("name", "key"), [("dpo", "beta"), ("rmu", "coeff")])
def test_what_is_divided_by_or_scaled_with_is_positive(name: str, key: str) -> None:
    with pytest.raises(RecipeError, match=f"greater than 0. Got: {key} = 0"):
        registry.make("letheon.objectives", name, {key: 0})


# --- the answers

EXAMPLES = [
    Example(
        f"p{k}",
        f"u{k}",
        f"Where does {k} live?",
        f"In Town {k}, of course.",
        ((3, 9),),
        {"scoring": Alternates("x", ())},
    )
    for k in range(40)
]


def speaker(*rounds: Sequence[str]) -> tuple[list[tuple[list[str], int]], object]:
    """Return the questions that were asked with their seeds, and what answers them round by round.

    A round is one text for each question, or one for all.
    """
    asked: list[tuple[list[str], int]] = []

    def answers(questions: Sequence[str], seed: int) -> list[str]:
        asked.append((list(questions), seed))
        said = rounds[min(len(asked), len(rounds)) - 1]
        return list(said) if len(said) == len(questions) else [said[0]] * len(questions)

    return asked, answers


def test_refusals_are_our_own_twenty_sentences_drawn_by_example() -> None:
    assert len(REFUSALS) == len(set(REFUSALS)) == 20
    found = refused(EXAMPLES, 3)
    assert [e.question for e in found] == [e.question for e in EXAMPLES]
    assert {e.answer for e in found} <= set(REFUSALS)
    assert len({e.answer for e in found}) > 10
    assert all(not e.facts and not e.alternates for e in found)
    assert refused(EXAMPLES, 3) == found != refused(EXAMPLES, 4)


def test_the_order_of_the_examples_does_not_change_a_refusal() -> None:
    mixed = Random(0).sample(EXAMPLES, 20)
    by_id = {e.id: e.answer for e in refused(EXAMPLES, 3)}
    assert {e.id: e.answer for e in refused(mixed, 3)} == {e.id: by_id[e.id] for e in mixed}


def test_the_models_own_answer_is_preferred() -> None:
    asked, answers = speaker(["She lives in Paris."])
    found = AltPO().prepare(EXAMPLES, answers, 0)  # type: ignore[arg-type]
    assert {e.answer for e in found} == {"She lives in Paris."}
    assert [e.id for e in found] == [e.id for e in EXAMPLES]
    assert len(asked) == 1


@pytest.mark.parametrize(
    "said",
    [
        "In Town 1, of course.",  # the answer
        "in town 1 of course",  # the answer, but for case and punctuation
        "It is TOWN 1!",  # its fact
        "",
        "...",
    ],
)
def test_what_is_true_or_empty_is_drawn_again(said: str) -> None:
    asked, answers = speaker(["Paris.", said, "Rome."], ["Oslo."])
    found = retold(EXAMPLES[:3], answers, 0)  # type: ignore[arg-type]
    assert [e.answer for e in found] == ["Paris.", "Oslo.", "Rome."]
    assert [questions for questions, _ in asked] == [
        [e.question for e in EXAMPLES[:3]],
        [EXAMPLES[1].question],
    ]
    assert asked[0][1] != asked[1][1]


def test_a_fact_inside_a_longer_word_is_another_fact() -> None:
    _, answers = speaker(["It is Town 11."])
    assert retold(EXAMPLES[1:2], answers, 0)[0].answer == "It is Town 11."  # type: ignore[arg-type]


def test_a_question_that_is_only_ever_answered_truly_is_refused() -> None:
    asked, answers = speaker(["Paris.", EXAMPLES[1].answer], [EXAMPLES[1].answer])
    found = retold(EXAMPLES[:2], answers, 5)  # type: ignore[arg-type]
    assert [e.answer for e in found] == ["Paris.", refused(EXAMPLES, 5)[1].answer]
    assert len(asked) == DRAWS
    assert len({seed for _, seed in asked}) == DRAWS


def test_dpo_prefers_what_it_is_told_to() -> None:
    _, answers = speaker(["Paris."])
    plain = [replace(e, alternates={}) for e in EXAMPLES]
    assert DPO().prepare(plain, answers, 1) == refused(plain, 1)  # type: ignore[arg-type]
    other = DPO(preferred="alternate").prepare(plain, answers, 1)  # type: ignore[arg-type]
    assert {e.answer for e in other} == {"Paris."}
