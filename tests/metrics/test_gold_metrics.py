"""Gold distance and PrivLeak."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score

from letheon.errors import MetricError
from letheon.metrics import gold_distance, privleak
from letheon.metrics.truth_ratio import truth_ratio

FIVE = ["fact_probability", "rouge_l_recall", "extraction_strength", "min_k_auc", "ks_d"]


def _auc(records) -> float:
    forget, unseen = records["forget"]["min_k"], records["unseen"]["min_k"]
    truth = [1] * len(forget) + [0] * len(unseen)
    return float(roc_auc_score(truth, np.concatenate([forget, unseen])))


def test_gold_distance_is_the_mean_of_five_differences(make_records) -> None:
    model, gold = make_records(forget=0.7), make_records(forget=0.4, seed=1)
    mine, theirs = model["forget"], gold["forget"]
    ratios = [truth_ratio(f["paraphrased_nll"], f["perturbed_nll"]) for f in (mine, theirs)]
    expected = [
        abs(np.exp(-mine["fact_nll"]).mean() - np.exp(-theirs["fact_nll"]).mean()),
        abs(mine["rouge_l_recall"].mean() - theirs["rouge_l_recall"].mean()),
        abs(mine["extraction_strength"].mean() - theirs["extraction_strength"].mean()),
        abs(_auc(model) - _auc(gold)),
        ks_2samp(*ratios).statistic,
    ]
    scores = gold_distance.compute(model, gold)
    assert [s.name for s in scores] == ["gold_distance", *(f"gold_distance.{n}" for n in FIVE)]
    assert [s.value for s in scores[1:]] == pytest.approx(expected)
    assert scores[0].value == pytest.approx(np.mean(expected))
    assert scores[0].unit == "mean of 5 distances to gold"
    for score in scores:
        assert score.low <= score.value <= score.high
        assert score.direction == "down"
    assert scores[4].n == 320
    assert scores[4].interval == "95% bootstrap over 20 and 12 units"
    assert scores[1].n == 200


def test_under_and_over_forgetting_are_both_far_and_gold_is_near(make_records) -> None:
    gold = make_records(forget=0.5)
    distances = [
        gold_distance.compute(make_records(forget=knows, seed=2), gold)[0].value
        for knows in (0.9, 0.5, 0.1)
    ]
    assert distances[1] < 0.1 < min(distances[0], distances[2])
    assert gold_distance.compute(gold, gold)[0].value == 0.0


def test_without_fact_tokens_probability_steps_in_and_says_so(make_records) -> None:
    model, gold = make_records(forget=0.7), make_records(forget=0.4)
    for records in (model, gold):
        records["forget"]["fact_nll"][:] = np.nan
    scores = gold_distance.compute(model, gold)
    assert scores[1].name == "gold_distance.probability"
    assert scores[1].value == pytest.approx(
        np.exp(-model["forget"]["nll"]).mean() - np.exp(-gold["forget"]["nll"]).mean()
    )
    assert "no fact tokens marked" in scores[0].unit
    for records in (model, gold):
        del records["forget"]["fact_nll"]
    assert gold_distance.compute(model, gold)[0] == scores[0]


def test_partly_marked_facts_count_the_marked_rows(make_records) -> None:
    model, gold = make_records(forget=0.7), make_records(forget=0.4)
    for records in (model, gold):
        records["forget"]["fact_nll"][:50] = np.nan
    scores = gold_distance.compute(model, gold)
    assert (scores[1].name, scores[1].n) == ("gold_distance.fact_probability", 150)
    gold["forget"]["fact_nll"][50] = np.nan
    with pytest.raises(MetricError, match="1 rows marked for one model only"):
        gold_distance.compute(model, gold)


@pytest.mark.parametrize("split", ["forget", "unseen"])
def test_gold_distance_replaces_no_split(make_records, split: str) -> None:
    model, gold = make_records(), make_records()
    del gold[split]
    with pytest.raises(MetricError, match=split):
        gold_distance.compute(model, gold)
    with pytest.raises(MetricError, match="gold"):
        gold_distance.compute(model, None)


def test_privleak_by_hand() -> None:
    assert privleak.privleak(np.array(0.9), np.array(0.5)) == pytest.approx(-80.0)
    assert privleak.privleak(np.array(0.2), np.array(0.5)) == pytest.approx(60.0)
    assert privleak.privleak(np.array(0.5), np.array(0.5)) == 0.0


def test_privleak_score(make_records) -> None:
    model, gold = make_records(forget=0.5), make_records(forget=0.3, seed=1)
    (score,) = privleak.compute(model, gold)
    truth = 100 * ((1 - _auc(model)) - (1 - _auc(gold))) / (1 - _auc(gold))
    assert score.value == pytest.approx(truth)
    assert score.value < -20
    assert score.low <= score.value <= score.high < 0
    assert privleak.compute(gold, gold)[0].value == 0.0


def test_privleak_needs_a_gold_that_can_be_divided_by(make_records) -> None:
    gold = make_records(forget=0.3)
    gold["forget"]["min_k"] += 100
    with pytest.raises(MetricError, match="below 1"):
        privleak.compute(make_records(), gold)
    with pytest.raises(MetricError, match="gold model"):
        privleak.compute(make_records(), None)
