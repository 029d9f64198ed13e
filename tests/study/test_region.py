"""The success region's numbers, worked by hand."""

from __future__ import annotations

import pytest
from tiny_study import probe, trial

from letheon.errors import MetricError
from letheon.study.region import Limits, Past, passing, past_stop, region

LIMITS = Limits(utility_ratio=0.98, gold_distance=0.05)


@pytest.mark.parametrize(
    ("values", "passes"),
    [
        ((0.05, 0.98, 0.05), True),
        ((0.049, 1.0, 0.01), False),
        ((0.5, 0.979, 0.01), False),
        ((0.5, 1.0, 0.051), False),
    ],
)
def test_a_probe_passes_by_all_three(values: tuple[float, float, float], passes: bool) -> None:
    assert passing(trial(0, [probe(10, *values)]), LIMITS) == [passes]


def test_a_run_that_diverged_does_not_pass() -> None:
    assert passing(trial(0, [probe(10)], "the loss is nan"), LIMITS) == [False]


def test_a_probe_without_forget_quality_is_an_error() -> None:
    with pytest.raises(MetricError, match="probes without forget_quality"):
        passing(trial(0, [{"step": 1, "utility_ratio": 1.0, "gold_distance": 0.0}]), LIMITS)


def test_how_far_a_run_may_go_past_the_stop() -> None:
    bad = {"quality": 0.0}
    run = trial(
        0, [probe(20, **bad), probe(40), probe(60), probe(80), probe(100, **bad), probe(120)]
    )
    assert past_stop(run, LIMITS) == Past(40, 80, 1.0, open=False)
    assert past_stop(trial(0, [probe(20, **bad), probe(40)]), LIMITS) == Past(
        40, 40, 0.0, open=True
    )
    assert past_stop(trial(0, [probe(20, **bad)]), LIMITS) is None


def test_the_region_counts_settings() -> None:
    runs = [
        # 0 passes at the end, 1 on the way only, 2 on one of two instances only, 3 diverges
        trial(0, [probe(10, quality=0.0), probe(20)]),
        trial(0, [probe(10), probe(20)], instance="tune-1"),
        trial(1, [probe(10), probe(20, utility=0.4)]),
        trial(1, [probe(10), probe(20)], instance="tune-1"),
        trial(2, [probe(10), probe(20)]),
        trial(2, [probe(10, distance=0.07), probe(20, distance=0.07)], instance="tune-1"),
        trial(3, [probe(10)], "the loss is nan"),
        trial(3, [], "the loss is nan", instance="tune-1"),
    ]
    found = region(runs, {"tune-0": LIMITS, "tune-1": LIMITS})
    assert (found["anywhere"]["passed"], found["anywhere"]["n"]) == (2, 4)
    # Wilson, 2 of 4: centre 0.5, half-width 1.96 * sqrt(0.25 / 4 + 1.96^2 / 64) / (1 + 1.96^2 / 4)
    assert found["anywhere"]["low"] == pytest.approx(0.150, abs=1e-3)
    assert found["anywhere"]["high"] == pytest.approx(0.850, abs=1e-3)
    assert found["at_end"]["passed"] == 1
    assert (found["runs"], found["runs_passing"], found["runs_failed"]) == (8, 5, 2)
    assert found["worst_utility"] == 0.0, "a model that diverged answers nothing"
    # 0: 20-20 open; 0': 10-20 open; 1: 10-10; 1': 10-20 open; 2: 10-20 open
    assert found["past_stop"] == {"median": 1.0, "low": 0.0, "high": 1.0, "n": 5, "open": 4}
    assert region(runs[:6], {"tune-0": LIMITS, "tune-1": LIMITS})["worst_utility"] == 0.4


def test_limits_are_those_of_the_instance() -> None:
    runs = [trial(0, [probe(10)]), trial(0, [probe(10)], instance="tune-1")]
    strict = Limits(utility_ratio=0.98, gold_distance=0.02)
    assert region(runs, {"tune-0": LIMITS, "tune-1": strict})["anywhere"]["passed"] == 0
