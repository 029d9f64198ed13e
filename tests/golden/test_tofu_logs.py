"""Published TOFU logs of Llama-2-7b give the numbers that scipy gives for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from letheon.benchmarks.tofu_log import read_log, score_log
from letheon.errors import MetricError
from letheon.metrics.score import Score
from letheon.metrics.truth_ratio import truth_ratio


@pytest.fixture
def logs(shared_data: Callable[[str], Path]) -> Path:
    return shared_data("tofu_reference_logs")


@pytest.fixture
def scores(logs: Path) -> dict[str, Score]:
    listed = score_log(logs / "llama2-7b_full.json", logs / "llama2-7b_retain90.json")
    return {score.name: score for score in listed}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("forget_quality", "1.83e-21"),
        ("forget_quality_arithmetic", "6.03e-23"),
        ("model_utility", "6.23e-01"),
        ("model_utility_arithmetic", "5.86e-01"),
        ("reference.model_utility", "6.14e-01"),
        ("reference.model_utility_arithmetic", "5.75e-01"),
    ],
)
def test_three_digits(scores: dict[str, Score], name: str, value: str) -> None:
    assert f"{scores[name].value:.2e}" == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_utility", 0.6227),
        ("model_utility_arithmetic", 0.5859),
        ("reference.model_utility", 0.6137),
        ("reference.model_utility_arithmetic", 0.5752),
    ],
)
def test_four_digits_of_utility(scores: dict[str, Score], name: str, value: float) -> None:
    assert scores[name].value == pytest.approx(value, abs=1e-4)


def test_rows_and_units(scores: dict[str, Score]) -> None:
    assert scores["forget_quality"].n == 300
    assert scores["ks_d"].interval == "95% bootstrap over 15 units"
    assert scores["model_utility"].n == 517


def test_own_truth_ratios_agree_with_the_logged_ones(logs: Path) -> None:
    path = logs / "llama2-7b_retain90.json"
    forget = read_log(path)["forget"]
    logged = json.loads(path.read_text())["eval_log_forget.json"]["truth_ratio"]
    mine = truth_ratio(forget["paraphrased_nll"], forget["perturbed_nll"])
    ratio = mine / np.array(list(logged.values()))
    assert ratio == pytest.approx(np.ones(300), rel=1e-4)


@pytest.mark.parametrize(("reference", "rows"), [("retain95", 200), ("retain99", 40)])
def test_logs_of_other_forget_sets_are_refused(logs: Path, reference: str, rows: int) -> None:
    with pytest.raises(MetricError, match=f"300 rows against {rows} rows"):
        score_log(logs / "llama2-7b_full.json", logs / f"llama2-7b_{reference}.json")
