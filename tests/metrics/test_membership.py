from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from letheon.errors import MetricError
from letheon.metrics.intervals import unit_weights
from letheon.metrics.membership import (
    auc,
    compute,
    evidence,
    min_k,
    min_k_pp,
    weighted_auc,
    zlib_bytes,
)


def test_min_k_is_the_mean_of_the_lowest_tokens() -> None:
    logp = np.array([-1.0, -5.0, -2.0, -4.0, -3.0])
    assert min_k(logp) == pytest.approx(-4.5)
    assert min_k(logp, k=0.2) == pytest.approx(-5.0)
    assert min_k(logp, k=1.0) == pytest.approx(-3.0)


def test_min_k_takes_at_least_one_token_and_floors() -> None:
    assert min_k(np.array([-7.0])) == -7.0
    assert min_k(np.array([-1.0, -2.0, -3.0, -4.0])) == -4.0  # floor(1.6) = 1


@pytest.mark.parametrize("n", [5, 10, 15, 35, 50, 95])
def test_min_k_counts_four_tenths_exactly(n: int) -> None:
    # 0.4 * 35 is 14.000000000000002 and 0.7 * 10 is 6.999999999999999 in floats
    logp = -np.arange(n, 0, -1.0)
    assert min_k(logp, k=0.4) == pytest.approx(-np.arange(n, n - 2 * n // 5, -1.0).mean())
    assert min_k(-np.arange(10.0), k=0.7) == pytest.approx(-6.0)


def test_min_k_pp_standardises_before_it_chooses() -> None:
    logp = np.array([-1.0, -3.0, -2.0])
    mean = np.array([-2.0, -3.5, -1.0])
    std = np.array([0.5, 0.25, 2.0])
    # standardised: 2, 2, -0.5; the lowest plain token is another one
    assert min_k_pp(logp, mean, std, k=0.4) == pytest.approx(-0.5)
    assert min_k_pp(logp, mean, std, k=1.0) == pytest.approx(3.5 / 3)


def test_min_k_pp_of_a_certain_model_is_finite() -> None:
    assert min_k_pp(np.zeros(3), np.zeros(3), np.zeros(3)) == 0.0


@pytest.mark.parametrize(("size", "k"), [(0, 0.4), (3, 0.0), (3, 1.5)])
def test_min_k_refuses_no_tokens_and_odd_shares(size: int, k: float) -> None:
    with pytest.raises(MetricError, match="Min-K needs"):
        min_k(np.zeros(size), k)


def test_zlib_bytes_counts_compressed_utf8() -> None:
    assert zlib_bytes("été " * 50) == len(zlib.compress(("été " * 50).encode()))
    assert zlib_bytes("a" * 500) < 20


def test_auc_by_hand_with_ties() -> None:
    # pairs: 3>1 3>2 2>1 2=2 -> 3.5 of 4
    assert auc(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == 0.875
    assert auc(np.array([1.0]), np.array([1.0])) == 0.5


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=20),
    st.lists(st.integers(-3, 3), min_size=1, max_size=20),
)
def test_auc_agrees_with_sklearn(members: list[int], others: list[int]) -> None:
    truth = roc_auc_score([1] * len(members) + [0] * len(others), members + others)
    assert auc(np.array(members, float), np.array(others, float)) == pytest.approx(truth)


def test_weighted_auc_is_the_auc_of_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    members, others = rng.integers(0, 5, 12).astype(float), rng.integers(0, 5, 9).astype(float)
    wm = unit_weights(np.arange(12) // 3, split="a", resamples=8)
    wo = unit_weights(np.arange(9) // 2, split="b", resamples=8)
    got = weighted_auc(members, others, wm, wo)
    for i in range(8):
        repeated = (np.repeat(members, wm[i].astype(int)), np.repeat(others, wo[i].astype(int)))
        assert got[i] == pytest.approx(auc(*repeated))


def test_a_memorised_forget_set_gives_a_high_auc(make_records) -> None:
    scores = {s.name: s for s in compute(make_records(forget=0.9))}
    assert list(scores) == ["loss_auc", "zlib_auc", "min_k_auc", "min_k_pp_auc"]
    for score in scores.values():
        assert score.value > 0.95
        assert score.n == 320
        assert score.interval == "95% bootstrap over 20 and 12 units"
        assert score.direction == "gold"
    assert all(s.value < 0.2 for s in compute(make_records(forget=0.0)))


def test_evidence_is_high_for_likely_rows(tiny) -> None:
    records = {"forget": {**tiny["forget"], "zlib_bytes": np.array([10, 10, 20, 20])}}
    np.testing.assert_allclose(evidence(records, "forget", "loss"), np.log([0.5, 0.25, 0.5, 0.25]))
    np.testing.assert_allclose(
        evidence(records, "forget", "zlib"), np.log([0.5, 0.25, 0.5, 0.25]) / [10, 10, 20, 20]
    )
    with pytest.raises(MetricError, match=r"loss, zlib, min_k"):
        evidence(records, "forget", "guess")


def test_unseen_rows_are_needed(make_records) -> None:
    records = make_records()
    del records["unseen"]
    with pytest.raises(MetricError, match="unseen"):
        compute(records)
