"""What a person waits for before anything happens: help, list and report take no torch."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "peft", "accelerate", "datasets")
_RUN = """
import json, sys
from letheon import cli
sys.argv = ["letheon", *sys.argv[1:]]
try:
    cli.main()
except SystemExit as end:
    print(json.dumps([end.code or 0, sorted(sys.modules)]), file=sys.stderr)
else:
    print(json.dumps([0, sorted(sys.modules)]), file=sys.stderr)
"""


def imported(*words: str | Path) -> set[str]:
    """Run a command in a fresh interpreter; return the modules that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *map(str, words)], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr.splitlines()[0]
    return set(modules)


@pytest.mark.parametrize("words", [["--help"], ["list"], ["unlearn", "--help"]], ids=" ".join)
def test_words_alone_import_nothing_heavy(words: list[str]) -> None:
    assert imported(*words) & set(HEAVY) == set()


def test_a_report_imports_nothing_heavy(sine_run: Path, tmp_path: Path) -> None:
    found = imported("report", shutil.copytree(sine_run, tmp_path / "run"))
    assert found & set(HEAVY) == set()
    assert "letheon.report" in found


def test_help_takes_at_most_three_tenths_of_a_second() -> None:
    """CPU time of the whole process, the least of a few: other work may share the cache."""
    taken = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "letheon", "--help"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(taken) <= 0.3
