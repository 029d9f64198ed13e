from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from letheon.errors import MetricError
from letheon.metrics.truth_ratio import (
    compute,
    forget_share,
    log_truth_ratio,
    of_split,
    truth_ratio,
    utility_share,
)

PARAPHRASED = -np.log([0.5, 0.5, 0.25, 0.25])
PERTURBED = -np.log([[0.25, 0.25], [0.5, 0.125], [0.5, 0.5], [0.5, np.nan]])


def test_both_variants_by_hand() -> None:
    geometric = truth_ratio(PARAPHRASED, PERTURBED)
    np.testing.assert_allclose(geometric, [0.5, 0.5, 2.0, 2.0])
    arithmetic = truth_ratio(PARAPHRASED, PERTURBED, "arithmetic")
    np.testing.assert_allclose(arithmetic, [0.5, 0.625, 2.0, 2.0])


@given(
    st.floats(0, 20),
    st.lists(st.floats(0, 20), min_size=1, max_size=6),
    st.integers(0, 3),
)
def test_padding_changes_nothing_and_geometric_is_the_smaller(
    paraphrased: float, perturbed: list[float], padding: int
) -> None:
    padded = np.array([perturbed + [np.nan] * padding])
    plain = np.array(perturbed)
    geometric = float(truth_ratio(np.array([paraphrased]), padded)[0])
    arithmetic = float(truth_ratio(np.array([paraphrased]), padded, "arithmetic")[0])
    assert geometric == pytest.approx(np.exp(-plain.mean()) / np.exp(-paraphrased))
    assert arithmetic == pytest.approx(np.exp(-plain).mean() / np.exp(-paraphrased))
    assert geometric <= arithmetic * (1 + 1e-9)


def test_a_row_without_false_answers_is_nan() -> None:
    for variant in ("geometric", "arithmetic"):
        log_ratio = log_truth_ratio(np.array([1.0]), np.array([[np.nan, np.nan]]), variant)
        assert np.isnan(log_ratio).all()


def test_a_collapsed_model_gives_finite_shares() -> None:
    log_ratio = log_truth_ratio(np.array([2000.0, 1.0]), np.array([[1.0], [2000.0]]))
    np.testing.assert_array_equal(log_ratio, [1999.0, -1999.0])
    np.testing.assert_array_equal(forget_share(log_ratio), [0.0, 0.0])
    np.testing.assert_array_equal(utility_share(log_ratio), [0.0, 1.0])


def test_aggregations_by_hand() -> None:
    log_ratio = np.log([0.5, 2.0, 1.0])
    np.testing.assert_allclose(forget_share(log_ratio), [0.5, 0.5, 1.0])
    np.testing.assert_allclose(utility_share(log_ratio), [0.5, 0.0, 0.0])


def test_scores_by_hand(tiny) -> None:
    scores = {s.name: s for s in compute(tiny)}
    assert scores["forget.truth_ratio"].value == pytest.approx(0.5)
    assert scores["forget.truth_ratio_arithmetic"].value == pytest.approx(2.125 / 4)
    # retain: r = 0.2 / 0.8 and sqrt(0.1 * 0.4) / 0.4
    assert scores["retain.truth_ratio"].value == pytest.approx((0.75 + 0.5) / 2)
    assert scores["retain.truth_ratio_arithmetic"].value == pytest.approx((0.75 + 0.375) / 2)
    assert scores["retain.truth_ratio"].direction == "up"


def test_rows_without_alternates_are_left_out_and_counted(tiny) -> None:
    forget = dict(tiny["forget"])
    forget["paraphrased_nll"] = np.where(np.arange(4) == 2, np.nan, forget["paraphrased_nll"])
    forget["perturbed_nll"] = np.where(np.arange(4)[:, None] == 2, np.nan, forget["perturbed_nll"])
    ratio, mask = of_split({"forget": forget}, "forget")
    assert mask.tolist() == [True, True, False, True]
    np.testing.assert_allclose(np.exp(ratio), [0.5, 0.5, 2.0])
    assert compute({"forget": forget, "retain": tiny["retain"]})[0].n == 3


def test_half_a_row_is_an_error(tiny) -> None:
    forget = {**tiny["forget"], "paraphrased_nll": np.full(4, np.nan)}
    with pytest.raises(MetricError, match="0 of 4 rows with a paraphrase, 4 with false"):
        of_split({"forget": forget}, "forget")
    forget = {**tiny["forget"], "paraphrased_nll": np.array([1.0, 1.0, np.nan, 1.0])}
    with pytest.raises(MetricError, match="3 of 4 rows"):
        of_split({"forget": forget}, "forget")


def test_infinite_nll_is_an_error(tiny) -> None:
    forget = {**tiny["forget"], "paraphrased_nll": np.array([1.0, 1.0, np.inf, 1.0])}
    with pytest.raises(MetricError, match="1 rows with log r not finite"):
        of_split({"forget": forget}, "forget")
