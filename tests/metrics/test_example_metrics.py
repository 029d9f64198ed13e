"""Extraction strength, exact memorisation, fluency: pure functions and their means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from letheon.errors import MetricError
from letheon.metrics import exact_memorisation, extraction_strength, fluency


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_strength_follows_its_definition(match: list[bool]) -> None:
    n = len(match)
    k = next((i for i in range(n) if all(match[i:])), n)
    assert extraction_strength.strength(np.array(match)) == pytest.approx(1 - k / n)


@pytest.mark.parametrize(
    ("match", "value"),
    [([1, 1, 1, 1], 1.0), ([0, 1, 1, 1], 0.75), ([1, 1, 1, 0], 0.0), ([1, 0, 0, 1], 0.25)],
)
def test_strength_by_hand(match: list[int], value: float) -> None:
    assert extraction_strength.strength(np.array(match)) == value


def test_an_empty_answer_has_no_value() -> None:
    with pytest.raises(MetricError, match="Extraction strength needs"):
        extraction_strength.strength(np.array([], dtype=bool))
    with pytest.raises(MetricError, match="Exact memorisation needs"):
        exact_memorisation.share(np.array([], dtype=bool))


def test_exact_memorisation_is_the_share_of_right_tokens() -> None:
    assert exact_memorisation.share(np.array([True, False, True, True])) == 0.75


def test_means_by_hand(tiny) -> None:
    strength = {s.name: s for s in extraction_strength.compute(tiny)}
    assert strength["forget.extraction_strength"].value == 0.5
    assert strength["retain.extraction_strength"].value == 0.75
    memorised = {s.name: s for s in exact_memorisation.compute(tiny)}
    assert memorised["forget.exact_memorisation"].value == 0.5
    assert memorised["retain.exact_memorisation"].value == 1.0
    assert memorised["forget.exact_memorisation"].direction == "gold"
    # units x and y have means 0.75 and 0.25: resamples give 0.25, 0.5 or 0.75
    assert memorised["forget.exact_memorisation"].low == 0.25
    assert memorised["forget.exact_memorisation"].high == 0.75


def test_repetition_by_hand() -> None:
    # abc bca cab abc -> 3 of 4 distinct
    assert fluency.repetition(["a", "b", "c", "a", "b", "c"], n=3) == 0.25
    assert fluency.repetition("a b c a b c") == 0.25
    assert fluency.repetition([7] * 10, n=3) == pytest.approx(1 - 1 / 8)
    assert fluency.repetition(range(9)) == 0.0
    assert fluency.repetition([1, 2], n=3) == 0.0
    assert fluency.repetition([1, 2, 1], n=1) == pytest.approx(1 / 3)


def test_fluency_scores(tiny, make_records) -> None:
    (score,) = fluency.compute(tiny)
    assert (score.name, score.value) == ("fluency.repetition", pytest.approx(0.2))
    records = make_records()
    records["forget"]["reference_nll"] = np.full(200, math.log(7.0))
    records["forget"]["reference_nll"][:30] = np.nan
    perplexity = fluency.compute(records)[1]
    assert perplexity.name == "fluency.perplexity"
    assert perplexity.value == pytest.approx(7.0)
    assert perplexity.n == 170
    assert perplexity.low == pytest.approx(7.0)
    assert perplexity.high == pytest.approx(7.0)


def test_perplexity_of_nothing_is_an_error(make_records) -> None:
    records = make_records()
    records["forget"]["reference_nll"][:] = np.nan
    with pytest.raises(MetricError, match="not empty"):
        fluency.compute(records)
