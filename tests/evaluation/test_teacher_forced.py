"""The one pass against the obvious computation: full logits, one row at a time, loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from letheon.data.template import Encoded, Template
from letheon.data.tokenizer import train_bpe
from letheon.evaluation import teacher_forced
from letheon.evaluation.teacher_forced import TokenScores, by_length, score_answers
from tiny import VOCAB, tiny_llama, tiny_rows

ROWS = tiny_rows(9, seed=4)


def obvious(model: Any, row: Encoded) -> dict[str, list[float]]:
    """Score one row token by token from its full logits."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row.ids])).logits[0].double()
    found: dict[str, list[float]] = {"logp": [], "match": [], "mean": [], "std": []}
    for t in range(1, len(row.ids)):
        if not row.answer[t]:
            continue
        values = logits[t - 1].tolist()
        top = max(values)
        total = sum(math.exp(v - top) for v in values)
        logp = [v - top - math.log(total) for v in values]
        mean = sum(math.exp(x) * x for x in logp)
        variance = sum(math.exp(x) * (x - mean) ** 2 for x in logp)
        found["logp"].append(logp[row.ids[t]])
        found["match"].append(float(values.index(top) == row.ids[t]))
        found["mean"].append(mean)
        found["std"].append(math.sqrt(variance))
    return found


def same(mine: TokenScores, other: TokenScores) -> None:
    for name in ("logp", "mean", "std"):
        np.testing.assert_allclose(getattr(mine, name), getattr(other, name), atol=1e-5)
    np.testing.assert_array_equal(mine.match, other.match)


def test_every_statistic_is_that_of_the_slow_computation() -> None:
    model = tiny_llama(seed=1).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(30)  # far from uniform, so that the spread is not all alike
    for scores, row in zip(score_answers(model, ROWS, pad_id=1), ROWS, strict=True):
        for name, values in obvious(model, row).items():
            np.testing.assert_allclose(getattr(scores, name), values, atol=1e-5, err_msg=name)


def test_a_text_alone_is_scored_from_its_first_token() -> None:
    tokenizer = train_bpe([], vocab_size=258)
    row = Template().encode(tokenizer, "", "aab")
    # The vocabulary of the tiny model is smaller: its ids, shifted into it, one a byte.
    row = Encoded([i % VOCAB for i in row.ids], row.answer, row.facts)
    model = tiny_llama(seed=1).eval()
    (scores,) = score_answers(model, [row], pad_id=1)
    assert len(scores.logp) == 3
    np.testing.assert_allclose(scores.logp, obvious(model, row)["logp"], atol=1e-5)


def test_batching_changes_nothing() -> None:
    model = tiny_llama(seed=1)
    alone = [score_answers(model, [row], pad_id=1)[0] for row in ROWS]
    for budget in (1, 12, 30, 8192):
        for mine, other in zip(
            score_answers(model, ROWS, pad_id=1, batch_tokens=budget), alone, strict=True
        ):
            same(mine, other)


def test_how_much_is_in_memory_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama(seed=1)
    whole = score_answers(model, ROWS, pad_id=1)
    largest: list[int] = []
    log_softmax = torch.log_softmax

    def watched(part: torch.Tensor, dim: int) -> torch.Tensor:
        largest.append(part.numel())
        return log_softmax(part, dim=dim)

    monkeypatch.setattr(torch, "log_softmax", watched)
    for elements, tokens in ((5 * VOCAB + 3, 5), (VOCAB, 1), (1, 1)):
        monkeypatch.setattr(teacher_forced, "_ELEMENTS_CPU", elements)
        largest.clear()
        for mine, other in zip(score_answers(model, ROWS, pad_id=1), whole, strict=True):
            for name in ("logp", "match", "mean", "std"):
                np.testing.assert_array_equal(getattr(mine, name), getattr(other, name))
        assert max(largest) == tokens * VOCAB


def test_the_pad_token_changes_nothing() -> None:
    model = tiny_llama(seed=1)
    for mine, other in zip(
        score_answers(model, ROWS, pad_id=0), score_answers(model, ROWS, pad_id=7), strict=True
    ):
        same(mine, other)


def test_an_end_token_that_is_also_the_pad_token_counts() -> None:
    """A mask made from ids would lose every real end-of-sequence token."""
    model = tiny_llama(seed=1)
    ends = [
        Encoded([*row.ids, 0], [*row.answer, True], [*row.facts, False])
        for row in tiny_rows(4, seed=5)
    ]
    for scores, row in zip(score_answers(model, ends, pad_id=0), ends, strict=True):
        assert len(scores.logp) == sum(row.answer)
        assert scores.logp[-1] == pytest.approx(obvious(model.eval(), row)["logp"][-1], abs=1e-5)


def test_the_last_label_is_scored() -> None:
    """A shift by one too many would drop it: make the last token certain and look for it."""
    tokenizer = train_bpe(["a b c"], vocab_size=260)
    row = Template("plain").encode(tokenizer, "q", "abc")
    assert row.ids[-1] == tokenizer.eos_token_id
    assert row.answer[-1]
    rows = [Encoded([5, 6, 7], [False, True, True], [False] * 3)]
    scores = score_answers(tiny_llama(seed=2), rows, pad_id=1)[0]
    assert len(scores.logp) == 2
    assert scores.logp == pytest.approx(
        obvious(tiny_llama(seed=2).eval(), rows[0])["logp"], abs=1e-5
    )


def test_facts_are_marked_within_the_answer() -> None:
    row = Encoded([2, 3, 4, 5], [False, True, True, True], [False, False, True, False])
    scores = score_answers(tiny_llama(seed=2), [row], pad_id=1)[0]
    assert scores.fact.tolist() == [False, True, False]


def test_the_model_comes_back_in_its_mode() -> None:
    model = tiny_llama(seed=1).train()
    score_answers(model, ROWS[:1], pad_id=1)
    assert model.training
    broken = [Encoded([VOCAB + 5, 3], [False, True], [False, False])]
    with pytest.raises(IndexError):
        score_answers(model, broken, pad_id=1)
    assert model.training


def test_progress_counts_every_row() -> None:
    seen: list[int] = []
    score_answers(tiny_llama(seed=1), ROWS, pad_id=1, batch_tokens=20, progress=seen.append)
    assert sum(seen) == len(ROWS)
    assert len(seen) > 1


@pytest.mark.parametrize("budget", [1, 10, 16, 100])
def test_batches_keep_to_the_budget_and_lose_no_row(budget: int) -> None:
    lengths = [3, 9, 4, 9, 1, 7, 2]
    batches = list(by_length(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
