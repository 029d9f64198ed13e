"""What is missing or unknown in a folder is said before a report is begun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from letheon.errors import DataError, FolderError
from letheon.folder import RunFolder
from letheon.report import load_comparison, load_run, load_runs


def test_a_run_comes_back_whole(demo_folder: Path) -> None:
    run = load_run(demo_folder / "methods/npo-sine")
    assert run.name == "npo-sine"
    assert run.scores["gate"]["passed"] is True
    assert run.progress[-1]["reason"] == "steps"
    assert run.recipe.startswith("seed: 3")
    assert run.environment["versions"]["torch"] == "2.13.0"


def test_a_run_needs_scores_only(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(FolderError, match=r"needs scores\.json"):
        load_run(tmp_path)
    folder.write_json("scores.json", {"schema": 1, "scores": []})
    run = load_run(tmp_path)
    assert (run.progress, run.environment, run.recipe) == ([], {}, "")
    folder.write_json("scores.json", {"schema": 1})
    with pytest.raises(DataError, match="a list named scores"):
        load_run(tmp_path)
    folder.write_json("scores.json", {"schema": 9, "scores": []})
    with pytest.raises(FolderError, match="schema 9"):
        load_run(tmp_path)


def test_a_comparison_is_given_by_folder_or_file(
    demo_folder: Path, comparison: dict[str, Any]
) -> None:
    assert load_comparison(demo_folder) == comparison
    assert load_comparison(demo_folder / "comparison.json") == comparison


def test_runs_since_deleted_are_left_out(demo_folder: Path, comparison: dict[str, Any]) -> None:
    assert len(load_runs(demo_folder, comparison)) == 5
    (demo_folder / "methods/npo-sine/scores.json").unlink()
    found = load_runs(demo_folder / "comparison.json", comparison)
    assert [run.name for _, run in found].count("npo-sine") == 0
    assert len(found) == 4


@pytest.mark.parametrize("path", ["absent", "absent/comparison.json"])
def test_no_folder_is_a_folder_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(FolderError, match="absent"):
        load_comparison(tmp_path / path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": []}, "without rows"),
        ({"rows": ["x"]}, "row 1"),
        ({"rows": [{"role": "hero", "scores": {}}]}, r"row 1: 'hero'"),
        ({"rows": [{"role": "gold"}]}, "scores, each with a value"),
        ({"rows": [{"role": "gold", "scores": {"a": {"n": 1}}}]}, "scores, each with a value"),
        ({"rows": [{"role": "gold", "scores": {"a": 0.5}}]}, "scores, each with a value"),
    ],
)
def test_rows_that_are_not_whole_are_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    file = tmp_path / "comparison.json"
    file.write_text(json.dumps({"schema": 1} | change))
    with pytest.raises(DataError, match=message):
        load_comparison(tmp_path)
