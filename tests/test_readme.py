"""What the documents tell a reader to type works: Python runs, commands and options exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    name.relative_to(ROOT).as_posix()
    for name in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
]
NOT_RUN = "<!-- not run -->"
# Its blocks build on each other: test_tutorial.py runs them all in one folder.
TUTORIAL = "docs/tutorial.md"


class Block(NamedTuple):
    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """Read the fenced blocks of a page, but those that stand under ``<!-- not run -->``."""
    found = []
    end = 0
    for match in re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", text, re.M | re.S):
        before = text[end : match.start()].rstrip()
        end = match.end()
        if not before.endswith(NOT_RUN):
            found.append(Block(match[1], match[2]))
    return found


def commands(text: str) -> list[list[str]]:
    """Split a shell block into commands of words; comments, prompts and continuations undone."""
    lines = text.replace("\\\n", " ").splitlines()
    split = (shlex.split(line.removeprefix("$ "), comments=True) for line in lines)
    return [words for words in split if words]


@cache
def help_of(verb: str) -> str:
    """Return the help text of ``letheon VERB``; "" when there is no such verb."""
    code = "import sys; from letheon.cli import main; sys.exit(main())"
    wide = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-c", code, verb, "--help"],
        capture_output=True,
        text=True,
        check=False,
        env=wide,
    )
    return done.stdout if done.returncode == 0 else ""


def wrong(words: list[str]) -> str:
    """Say what is wrong with a command; "" when nothing is, or when it is not ours."""
    tool, *rest = (word for word in words if "=" not in word or word.startswith("-"))
    if tool == "make":
        rules = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        return "".join(f"no rule {name}" for name in rest if name not in rules)
    if tool != "letheon" or not rest or rest[0] == "--help":
        return ""
    text = help_of(rest[0])
    if not text:
        return f"no verb {rest[0]}"
    options = [word.partition("=")[0] for word in rest if word.startswith("--")]
    return ", ".join(f"no option {option}" for option in options if option not in text)


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name != TUTORIAL])
def test_python_blocks_run(document: str, tmp_path: Path) -> None:
    for block in blocks((ROOT / document).read_text(encoding="utf-8")):
        if block.language == "python":
            command = [sys.executable, "-c", block.text]
            done = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{block.text}\n{done.stderr}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_exist(document: str) -> None:
    found = [
        (shlex.join(words), fault)
        for block in blocks((ROOT / document).read_text(encoding="utf-8"))
        if block.language in ("bash", "console", "sh")
        for words in commands(block.text)
        if (fault := wrong(words))
    ]
    assert found == []


# --- the reader itself


def test_blocks_are_found_and_marked_ones_left_out() -> None:
    page = (
        "a\n```bash\none\n```\nb\n\n<!-- not run -->\n```bash\ntwo\n```\n```\nthree\n```\n"
        "<!-- not run --> but then words\n\n```python\nfour\n\nfive\n```\n"
    )
    expected = [Block("bash", "one\n"), Block("", "three\n"), Block("python", "four\n\nfive\n")]
    assert blocks(page) == expected


def test_commands_are_split() -> None:
    text = "# why\n$ letheon demo \\\n  --seed 1  # fast\n\nmake test\n"
    assert commands(text) == [["letheon", "demo", "--seed", "1"], ["make", "test"]]


def test_faults_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    verbs = {"demo": "usage: --seed --out"}
    monkeypatch.setitem(globals(), "help_of", lambda verb: verbs.get(verb, ""))
    assert wrong(["make", "test", "PYTEST_ARGS=-x"]) == ""
    assert wrong(["make", "coffee"]) == "no rule coffee"
    assert wrong(["ls", "-l"]) == ""
    assert wrong(["letheon", "--help"]) == ""
    assert wrong(["letheon", "demo", "--seed", "1", "--out=x"]) == ""
    assert wrong(["letheon", "demo", "--sed", "1"]) == "no option --sed"
    assert wrong(["letheon", "dream"]) == "no verb dream"
