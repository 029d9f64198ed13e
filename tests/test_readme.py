"""What the documents tell a reader to type works: Python runs, commands and options exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import pytest
from pydantic import BaseModel

from letheon.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
# Records of what was decided and measured: the commands in them are those of their day.
DATED = {"design", "results"}
DOCUMENTS = [
    page.relative_to(ROOT).as_posix()
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    if not DATED.intersection(page.relative_to(ROOT).parts)
]
NOT_RUN = "<!-- not run -->"
# Its blocks build on each other: test_tutorial.py runs them all in one folder.
TUTORIAL = "docs/tutorial.md"
# Verbs whose --set reaches the keys of a recipe, and nothing else.
OF_A_RECIPE = ("evaluate", "plan", "train", "unlearn", "validate")


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
    if words[0] == "torchrun" and "letheon" in words:
        words = words[words.index("letheon") :]
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
    faults = [f"no option {option}" for option in options if option not in text]
    if rest[0] in OF_A_RECIPE:
        given = [value for word, value in pairwise(words) if word == "--set"]
        keys = (value.partition("=")[0] for value in given if "=" in value)
        faults += [f"no key {key}" for key in keys if not is_key(key)]
    return ", ".join(faults)


def is_key(key: str) -> bool:
    """Whether a recipe has this dotted key; what is below a free mapping is not looked at."""
    model: type[BaseModel] = Recipe
    *_, last = parts = key.split(".")
    for part in parts:
        if part not in model.model_fields:
            return False
        annotation: Any = model.model_fields[part].annotation
        inner = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type)]
        below = [a for a in inner if issubclass(a, BaseModel)]
        if not below:
            return part == last or get_origin(annotation) is dict
        model = below[0]
    return True


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


@pytest.mark.parametrize("document", DOCUMENTS)
def test_pictures_are_there_light_and_described(document: str) -> None:
    place = ROOT / document
    for words, name in re.findall(r"!\[(.*?)\]\((.*?)\)", place.read_text(encoding="utf-8")):
        assert (place.parent / name).stat().st_size < 200_000, name
        assert len(words) > 10, name


def test_the_readme_shows_a_report_on_its_first_screen() -> None:
    start = (ROOT / "README.md").read_text(encoding="utf-8").partition("```")[0]
    assert "(docs/images/report.png)" in start


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
    spread = ["torchrun", "--nproc-per-node", "2", "-m", "letheon"]
    assert wrong([*spread, "demo", "--out", "x"]) == ""
    assert wrong([*spread, "demo", "--sed", "1"]) == "no option --sed"
    assert wrong(["torchrun", "--sed", "1", "other.py"]) == ""


def test_unknown_keys_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "help_of", lambda verb: "usage: --set KEY=VALUE")
    command = ["letheon", "unlearn", "--set"]
    for key in ("seed", "training.lr", "gold.scoring.path", "data.params.split", "adapter"):
        assert wrong([*command, f"{key}=1"]) == ""
    assert wrong([*command, "training.lr.low=1"]) == "no key training.lr.low"
    assert wrong([*command, "training.rate=1"]) == "no key training.rate"
    assert wrong([*command, "gold.scorer.path=x", "--set", "seed=1"]) == "no key gold.scorer.path"
    assert wrong(["letheon", "attack", "--set", "relearn.steps=80"]) == ""
