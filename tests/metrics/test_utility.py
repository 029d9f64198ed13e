"""Probability, fact probability, model utility and retain utility."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hmean

from letheon.errors import MetricError
from letheon.metrics import fact_probability, model_utility, probability, retain_utility
from letheon.metrics.model_utility import harmonic_mean
from letheon.metrics.probability import of_options


def test_probability_among_options_by_hand() -> None:
    nll = -np.log([0.2, 0.3])
    wrong = -np.log([[0.1, 0.1, 0.4], [0.1, np.nan, np.nan]])
    np.testing.assert_allclose(of_options(nll, wrong), [0.25, 0.75])


def test_probability_among_options_survives_tiny_probabilities() -> None:
    np.testing.assert_allclose(
        of_options(np.array([1000.0]), np.array([[1000.0, 1000.0]])), [1 / 3]
    )


def test_options_are_needed() -> None:
    with pytest.raises(MetricError, match="1 of 2 rows"):
        of_options(np.zeros(2), np.array([[1.0], [np.nan]]))


def test_probability_scores_by_hand(tiny) -> None:
    scores = {s.name: s.value for s in probability.compute(tiny)}
    assert scores["forget.probability"] == pytest.approx(0.375)
    assert scores["retain.probability"] == pytest.approx(0.6)


def test_control_sets_are_normalised_over_options(make_records) -> None:
    records = make_records()
    scores = {s.name: s for s in probability.compute(records)}
    part = records["world_facts"]
    p, wrong = np.exp(-part["nll"]), np.exp(-part["perturbed_nll"]).sum(axis=1)
    assert scores["world_facts.probability"].value == pytest.approx((p / (p + wrong)).mean())
    assert scores["world_facts.probability"].unit == "probability among options"
    assert scores["retain.probability"].value == pytest.approx(
        np.exp(-records["retain"]["nll"]).mean()
    )


def test_fact_probability_leaves_out_rows_without_facts(tiny) -> None:
    scores = {s.name: s for s in fact_probability.compute(tiny)}
    assert scores["forget.fact_probability"].value == pytest.approx(0.3)
    assert scores["forget.fact_probability"].n == 2
    assert scores["retain.fact_probability"].value == pytest.approx(0.6)


def test_no_facts_at_all_is_an_error(tiny) -> None:
    records = {**tiny, "forget": {**tiny["forget"], "fact_nll": np.full(4, np.nan)}}
    with pytest.raises(MetricError, match="marks fact tokens"):
        fact_probability.compute(records)


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=9))
def test_harmonic_mean_agrees_with_scipy(values: list[float]) -> None:
    assert harmonic_mean(np.array(values)) == pytest.approx(hmean(values))


def test_harmonic_mean_of_a_zero_is_zero() -> None:
    np.testing.assert_allclose(harmonic_mean(np.array([[0.0, 1.0], [0.5, 1.0]])), [0.0, 2 / 3])


def test_retain_utility_by_hand(tiny) -> None:
    scores = {s.name: s.value for s in retain_utility.compute(tiny)}
    assert scores == {
        "retain_utility": pytest.approx(3 / (1 / 0.6 + 1 / 0.8 + 1 / 0.625)),
        "retain_utility_arithmetic": pytest.approx(3 / (1 / 0.6 + 1 / 0.8 + 1 / 0.5625)),
    }


def test_model_utility_is_the_harmonic_mean_of_nine(make_records) -> None:
    records = make_records()
    nine = []
    for split in ("retain", "real_authors", "world_facts"):
        part = records[split]
        p = np.exp(-part["nll"])
        if split != "retain":
            p = p / (p + np.exp(-part["perturbed_nll"]).sum(axis=1))
        ratio = np.exp(-part["perturbed_nll"].mean(axis=1)) / np.exp(-part["paraphrased_nll"])
        nine += [p.mean(), part["rouge_l_recall"].mean(), np.maximum(0, 1 - ratio).mean()]
    score = model_utility.compute(records)[0]
    assert score.name == "model_utility"
    assert score.value == pytest.approx(hmean(nine))
    assert score.n == 330
    assert score.interval == "95% bootstrap over 20 and 60 and 70 units"
    assert score.low is not None
    assert score.high is not None
    assert score.low < score.value < score.high


def test_missing_control_sets_are_not_replaced(make_records) -> None:
    records = make_records()
    del records["world_facts"]
    with pytest.raises(MetricError, match=r"without world_facts.*retain_utility"):
        model_utility.compute(records)
    assert retain_utility.compute(records)[0].unit == "harmonic mean of 3, geometric truth ratio"
