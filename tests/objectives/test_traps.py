"""The ten traps seen in public implementations of these losses, each with what would catch it here.

Every objective is found by listing the folder. Tests elsewhere, by their file:

1. A mask made by ``ids != pad_id`` with pad = eos hides real end tokens: data/test_batch.py,
   test_a_real_end_token_equal_to_the_pad_token_is_attended; here by padding with any id.
2. The last label always dropped as an end token: here, for text that has none.
3. Divergences over prompts and padding: here, against all positions by hand.
4. Ignored labels (-100) that hit a vocabulary entry or are averaged over: here, by renaming the
   vocabulary; counts in contracts/test_objective_contract.py, test_terms_count_what_they_sum.
5. Defaults that disagree: here, those of a recipe and of docs/objectives.md.
6. A deep copy of the model as reference: here; in bytes in training/test_memory.py,
   test_scalars_of_the_reference_cost_nothing.
7. Rows drawn from the global random state: training/test_pairing.py; here for whole runs.
8. Accumulation and processes that change a loss: contracts/test_objective_contract.py,
   test_accumulation_does_not_change_a_loss_term; training/test_several_processes.py,
   test_every_objective_has_the_terms_and_the_adapter_of_one_process (slow).
9. Filtered examples zipped with those that were not: here; objectives/test_other_answers.py,
   test_the_order_of_the_examples_does_not_change_a_refusal; test_preferred.py.
10. A default where a reference is missing: here; for metrics metrics/test_gold_metrics.py.
"""

from __future__ import annotations

import copy
import dataclasses
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch

from letheon import registry
from letheon.adapters import BoundedLoraConfig
from letheon.data.batch import collate
from letheon.data.template import Template
from letheon.data.tokenizer import train_bpe
from letheon.errors import InputError
from letheon.objectives.contract import Objective, Unit, Views
from letheon.objectives.kl import KL
from letheon.objectives.view import HeldLogits, Layer
from letheon.recipe import Training
from letheon.training import forward, loop
from letheon.training.forward import Untouched, answer_views
from tiny import made_objective, tiny_llama, tiny_rows

NAMES = registry.names("letheon.objectives")
DOCS = Path(__file__).parents[2] / "docs" / "objectives.md"
ROWS = loop.Rows(tiny_rows(3, seed=2), tiny_rows(3, seed=11), 0, tiny_rows(3, seed=8))
ONE = Training(steps=1, batch_size=3, lr=1e-3)
PACKAGE = "letheon.objectives"
SIDES = ("forget", "retain", "preferred")


def adapted() -> Any:
    return peft.get_peft_model(tiny_llama(seed=0), BoundedLoraConfig(r=4, seed=0))


@pytest.fixture(scope="module")
def model() -> Any:
    """A model that no test trains."""
    return adapted()


def sums(name: str, rows: loop.Rows, model: Any, *pieces: list[int]) -> list[dict[str, float]]:
    """Return the sums of an objective's terms over each piece, rows of either side by number."""
    objective, accelerator = made_objective(name), loop.accelerator_for(ONE)
    untouched, state = Untouched(model, objective.needs), objective.init(0)
    untouched.cache({"forget": rows.forget, "preferred": rows.preferred}, pad_id=rows.pad_id)
    found = []
    with torch.no_grad():
        for piece in pieces:
            made = loop.terms(model, untouched, objective, rows, (piece, piece), state, accelerator)
            found.append({name: term.sum.item() for name, term in made.terms.items()})
    return found


# --- 1 and 4: padding, labels


@pytest.mark.parametrize("name", NAMES)
def test_which_token_pads_is_of_no_consequence(name: str, model: Any) -> None:
    """Also a token that stands in the rows, as an end-of-sequence token does."""
    other = dataclasses.replace(ROWS, pad_id=ROWS.forget[0].ids[-1])
    assert sums(name, other, model, [0, 1, 2]) == sums(name, ROWS, model, [0, 1, 2])


@pytest.mark.parametrize("name", NAMES)
def test_no_entry_of_the_vocabulary_is_special(name: str) -> None:
    """Rename the vocabulary in logits and targets: a loss that hits entry -100 notices it."""
    objective, new = made_objective(name), torch.randperm(150, generator=torch.Generator())
    state = objective.init(0)
    model, reference = views(objective, 0), views(objective, 1)
    renamed = [Views(*(v and _renamed(v, new) for v in _sides(w))) for w in (model, reference)]
    total = objective.loss(model, reference, state).total(COUNTS)
    torch.testing.assert_close(objective.loss(*renamed, state).total(COUNTS), total)


COUNTS: dict[Unit, int] = {f"{side}_token": 7 for side in SIDES}  # type: ignore[misc]
COUNTS |= {"forget_example": 3, "retain_example": 3}


def views(objective: Objective, seed: int) -> Views:
    needs, generator = objective.needs, torch.Generator().manual_seed(seed)
    made = [
        HeldLogits(
            torch.randn(7, 150, generator=generator),
            torch.tensor([3, 50, 149, 0, 49, 51, 50]),  # 50 is entry -100
            torch.tensor([0, 0, 1, 1, 1, 2, 2]),
            (2, 3, 2),
            {k: torch.randn(7, 6, generator=generator) for k in needs.hidden},
        )
        for _ in SIDES
    ]
    return Views(*made)


def _sides(found: Views) -> list[HeldLogits | None]:
    return [getattr(found, side) for side in SIDES]


def _renamed(view: HeldLogits, new: torch.Tensor) -> HeldLogits:
    """Give entry ``new[i]`` what entry ``i`` had."""
    logits = torch.empty_like(view.logits)
    logits[:, new] = view.logits
    return dataclasses.replace(view, logits=logits, targets=new[view.targets])


# --- 2: the last token


def test_a_text_without_end_keeps_its_last_token() -> None:
    tokenizer = train_bpe(["one two three four"] * 3, vocab_size=300)
    row = Template("{question}{answer}", eos=False).encode(tokenizer, "one", " two three")
    assert row.answer[-1]
    assert row.ids[-1] != tokenizer.eos_token_id
    assert collate([row], pad_id=0).targets[-1] == row.ids[-1]


@pytest.mark.parametrize("name", NAMES)
def test_the_last_token_of_every_answer_counts(name: str) -> None:
    """Whatever it is: to change what is said about it changes a loss."""
    objective = made_objective(name)
    model, reference, state = views(objective, 0), views(objective, 1), objective.init(0)

    def sums(found: Views) -> list[float]:
        return [t.sum.item() for t in objective.loss(found, reference, state).terms.values()]

    for side in SIDES:
        if getattr(objective.needs, side):
            for last in (1, 4, 6):
                changed = _changed(getattr(model, side), last)
                assert sums(dataclasses.replace(model, **{side: changed})) != sums(model)


def _changed(view: HeldLogits, token: int) -> HeldLogits:
    logits = view.logits.clone()
    logits[token] = torch.linspace(-9, 9, logits.shape[1])
    states = {k: v.clone().index_fill_(0, torch.tensor([token]), 2.0) for k, v in _some(view)}
    return dataclasses.replace(view, logits=logits, states=states)


def _some(view: HeldLogits) -> Iterable[tuple[Layer, torch.Tensor]]:
    return (view.states or {}).items()


# --- 3: which positions a divergence is over


def test_kl_is_over_answer_tokens_alone() -> None:
    model, untouched, rows = tiny_llama(seed=0), tiny_llama(seed=1), ROWS.retain
    batch = collate(rows, pad_id=0)
    with torch.no_grad():
        views_ = [Views(retain=answer_views(m, batch)) for m in (model, untouched)]
        forget = Views(views_[0].retain, views_[0].retain)
        found = KL().loss(forget, views_[1], None).terms["retain"]
        full = [m(batch.input_ids, attention_mask=batch.attention_mask) for m in (model, untouched)]
    mine, ref = (out.logits.log_softmax(-1) for out in full)
    every = (ref.exp() * (ref - mine)).sum(-1)  # [B, T], position t predicts token t + 1
    answer = [
        float(every[b, t - 1])
        for b, row in enumerate(rows)
        for t in range(1, len(row.ids))
        if row.answer[t]
    ]
    assert found.sum.item() / found.count == pytest.approx(np.mean(answer), rel=1e-4)
    assert np.mean(answer) != pytest.approx(float(every.mean()), rel=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_row_beside_it_does_not_change_a_rows_share(name: str, model: Any) -> None:
    together, *alone = sums(name, ROWS, model, [0, 1, 2], [0], [1], [2])
    assert len({len(row.ids) for row in ROWS.forget}) > 1
    for term, value in together.items():
        assert value == pytest.approx(sum(each[term] for each in alone), rel=1e-4, abs=1e-4)


# --- 5: defaults


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_that_sets_nothing_has_the_defaults_of_the_class(name: str) -> None:
    assert registry.make(PACKAGE, name, registry.example(PACKAGE, name)) == made_objective(name)


def _documented() -> dict[str, dict[str, str]]:
    cells = [line.split(" | ") for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    rows = {row[0].removeprefix("| ").strip(): row[3] for row in cells if len(row) == 6}
    return {name: dict(re.findall(r"`(\w+)` ([^,|]+)", cell)) for name, cell in rows.items()}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "finetune"])
def test_the_documented_defaults_are_those_of_the_code(name: str) -> None:
    fields = {f.name: f.default for f in dataclasses.fields(made_objective(name))}  # type: ignore
    told = _documented().get(name)
    assert told is not None, f"{name} has no row in {DOCS.name}"
    assert set(told) == set(fields)
    for field, default in fields.items():
        said = told[field].strip()
        if default is dataclasses.MISSING:
            assert said == "mandatory"
            continue
        assert said == default if isinstance(default, str) else float(said) == default, field


# --- 6: no second model


@pytest.mark.parametrize("name", NAMES)
def test_no_model_is_copied_unless_distributions_of_full_weights_are_needed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Any] = []

    def count(model: Any) -> Any:
        copied.append(model)
        return copy.deepcopy(model)

    monkeypatch.setattr(forward, "copy", type("Copy", (), {"deepcopy": staticmethod(count)}))
    needs = made_objective(name).needs
    Untouched(adapted(), needs)
    assert copied == []
    Untouched(tiny_llama(seed=0), needs)
    assert len(copied) == needs.distribution


# --- 7: the global random state


@pytest.mark.parametrize("name", NAMES)
def test_the_global_random_state_changes_no_term(name: str) -> None:
    rows, found = tiny_rows(9, seed=1), []
    for seed in (1, 2):
        model, events = adapted(), []
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        every = loop.Rows(rows, rows, 0, rows)
        loop.run(model, made_objective(name), every, ONE, watch=events.append)
        found += [event["terms"] for event in events if event["event"] == "step"]
    assert found[0] == found[1]


# --- 9: two lists that belong together


def test_preferred_answers_must_be_as_many_as_questions() -> None:
    rows = dataclasses.replace(ROWS, preferred=ROWS.preferred[1:])
    with pytest.raises(InputError, match=r"one preferred answer to each.*Got: 2 for 3"):
        loop.check(made_objective("idk_dpo"), rows, ONE, tiny_llama(seed=0))
    none = dataclasses.replace(ROWS, preferred=[])
    with pytest.raises(InputError, match="IDK needs preferred rows"):
        loop.check(made_objective("idk"), none, ONE, tiny_llama(seed=0))


def test_a_piece_has_the_preferred_answers_of_its_own_questions() -> None:
    found = ROWS.sides(made_objective("idk_dpo").needs, ([2, 0], [0]))
    assert found["forget"] == [ROWS.forget[2], ROWS.forget[0]]
    assert found["preferred"] == [ROWS.preferred[2], ROWS.preferred[0]]


# --- 10: a missing reference


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_reference_is_an_error_on_every_side_that_needs_it(name: str) -> None:
    objective = made_objective(name)
    model, reference = views(objective, 0), views(objective, 1)
    for side in SIDES:
        if getattr(objective.needs, f"{side}_reference") != "none":
            with pytest.raises(AssertionError):
                objective.loss(
                    model, dataclasses.replace(reference, **{side: None}), objective.init(0)
                )
