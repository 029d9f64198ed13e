"""Random settings: within their ranges, spread over them, and dependent on nothing else."""

from __future__ import annotations

import math

import pytest

from letheon.study.space import setting
from letheon.study.spec import Range

SEARCH = {
    "lr": Range(low=1e-4, high=1e-1, log=True),
    "weight": Range(low=0.2, high=0.4),
    "rank": Range(low=1, high=3, integer=True),
    "bound": Range(choices=("sine", "tanh")),
}


def test_a_setting_is_that_of_its_trial_and_nothing_else() -> None:
    found = setting("s", "m", 3, SEARCH)
    assert found == setting("s", "m", 3, dict(reversed(SEARCH.items())))
    assert found["lr"] == setting("s", "m", 3, {"lr": SEARCH["lr"]})["lr"]
    others = [
        setting("s", "m", 4, SEARCH),
        setting("s", "n", 3, SEARCH),
        setting("t", "m", 3, SEARCH),
    ]
    assert all(other["lr"] != found["lr"] for other in others)


def test_settings_are_spread_over_their_ranges() -> None:
    found = [setting("s", "m", k, SEARCH) for k in range(600)]
    logs = [math.log10(each["lr"]) for each in found]
    assert min(logs) >= -4
    assert max(logs) <= -1
    assert sum(logs) / 600 == pytest.approx(-2.5, abs=0.15)
    assert sum(each["weight"] for each in found) / 600 == pytest.approx(0.3, abs=0.01)
    counts = [sum(each["rank"] == k for each in found) for k in (1, 2, 3)]
    assert sum(counts) == 600
    assert min(counts) > 150
    assert 250 < sum(each["bound"] == "tanh" for each in found) < 350


def test_numbers_are_short_and_the_same_everywhere() -> None:
    # Frozen: committed results are run again from them.
    found = setting("people", "gd-sine", 0, {"training.lr": SEARCH["lr"]})
    assert found == {"training.lr": 0.005522}
    assert all(len(f"{setting('s', 'm', k, SEARCH)['lr']:.10g}") <= 10 for k in range(50))
