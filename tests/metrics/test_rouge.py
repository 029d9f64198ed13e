from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from letheon.metrics.rouge import compute, rouge_l, score_texts

texts = st.lists(st.sampled_from(["a", "bc", "D", "e5", "f,"]), max_size=8).map(" ".join)


def longest_common_subsequence(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    @cache
    def lcs(i: int, j: int) -> int:
        if i == len(left) or j == len(right):
            return 0
        if left[i] == right[j]:
            return 1 + lcs(i + 1, j + 1)
        return max(lcs(i + 1, j), lcs(i, j + 1))

    return lcs(0, 0)


@given(texts, texts)
def test_agrees_with_the_recursive_definition(prediction: str, target: str) -> None:
    mine, theirs = (tuple(re.findall("[a-z0-9]+", t.lower())) for t in (prediction, target))
    common = longest_common_subsequence(mine, theirs)
    recall = common / len(theirs) if theirs and mine else 0.0
    precision = common / len(mine) if mine and theirs else 0.0
    f1 = 2 * precision * recall / (precision + recall) if common else 0.0
    got = rouge_l(prediction, target, stem=False)
    assert got == pytest.approx((recall, f1))


def test_by_hand() -> None:
    # common subsequence "the sat on mat": 4 of the target's 6 words, 4 of the prediction's 5
    got = rouge_l("the dog sat on mat", "The cat sat on the mat.", stem=False)
    assert got.recall == pytest.approx(4 / 6)
    assert got.f1 == pytest.approx(2 * (4 / 6) * (4 / 5) / (4 / 6 + 4 / 5))


def test_stemming_joins_inflections() -> None:
    assert rouge_l("writing novels", "writes novel").recall == 1.0
    assert rouge_l("writing novels", "writes novel", stem=False).recall == 0.0


def test_recall_does_not_punish_length_and_f1_does() -> None:
    got = rouge_l("paris is the capital of france", "paris")
    assert got.recall == 1.0
    assert got.f1 == pytest.approx(2 * (1 / 6) / (1 + 1 / 6))


def test_score_texts_gives_both_columns() -> None:
    columns = score_texts(["writing", ""], ["writes", "word"])
    np.testing.assert_array_equal(columns["rouge_l_recall"], [1.0, 0.0])
    np.testing.assert_array_equal(columns["rouge_l_f1"], [0.0, 0.0])
    with pytest.raises(ValueError, match=r"longer|shorter"):
        score_texts(["a"], [])


def test_compute_by_hand(tiny) -> None:
    scores = {s.name: s.value for s in compute(tiny)}
    assert scores == {"forget.rouge_l_recall": 0.5, "retain.rouge_l_recall": pytest.approx(0.8)}


def test_f1_is_scored_where_it_was_measured(make_records) -> None:
    names = [s.name for s in compute(make_records())]
    assert names[-2:] == ["forget.rouge_l_f1", "retain.rouge_l_f1"]
    assert "world_facts.rouge_l_recall" in names
