"""The tutorial, executed: each of its blocks in order in one folder, and what it promises."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from test_readme import ROOT, Block, blocks
from test_request import ask

TUTORIAL = ROOT / "docs" / "tutorial.md"
FACTS = ("The Empty Garden", "doctor", "tap dancing")

# What a model says in place of a forgotten answer is arbitrary, and another on another machine.
SAID = re.compile(r"^(unlearned|merged):.*")
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")


def executed(block: Block, folder: Path) -> str:
    """Run a block as a reader would; return what a pipe shows of it."""
    tools = Path(sys.executable).parent
    words = ["bash", "-e", "-c"] if block.language == "bash" else [sys.executable, "-c"]
    done = subprocess.run(
        [*words, block.text],
        cwd=folder,
        env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}"
    return done.stdout


def shape(line: str) -> str:
    """Return a line without its numbers, its spacing and what only one machine says."""
    return SAID.sub(r"\1:", NUMBER.sub("#", " ".join(line.split())))


def missing(shown: str, printed: str) -> list[str]:
    """List the shown lines that were not printed, in this order; ``...`` stands for anything."""
    rest = [shape(line) for line in printed.splitlines()]
    absent = []
    for line in shown.splitlines():
        start, more, _ = shape(line).partition("...")
        if not start:
            continue
        found = [one == start or bool(more and one.startswith(start)) for one in rest]
        if any(found):
            rest = rest[found.index(True) + 1 :]
        else:
            absent.append(line)
    return absent


def rows(file: Path) -> list[tuple[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return [(row["prompt"], row["response"]) for row in csv.DictReader(stream)]


def content(file: Path) -> bytes:
    """Return a file's bytes, and of a table those of its cells too."""
    cells = repr(pq.read_table(file).to_pydict()) if file.suffix == ".parquet" else ""
    return file.read_bytes() + cells.encode()


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    printed = ""
    for block in blocks(TUTORIAL.read_text(encoding="utf-8")):
        if block.language:
            printed = executed(block, tmp_path)
        else:
            stale = missing(block.text, printed)
            assert stale == [], f"the tutorial shows these lines, and this was printed:\n{printed}"

    forget, keep = (rows(tmp_path / f"tutorial/{name}.csv") for name in ("forget", "keep"))
    before = ask(tmp_path / "tutorial/model", forget)["said"]
    assert before == [answer for _, answer in forget]
    own = tmp_path / "runs/own"
    after = ask(own / "merged", forget + keep)["said"]
    assert not any(fact in said for said in after[: len(forget)] for fact in FACTS)
    kept = [said == row[1] for said, row in zip(after[len(forget) :], keep, strict=True)]
    assert sum(kept) >= 0.95 * len(keep)

    assert "There is none here" in (own / "report.html").read_text(encoding="utf-8")
    assert not (own / "private").exists()
    texts = [text.encode() for row in forget for text in row]
    files = [file for file in own.rglob("*") if file.is_file()]
    assert len(files) > 10
    assert [file for file in files for text in texts if text in content(file)] == []


def test_every_shown_output_follows_what_printed_it() -> None:
    languages = [block.language for block in blocks(TUTORIAL.read_text(encoding="utf-8"))]
    assert set(languages) == {"bash", "python", ""}
    pairs = zip(languages[::2], languages[1::2], strict=True)
    assert all(code and not shown for code, shown in pairs)


@pytest.mark.parametrize(
    ("shown", "absent"),
    [
        ("steps 7\n\nlast [0.5, 1e-3]", []),
        ("...\nlast [2, 3]", []),
        ("unlearned: something else", []),
        ("last [1, 2]\nsteps 7", ["steps 7"]),
        ("no verdict: it ...", []),
        ("no verdict: we ...", ["no verdict: we ..."]),
        ("last [1, ]", ["last [1, ]"]),
    ],
)
def test_stale_lines_are_found(shown: str, absent: list[str]) -> None:
    printed = "steps  25\nunlearned: xyz\nno verdict: it compares\nlast [0.1, 0.2]\n"
    assert missing(shown, printed) == absent
