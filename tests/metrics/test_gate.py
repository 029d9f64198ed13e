from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from letheon.errors import MetricError
from letheon.metrics.gate import Criterion, Limits, Verdict, judge, over_seeds

TASK = ["forget_rows", "forget_units", "target_fails", "second_gold_passes"]
METHOD = ["forget_quality", "gold_distance", "utility", "not_oracle"]


@pytest.fixture
def case(make_records) -> dict[str, Any]:
    """Return models of one task on which the method passes everything."""

    def build(**size: int) -> dict[str, Any]:
        return {
            "method": make_records(forget=0.4, keep=0.9, seed=3, **size),
            "target": make_records(forget=0.9, keep=0.9, seed=0, **size),
            "gold": make_records(forget=0.4, keep=0.9, seed=1, **size),
            "second_gold": make_records(forget=0.4, keep=0.9, seed=2, **size),
        }

    return {**build(), "build": build}


def _judge(case: dict[str, Any], **more: Any) -> Verdict:
    models = {k: case[k] for k in ("target", "gold", "second_gold")}
    return judge(case["method"], **models, **more)


def _failed(verdict: Verdict) -> list[str]:
    return [criterion.name for criterion in verdict.criteria if not criterion.passed]


def test_a_run_like_gold_passes(case) -> None:
    verdict = _judge(case)
    assert verdict.passed
    assert verdict.decidable
    assert [c.name for c in verdict.criteria] == TASK + METHOD
    assert [c.kind for c in verdict.criteria] == ["task"] * 4 + ["method"] * 4
    assert verdict.words == "Forgotten and kept."
    assert verdict.failed == ()


def test_the_untouched_target_does_not_pass(case) -> None:
    verdict = _judge({**case, "method": case["target"]})
    assert _failed(verdict) == ["forget_quality", "gold_distance"]
    assert verdict.words.startswith("Not passed. Forget quality is")


def test_too_few_rows(case) -> None:
    verdict = _judge(case["build"](units=20, per_unit=9))
    assert _failed(verdict) == ["forget_rows"]
    assert not verdict.decidable
    assert verdict.words == (
        "The task cannot decide. The forget set has 180 rows with a truth ratio; at least 200 are "
        "needed."
    )


def test_too_few_units(case) -> None:
    verdict = _judge(case["build"](units=19, per_unit=11))
    assert _failed(verdict) == ["forget_units"]
    assert "19 independent units" in verdict.words


def test_rows_without_truth_ratio_do_not_count(case) -> None:
    for name in ("method", "target", "gold", "second_gold"):
        case[name]["forget"]["paraphrased_nll"][0] = np.nan
        case[name]["forget"]["perturbed_nll"][0] = np.nan
    verdict = _judge(case)
    assert _failed(verdict) == ["forget_rows"]
    assert verdict.criteria[0].value == 199


def test_a_target_that_does_not_know(case, make_records) -> None:
    verdict = _judge({**case, "target": make_records(forget=0.4, keep=0.9, seed=7)})
    assert _failed(verdict) == ["target_fails"]
    assert not verdict.decidable


def test_a_second_gold_that_fails(case) -> None:
    case["second_gold"]["forget"]["paraphrased_nll"] += 0.4
    verdict = _judge(case)
    assert _failed(verdict) == ["second_gold_passes"]
    assert verdict.words.startswith("The task cannot decide. A second gold model's")


def test_a_truth_ratio_unlike_golds(case) -> None:
    # 30 rows moved: enough for the p-value, too little for the mean of five distances
    case["method"]["forget"]["paraphrased_nll"][:30] += 1.0
    verdict = _judge(case)
    assert _failed(verdict) == ["forget_quality"]
    assert verdict.decidable


def test_text_that_still_comes_out_verbatim(case) -> None:
    case["method"]["forget"]["rouge_l_recall"][:] = 1.0
    case["method"]["forget"]["extraction_strength"][:] = 1.0
    verdict = _judge(case)
    assert _failed(verdict) == ["gold_distance"]
    assert "times the" in verdict.words


def test_running_past_gold_fails_the_distance(case) -> None:
    for name in ("rouge_l_recall", "extraction_strength"):
        case["method"]["forget"][name][:] = 0.0
    assert _failed(_judge(case)) == ["gold_distance"]


def test_lost_utility(case, make_records) -> None:
    case["method"] = {
        **make_records(forget=0.4, keep=0.85, seed=3),
        "forget": case["method"]["forget"],
        "unseen": case["method"]["unseen"],
    }
    verdict = _judge(case)
    assert _failed(verdict) == ["utility"]
    assert "% of the target's" in verdict.words
    assert _judge(case, limits=Limits(utility=0.7)).passed


def test_an_oracle_does_not_count(case) -> None:
    verdict = _judge(case, oracle=True)
    assert _failed(verdict) == ["not_oracle"]
    assert "does not count" in verdict.words


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(rows=201), "forget_rows"),
        (Limits(units=21), "forget_units"),
        (Limits(target_forget_quality=0.0), "target_fails"),
        (Limits(distance_factor=0.0, distance_margin=0.0), "gold_distance"),
        (Limits(utility=1.5), "utility"),
    ],
)
def test_every_limit_is_used(case, limits: Limits, name: str) -> None:
    assert _failed(_judge(case, limits=limits)) == [name]


def test_limits_are_inclusive(case) -> None:
    values = {c.name: c.value for c in _judge(case).criteria}
    at_p = Limits(forget_quality=min(values["forget_quality"], values["second_gold_passes"]))
    assert _judge(case, limits=at_p).passed
    assert _judge({**case, "method": case["second_gold"]}).criteria[5].value == pytest.approx(
        (_judge(case).criteria[5].limit - 0.02) / 2
    )


def test_utility_is_named_and_not_substituted(case) -> None:
    for name in ("method", "target", "gold", "second_gold"):
        del case[name]["world_facts"]
    with pytest.raises(MetricError, match="world_facts"):
        _judge(case)
    verdict = _judge(case, limits=Limits(utility_score="retain_utility"))
    assert verdict.passed
    assert "Retain utility is" in verdict.criteria[6].words


def test_a_target_without_utility_cannot_be_kept(case) -> None:
    for name in ("method", "target"):
        case[name]["retain"]["rouge_l_recall"][:] = 0.0
    verdict = _judge(case)
    assert _failed(verdict) == ["utility"]
    assert "0.000;" in verdict.words


def test_json_is_what_the_contract_says(case) -> None:
    data = json.loads(json.dumps(_judge(case).to_json()))
    assert set(data) == {"passed", "criteria"}
    assert data["passed"] is True
    for criterion in data["criteria"]:
        assert {"name", "passed", "value", "limit", "words"} <= set(criterion)
        assert isinstance(criterion["passed"], bool)
        assert criterion["words"].endswith(".")


def _verdict(**passed: bool) -> Verdict:
    kinds = {"forget_rows": "task", "forget_quality": "method", "utility": "method"}
    return Verdict(
        tuple(
            Criterion(name, passed.get(name, True), 0.0, 0.0, f"{name}.", kind)
            for name, kind in kinds.items()
        )
    )


def test_four_of_five_seeds_suffice() -> None:
    good, bad = _verdict(), _verdict(forget_quality=False)
    verdict = over_seeds([good, good, bad, good, good])
    assert verdict.passed
    assert {c.name: c.value for c in verdict.criteria} == {
        "seeds": 5,
        "forget_rows": 5,
        "forget_quality": 4,
        "utility": 5,
        "whole_gate": 4,
    }
    assert _failed(over_seeds([good, bad, bad, good, good])) == ["forget_quality", "whole_gate"]


def test_each_criterion_may_hold_while_the_whole_gate_does_not() -> None:
    seeds = [_verdict(forget_quality=False), _verdict(utility=False), *[_verdict()] * 3]
    verdict = over_seeds(seeds)
    assert _failed(verdict) == ["whole_gate"]
    assert verdict.words == ("Not passed. Whole gate holds on 3 of 5 seeds; at least 4 are needed.")


def test_fewer_than_five_seeds_decide_nothing() -> None:
    verdict = over_seeds([_verdict()] * 4)
    assert _failed(verdict) == ["seeds"]
    assert not verdict.decidable
    assert _failed(over_seeds([_verdict()] * 3))[0] == "seeds"


def test_more_seeds_keep_the_share() -> None:
    good, bad = _verdict(), _verdict(utility=False)
    assert over_seeds([good] * 8 + [bad] * 2).passed
    assert not over_seeds([good] * 7 + [bad] * 3).passed
    assert not over_seeds([good] * 4 + [bad] * 2).passed  # 4 of 6 is less than 4 of 5


def test_a_task_that_cannot_decide_on_two_seeds() -> None:
    verdict = over_seeds([_verdict(forget_rows=False)] * 2 + [_verdict()] * 3)
    assert not verdict.decidable
    assert verdict.words.startswith("The task cannot decide. Forget rows holds on 3 of 5")


def test_verdicts_must_be_of_one_gate() -> None:
    other = Verdict(_verdict().criteria[:2])
    with pytest.raises(MetricError, match="same criteria"):
        over_seeds([_verdict(), other])
    with pytest.raises(MetricError, match="0 verdicts"):
        over_seeds([])
