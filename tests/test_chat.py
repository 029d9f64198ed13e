"""`letheon chat`: whose answer is whose, on a terminal, in a pipe and as JSON; what is refused."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from letheon import chat
from letheon.errors import FolderError
from letheon.models import checksum
from pipeline import Letheon, listing

QUESTION = "Who is it?"


@pytest.fixture
def folder(sine_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sine_run, tmp_path / "run"))


def plainly(place: Path, question: str = QUESTION, n: int = 8) -> str:
    """Ask a checkpoint with transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(place)
    ids = tokenizer(f"Question: {question}\nAnswer:", return_tensors="pt", add_special_tokens=False)
    model = AutoModelForCausalLM.from_pretrained(place)
    out = model.generate(**ids, max_new_tokens=n, do_sample=False, pad_token_id=0)
    new = out[0, ids["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True)).strip()


def test_each_model_answers_for_itself(sine_run: Path, home: Path, letheon: Letheon) -> None:
    before = listing(sine_run)
    ended = letheon("chat", sine_run, QUESTION, "--models", home, "--json")
    assert ended.code == 0, ended.err
    (entry,) = json.loads(ended.out)["answers"]
    assert entry["question"] == QUESTION
    assert list(entry["answers"]) == ["original", "unlearned", "gold"]
    assert entry["answers"]["original"] == plainly(next(home.glob("target-*")) / "merged")
    assert entry["answers"]["unlearned"] == plainly(sine_run / "merged")
    golds = [place / "merged" for place in home.glob("gold-*")]
    scoring = next(p for p in golds if "seed: 2\n" in (p.parent / "recipe.yaml").read_text())
    assert entry["answers"]["gold"] == plainly(scoring)
    talk = chat.Talk(sine_run, home=home)
    assert [s.checksum for s in talk.subjects][2] == checksum(scoring)
    assert listing(sine_run) == before


def test_a_pipe_has_a_question_a_line_and_plain_lines(
    sine_run: Path, home: Path, letheon: Letheon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Who?\n\n Where is the house of them all? \n"))
    monkeypatch.setenv("COLUMNS", "20")
    ended = letheon("chat", sine_run, "--models", home, "--max-new-tokens", "3")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "question",
        "original",
        "unlearned",
        "gold",
    ] * 2
    assert lines[0] == "question: Who?"
    assert lines[4] == "question: Where is the house of them all?"
    own = plainly(sine_run / "merged", "Where is the house of them all?", n=3)
    assert lines[6] == f"unlearned: {' '.join(own.split())}".rstrip()


def test_a_person_asks_until_an_empty_line(
    sine_run: Path, home: Path, letheon: Letheon, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(["Who?", "Where?", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(said))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    ended = letheon("chat", sine_run, "--models", home)
    assert ended.code == 0, ended.err
    assert ended.out.count("unlearned:") == 2


@pytest.mark.parametrize("width", [40, 100])
def test_a_terminal_has_columns_of_its_width(width: int) -> None:
    out = io.StringIO()
    answers = {name: f"[bold]{name} " * 9 for name in ("original", "unlearned", "gold")}
    entry = {"question": "Why\x1b[2J?", "answers": answers | {"gold": "a\x07b\nc"}}
    chat.show([entry], Console(file=out, force_terminal=True, width=width, no_color=True))
    text = out.getvalue()
    assert "[bold]" in text, "what a model says is no markup"
    assert "\x1b[2J" not in text
    assert "\x07" not in text
    bare = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in text.splitlines()]
    assert max(len(line.rstrip()) for line in bare if "\x1b" not in line) <= width


def test_without_a_gold_model_there_are_two(folder: Path, home: Path, letheon: Letheon) -> None:
    raw = yaml.safe_load((folder / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(yaml.safe_dump(raw | {"gold": {}}))
    ended = letheon("chat", folder, QUESTION, "--models", home)
    assert ended.code == 0, ended.err
    assert "gold" not in ended.out


def test_a_gold_model_that_is_gone_is_told(folder: Path, home: Path, tmp_path: Path) -> None:
    target = next(home.glob("target-*"))
    shutil.copytree(target, tmp_path / "only" / target.name)
    talk = chat.Talk(folder, home=tmp_path / "only")
    assert [s.role for s in talk.subjects] == ["target", "method"]
    assert "no gold model: " in talk.notes[0]
    with pytest.raises(FolderError, match="target model of a run is kept where --models says"):
        chat.Talk(folder, home=tmp_path / "none")


def test_wrong_input_ends_with_2(
    folder: Path, home: Path, tmp_path: Path, letheon: Letheon, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ("--models", home)
    assert "finished run of letheon unlearn" in letheon.refuses("chat", tmp_path, "Why?")
    target = next(home.glob("target-*"))
    assert "finished run of letheon unlearn" in letheon.refuses("chat", target, "Why?")
    assert "needs a question" in letheon.refuses("chat", folder, " ", *models)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert "needs a question" in letheon.refuses("chat", folder, *models)
    said = letheon.refuses("chat", folder, "so " * 300, *models)
    assert "fit the model's 256 positions" in said
    shutil.rmtree(folder / "merged")
    assert "letheon merge" in letheon.refuses("chat", folder, "Why?", *models)
    raw = yaml.safe_load((folder / "recipe.yaml").read_text())
    gold = str(next(home.glob("gold-*")) / "merged")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(raw | {"model": {"path": gold}}))
    assert "the model that the run began with" in letheon.refuses("chat", folder, "Why?", *models)
