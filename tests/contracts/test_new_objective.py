"""A new objective is one new file: listed, named in a recipe, tested, without another change.

The file is dropped into a copy of the package, so that tests that run beside this one see none.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import letheon
import pipeline
from pipeline import UNLEARN, changed

ROOT = Path(__file__).resolve().parents[2]
DROPPED = '''"""Weighs forget answers by a number of its own (Nobody 2026, arXiv 0000.00000)."""

from dataclasses import dataclass

from letheon.objectives.contract import LossTerms, Needs, Objective
from letheon.objectives.terms import nll_term, retain_term


@dataclass(frozen=True, kw_only=True)
class Dropped(Objective):
    """``weight`` scales the ascent."""

    weight: float = 0.5

    @property
    def needs(self):
        return Needs()

    def loss(self, model, reference, state):
        return LossTerms(
            {
                "forget": nll_term(model.forget, unit="forget_token", weight=-self.weight),
                "retain": retain_term(model, reference, by="nll", weight=1.0),
            }
        )


OBJECTIVE = Dropped
'''
# Beside the contract tests: to import everything in a process of its own would take longer.
RUN = """
from pathlib import Path
from letheon import recipe, run

def test_dropped_from_a_recipe():
    run.unlearn(recipe.load("{case}"), Path("{out}"))
"""


@pytest.fixture
def dropped(tmp_path: Path) -> dict[str, str]:
    """The environment in which ``letheon`` is a copy with one objective more."""
    copy = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(letheon.__file__).parent, copy / "letheon", ignore=ignored)
    (copy / "letheon/objectives/dropped.py").write_text(DROPPED)
    return os.environ | {"PYTHONPATH": str(copy)}


def python(environment: dict[str, str], *words: str | Path) -> str:
    command = [sys.executable, *map(str, words)]
    ended = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_a_new_file_is_listed(dropped: dict[str, str]) -> None:
    listed = json.loads(python(dropped, "-m", "letheon", "list", "objectives", "--json"))
    line = listed["objectives"]["dropped"]
    assert line.startswith("Weighs forget answers by a number of its own")


@pytest.mark.slow
def test_a_new_file_runs_from_a_recipe_and_is_in_the_contract_tests(
    dropped: dict[str, str], target: Path, tmp_path: Path
) -> None:
    raw = changed(
        UNLEARN,
        model={"path": str(target)},
        gold={},
        objective={"name": "dropped", "params": {"weight": 0.2}},
        training={"steps": 2, "batch_size": 3},
        evaluation={"max_new_tokens": 8, "metrics": ["probability"]},
    )
    case = pipeline.write(tmp_path / "recipes", raw, "case")
    (tmp_path / "test_run.py").write_text(RUN.format(case=case, out=tmp_path / "out"))
    words = ("-m", "pytest", "-q", "-c", "pyproject.toml", "-p", "no:cacheprovider")
    told = python(dropped, *words, tmp_path / "test_run.py", "tests/contracts", "-k", "dropped")
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert scores["run"]["method"] == "dropped"
    assert " passed" in told
    assert int(told.rpartition(" passed")[0].split()[-1]) >= 9
