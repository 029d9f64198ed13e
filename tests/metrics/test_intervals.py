from __future__ import annotations

import numpy as np
import pytest

from letheon.errors import MetricError
from letheon.metrics.intervals import (
    bootstrapped,
    count_units,
    mean_of_column,
    mean_score,
    unit_weights,
    weighted_mean,
    wilson,
)


def test_rows_of_a_unit_are_drawn_together_and_units_in_all_as_often_as_there_are() -> None:
    names = np.array(["b", "a", "b", "c", "a", "b"])
    weights = unit_weights(names, split="forget", resamples=50)
    assert weights.shape == (50, 6)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 4])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(axis=1), 3)
    assert len(np.unique(weights, axis=0)) > 5


def test_draws_repeat_for_a_split_and_differ_between_splits_and_seeds() -> None:
    names = np.array(list("abcdefgh"))
    first = unit_weights(names, split="forget")
    np.testing.assert_array_equal(first, unit_weights(names, split="forget"))
    assert (first != unit_weights(names, split="unseen")).any()
    assert (first != unit_weights(names, split="forget", seed=1)).any()


def test_weighted_mean_is_the_mean_of_the_repeated_rows() -> None:
    values = np.array([1.0, 2.0, 5.0])
    weights = np.array([[1.0, 1.0, 1.0], [3.0, 0.0, 1.0]])
    np.testing.assert_allclose(weighted_mean(values, weights), [8 / 3, 8 / 4])


def test_interval_of_independent_rows_is_about_two_standard_errors() -> None:
    values = np.random.default_rng(0).normal(size=400)
    names = np.arange(400).astype(str)
    score = mean_score("m", values, names, split="s", direction="up", unit="u")
    error = values.std(ddof=1) / 20
    assert score.low is not None
    assert score.high is not None
    assert score.value - score.low == pytest.approx(1.96 * error, rel=0.15)
    assert score.high - score.value == pytest.approx(1.96 * error, rel=0.15)
    assert (score.n, score.interval) == (400, "95% bootstrap over 400 units")


def test_interval_is_wider_when_rows_of_a_unit_agree() -> None:
    per_unit = np.random.default_rng(0).normal(size=20)
    values = np.repeat(per_unit, 20)
    units = np.repeat(np.arange(20), 20).astype(str)
    rows = np.arange(400).astype(str)
    widths = []
    for names in (units, rows):
        score = mean_score("m", values, names, split="s", direction="up", unit="u")
        assert score.low is not None
        assert score.high is not None
        widths.append(score.high - score.low)
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(20), rel=0.2)


def test_coverage_over_units_is_near_its_name() -> None:
    rng = np.random.default_rng(1)
    names = np.repeat(np.arange(30), 5).astype(str)
    hits = 0
    for _ in range(200):
        values = np.repeat(rng.normal(size=30), 5) + 0.1 * rng.normal(size=150)
        score = mean_score("m", values, names, split="s", direction="up", unit="u")
        assert score.low is not None
        assert score.high is not None
        hits += score.low <= 0 <= score.high
    assert 0.88 <= hits / 200 <= 0.99


def test_no_interval_for_one_unit_or_undefined_resamples() -> None:
    one = mean_score(
        "m", np.array([0.0, 1.0]), np.array(["a", "a"]), split="s", direction="up", unit="u"
    )
    assert (one.low, one.high, one.interval) == (None, None, "none: one unit")
    odd = bootstrapped(
        "m", 0.5, np.array([0.4, np.inf]), n=2, n_units=[2], direction="up", unit="u"
    )
    assert (odd.low, odd.high) == (None, None)
    assert "undefined" in odd.interval


def test_interval_always_holds_the_value() -> None:
    draws = np.linspace(0.3, 0.4, 1000)
    score = bootstrapped("d", 0.2, draws, n=9, n_units=[5, 7], direction="down", unit="u")
    assert score.low == 0.2
    assert score.high == pytest.approx(0.3975)
    assert score.interval == "95% bootstrap over 5 and 7 units"


def test_count_units() -> None:
    assert count_units(np.array(["a", "b", "a"])) == 2


def test_mean_of_column_names_splits_and_directions(make_records) -> None:
    scores = mean_of_column(make_records(), "rouge_l_recall", unit="u", controls=True)
    assert [(s.name, s.direction, s.n) for s in scores] == [
        ("forget.rouge_l_recall", "gold", 200),
        ("retain.rouge_l_recall", "up", 200),
        ("real_authors.rouge_l_recall", "up", 60),
        ("world_facts.rouge_l_recall", "up", 70),
    ]
    without = {k: v for k, v in make_records().items() if k in ("forget", "retain")}
    assert len(mean_of_column(without, "rouge_l_recall", unit="u", controls=True)) == 2


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_agrees_with_published_intervals(
    successes: int, n: int, low: float, high: float
) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(n - successes, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_wilson_needs_a_share(successes: int, n: int) -> None:
    with pytest.raises(MetricError, match="n > 0"):
        wilson(successes, n)
