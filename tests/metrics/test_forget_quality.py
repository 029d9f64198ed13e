from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from letheon.errors import MetricError
from letheon.metrics.forget_quality import (
    compute,
    critical_ks,
    ks_statistic,
    p_value,
    weighted_ks,
)
from letheon.metrics.intervals import unit_weights
from letheon.metrics.truth_ratio import truth_ratio

samples = st.lists(st.integers(-4, 4), min_size=1, max_size=25)


def test_statistic_by_hand() -> None:
    # after 2 all of the first lie below, and one of four of the second
    assert ks_statistic(np.array([1.0, 2.0]), np.array([2.0, 3.0, 4.0, 5.0])) == 0.75


@given(samples, samples)
def test_statistic_is_the_largest_gap_of_the_shares_below(
    left: list[int], right: list[int]
) -> None:
    gaps = [
        abs(sum(a <= x for a in left) / len(left) - sum(b <= x for b in right) / len(right))
        for x in left + right
    ]
    got = ks_statistic(np.array(left, float), np.array(right, float))
    assert got == pytest.approx(max(gaps))


@pytest.mark.parametrize("p", [0.05, 0.01])
@pytest.mark.parametrize("n", [200, 400])
def test_the_critical_distance_is_where_the_p_value_crosses(n: int, p: float) -> None:
    # a shift by k of n equally spaced numbers has D = k / n
    k = int(critical_ks(n, p) * n)
    numbers = np.arange(n, dtype=float)
    assert p_value(numbers, numbers + k - 1) > p > p_value(numbers, numbers + k + 2)


@pytest.mark.parametrize(("n", "m"), [(60, 60), (50, 90)])
def test_statistic_agrees_with_scipy(n: int, m: int) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=n).round(1), rng.normal(0.5, size=m).round(1)
    assert ks_statistic(left, right) == pytest.approx(ks_2samp(left, right).statistic)


def test_weighted_statistic_is_that_of_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=12), rng.normal(0.5, size=12)
    weights = unit_weights(np.arange(12) // 3, split="a", resamples=8)
    got = weighted_ks(left, right, weights, weights)
    for i, row in enumerate(weights.astype(int)):
        assert got[i] == pytest.approx(
            ks_2samp(np.repeat(left, row), np.repeat(right, row)).statistic
        )


def test_p_value_by_enumeration() -> None:
    # of the 20 ways to split six values three and three, two are fully separated
    assert p_value(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])) == pytest.approx(0.1)


def test_p_value_where_the_exact_sum_fails() -> None:
    assert p_value(np.zeros(5), np.array([0.0, 0.0, 0.0, 0.0, 1.0])) == pytest.approx(1.0)


def test_p_value_is_uniform_under_the_null() -> None:
    rng = np.random.default_rng(0)
    ps = [p_value(rng.normal(size=80), rng.normal(size=80)) for _ in range(300)]
    assert np.mean(np.array(ps) < 0.05) == pytest.approx(0.05, abs=0.035)


def test_scores_say_variant_n_and_interval(make_records) -> None:
    records, gold = make_records(forget=0.9), make_records(forget=0.4, seed=1)
    scores = {s.name: s for s in compute(records, gold)}
    assert list(scores) == ["forget_quality", "forget_quality_arithmetic", "ks_d"]
    quality = scores["forget_quality"]
    forget, gold_forget = records["forget"], gold["forget"]
    truth = ks_2samp(
        *(
            truth_ratio(part["paraphrased_nll"], part["perturbed_nll"])
            for part in (forget, gold_forget)
        )
    )
    assert quality.value == pytest.approx(truth.pvalue)
    assert (quality.low, quality.high, quality.n) == (None, None, 200)
    assert "200 against 200 geometric" in quality.unit
    assert "arithmetic" in scores["forget_quality_arithmetic"].unit
    ks = scores["ks_d"]
    assert ks.value == pytest.approx(truth.statistic)
    assert ks.low is not None
    assert ks.high is not None
    assert 0 <= ks.low <= ks.value <= ks.high <= 1
    assert ks.interval == "95% bootstrap over 20 units"


def test_a_model_against_itself_has_quality_one(make_records) -> None:
    values = {s.name: s.value for s in compute(make_records(), make_records())}
    assert values == {"forget_quality": 1.0, "forget_quality_arithmetic": 1.0, "ks_d": 0.0}


def test_gold_is_needed_and_must_have_the_same_rows_marked(make_records) -> None:
    with pytest.raises(MetricError, match="gold model"):
        compute(make_records(), None)
    gold = make_records()
    gold["forget"]["paraphrased_nll"][0] = np.nan
    gold["forget"]["perturbed_nll"][0] = np.nan
    with pytest.raises(MetricError, match="1 rows with one for one model only"):
        compute(make_records(), gold)
