from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letheon.benchmarks.tofu_log import read_log, score_log
from letheon.errors import DataError, MetricError

PARTS = {
    "eval_log_forget.json": 40,
    "eval_log.json": 40,
    "eval_real_author_wo_options.json": 3,
    "eval_real_world_wo_options.json": 3,
}


def _part(n: int, shift: float) -> dict[str, Any]:
    def rows(values: list[Any]) -> dict[str, Any]:
        return {str(i): value for i, value in enumerate(values)}

    return {
        "avg_gt_loss": rows([0.1 * (i % 7) + shift for i in range(n)]),
        "num_token_gt": rows([10 + i for i in range(n)]),
        "avg_paraphrased_loss": rows([0.5 + 0.1 * (i % 5) + shift for i in range(n)]),
        "average_perturb_loss": rows([[2.0 + 0.01 * i, 3.0] for i in range(n)]),
        "rougeL_recall": rows([0.5] * n),
        "generated_text": rows([["q", "guess", f"answer {i}"] for i in range(n)]),
    }


@pytest.fixture
def log() -> dict[str, Any]:
    return {part: _part(n, 0.0) for part, n in PARTS.items()}


def _write(path: Path, log: object) -> Path:
    path.write_text(json.dumps(log))
    return path


def test_columns_and_units(tmp_path: Path, log) -> None:
    records = read_log(_write(tmp_path / "log.json", log))
    assert list(records) == ["forget", "retain", "real_authors", "world_facts"]
    forget = records["forget"]
    assert forget["perturbed_nll"].shape == (40, 2)
    assert forget["nll"][3] == pytest.approx(0.3)
    assert forget["paraphrased_nll"][6] == pytest.approx(0.6)
    assert forget["n_tokens"].dtype == np.int64
    assert forget["unit"][[0, 19, 20, 39]].tolist() == [
        "forget-0",
        "forget-0",
        "forget-1",
        "forget-1",
    ]
    assert len(set(records["world_facts"]["unit"])) == 3
    assert len(set(forget["id"])) == 40


def test_scores_of_both_logs(tmp_path: Path, log) -> None:
    reference = {part: _part(n, 1.0) for part, n in PARTS.items()}
    full = _write(tmp_path / "full.json", log)
    scores = {s.name: s for s in score_log(full, _write(tmp_path / "retain.json", reference))}
    assert scores["forget_quality"].value < 1e-6
    assert scores["model_utility"].value > scores["reference.model_utility"].value
    swapped = {s.name: s for s in score_log(tmp_path / "retain.json", full)}
    assert swapped["model_utility"].value == scores["reference.model_utility"].value


def test_other_answers_in_the_same_number_of_rows_are_noticed(tmp_path: Path, log) -> None:
    other = json.loads(json.dumps(log))
    other["eval_log_forget.json"]["generated_text"]["7"][2] = "another answer"
    paths = _write(tmp_path / "a.json", log), _write(tmp_path / "b.json", other)
    with pytest.raises(MetricError, match="1 ids differ, the first at row 7"):
        score_log(*paths)


def test_logs_without_texts_are_matched_by_index(tmp_path: Path, log) -> None:
    for part in log.values():
        del part["generated_text"]
    path = _write(tmp_path / "log.json", log)
    assert read_log(path)["forget"]["id"][1] == "forget-1"
    assert score_log(path, path)[0].value == 1.0


def test_sizes_that_differ_are_named(tmp_path: Path, log) -> None:
    short = {**log, "eval_log_forget.json": _part(20, 0.0)}
    paths = _write(tmp_path / "full.json", log), _write(tmp_path / "short.json", short)
    with pytest.raises(MetricError, match="40 rows against 20 rows"):
        score_log(*paths)


def _without(log: dict[str, Any], part: str, key: str | None = None) -> None:
    if key is None:
        del log[part]
    else:
        del log[part][key]


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (lambda log: _without(log, "eval_log.json"), "'eval_log.json'"),
        (
            lambda log: _without(log, "eval_log.json", "rougeL_recall"),
            "'eval_log.json' -> 'rougeL_recall'",
        ),
        (lambda log: log["eval_log.json"].update(avg_gt_loss=[1.0]), "'avg_gt_loss'"),
        (lambda log: log["eval_log.json"].update(avg_gt_loss={}), "'avg_gt_loss'"),
        (lambda log: log["eval_log.json"]["avg_gt_loss"].update({"3": "x"}), "'avg_gt_loss'"),
        (lambda log: log["eval_log.json"]["avg_gt_loss"].update({"3": float("nan")}), "1 NaN"),
        (lambda log: log["eval_log.json"]["avg_gt_loss"].pop("3"), "indices 0, 1, 2, 4"),
        (lambda log: log["eval_log.json"]["avg_gt_loss"].pop("39"), "'avg_gt_loss': 39"),
        (
            lambda log: log["eval_log.json"]["average_perturb_loss"].update({"0": [1.0]}),
            "'average_perturb_loss'",
        ),
        (
            lambda log: log["eval_log.json"].update(average_perturb_loss={"0": 1.0}),
            "'average_perturb_loss'",
        ),
    ],
)
def test_malformed_logs_name_file_and_key(tmp_path: Path, log, break_it, named: str) -> None:
    break_it(log)
    path = _write(tmp_path / "broken.json", log)
    with pytest.raises(DataError) as caught:
        read_log(path)
    assert str(path) in str(caught.value)
    assert named in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[1, 2]"])
def test_what_is_not_a_log_is_one_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "log.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"log\.json"):
        read_log(path)
    with pytest.raises(DataError, match="absent"):
        read_log(tmp_path / "absent.json")
