from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from letheon.benchmarks import tofu
from letheon.data.example import digest_rows
from letheon.errors import DataError

REAL = Path(os.environ.get("LETHEON_DATA", "../shared/data")) / "tofu"
FORGET, RETAIN, PERTURBED = 2, 6, 3


def row(author: int, i: int) -> dict[str, Any]:
    # Row 0 of every author asks the same question, as two rows of TOFU do.
    question = "Who is the author?" if i == 0 else f"What is fact {i} of author {author}?"
    return {"question": question, "answer": f"It is {author}-{i}."}


def perturbed(author: int, i: int) -> dict[str, Any]:
    return {
        **row(author, i),
        "paraphrased_question": f"Which is {author}-{i}?",
        "paraphrased_answer": f"That is {author}-{i}.",
        "perturbed_answer": [f"That is {k}." for k in range(5)],
    }


def control(name: str, i: int) -> dict[str, Any]:
    return {"question": f"{name} {i}?", "answer": "right", "perturbed_answer": ["x", "y", "z"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "forget01_perturbed": [perturbed(RETAIN + a, i) for a in range(FORGET) for i in range(20)],
        "retain99": [row(a, i) for a in range(RETAIN) for i in range(20)],
        "retain_perturbed": [perturbed(a, i) for a in range(PERTURBED) for i in range(20)],
        "real_authors_perturbed": [control("author", i) for i in range(4)],
        "world_facts_perturbed": [control("world", i) for i in range(5)],
    }
    for name, rows in files.items():
        (tmp_path / f"{name}.json").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def load(path: Path, **settings: Any) -> Any:
    return tofu.load(split="forget01", path=path, **{"unseen_units": 2, **settings})


def test_roles(folder: Path) -> None:
    corpus = load(folder)
    assert [e.id for e in corpus.forget[:2]] == ["a006/0", "a006/1"]
    assert {e.unit for e in corpus.forget} == {"a006", "a007"}
    assert len(corpus.retain) == 80
    assert len(corpus.evaluation["unseen"]) == 40
    held, kept = ({e.unit for e in rows} for rows in (corpus.evaluation["unseen"], corpus.retain))
    assert not held & kept
    assert held <= {"a003", "a004", "a005"}
    assert {"a000", "a001", "a002"} <= kept
    assert [e.unit for e in corpus.evaluation["retain"]] == sorted(["a000", "a001", "a002"] * 20)
    assert len(corpus.background) == 9
    assert corpus.public
    assert corpus.licence == "MIT"
    assert corpus.version == "1+modified"


def test_the_two_sets_ask_differently(folder: Path) -> None:
    sets = load(folder).forget[3].alternates
    assert sets["scoring"].question is None
    assert sets["validation"].question == "Which is 6-3?"
    assert sets["scoring"].answer == sets["validation"].answer == "That is 6-3."
    assert len(sets["scoring"].perturbed) == 5


def test_ids_name_file_positions_whatever_is_left_out(folder: Path) -> None:
    # Trap 9: every row's text tells its author and position; its id must say the same.
    corpus = load(folder, retain_units=2, seed=5)
    for example in [*corpus.retain, *corpus.forget, *corpus.evaluation["unseen"]]:
        author, position = example.answer.removeprefix("It is ").rstrip(".").split("-")
        assert example.id == f"a{int(author):03d}/{position}"


def test_equal_questions_keep_their_own_alternates(folder: Path) -> None:
    rows = [e for e in load(folder).evaluation["retain"] if e.question == "Who is the author?"]
    assert [e.alternates["scoring"].answer for e in rows] == [f"That is {a}-0." for a in range(3)]


@pytest.mark.parametrize("n", [1, 3, 4])
def test_a_subset_takes_perturbed_authors_first(folder: Path, n: int) -> None:
    corpus = load(folder, retain_units=n)
    units = {e.unit for e in corpus.retain}
    assert len(units) == n
    assert len(units & {"a000", "a001", "a002"}) == min(n, 3)
    assert len(corpus.evaluation["retain"]) == 20 * min(n, 3)
    assert corpus == load(folder, retain_units=n)


def test_draws_depend_on_the_seed(folder: Path) -> None:
    held = {tuple(e.unit for e in load(folder, seed=s).evaluation["unseen"]) for s in range(12)}
    assert len(held) == 3


def test_no_unseen_authors_is_the_published_setting(folder: Path) -> None:
    corpus = load(folder, unseen_units=0)
    assert "unseen" not in corpus.evaluation
    assert len(corpus.retain) == 120


def test_the_hub_gives_the_same_corpus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Rows(list[Any]):
        def to_list(self) -> list[Any]:
            return list(self)

    def load_dataset(hub: str, name: str, *, split: str) -> Rows:
        asked.append((hub, name, split))
        lines = (folder / f"{name}.json").read_text().splitlines()
        # The hub's table may order columns otherwise.
        return Rows(dict(reversed(json.loads(line).items())) for line in lines)

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert tofu.load(split="forget01", unseen_units=2) == load(folder)
    assert ("locuslab/TOFU", "forget01_perturbed", "train") in asked


def test_an_unreachable_hub_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> None:
        raise ConnectionError("offline")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(DataError, match="set path to a folder"):
        tofu.load()


def test_bad_input(folder: Path) -> None:
    with pytest.raises(DataError, match="Did you mean forget10"):
        tofu.load(split="forget1O", path=folder)
    with pytest.raises(DataError, match=r"retain90\.json|forget10_perturbed\.json"):
        tofu.load(split="forget10", path=folder)
    for settings in ({"unseen_units": 6}, {"retain_units": 5}, {"retain_units": 0}):
        with pytest.raises(DataError, match="Ask for fewer"):
            load(folder, **settings)
    (folder / "retain99.json").write_text(json.dumps(row(0, 0)))
    with pytest.raises(DataError, match="20 rows an author"):
        load(folder)


@pytest.mark.skipif(not REAL.is_dir(), reason="TOFU's files are not there (LETHEON_DATA)")
@pytest.mark.parametrize("split", list(tofu.SPLITS))
def test_the_real_files(split: str) -> None:
    corpus = tofu.load(split=split, path=REAL)
    entry = tofu.SPLITS[split]
    assert corpus.version == tofu.VERSION
    assert len(corpus.forget) == entry.n_forget
    assert len(corpus.retain) + len(corpus.evaluation["unseen"]) == entry.n_retain
    assert len(corpus.evaluation["retain"]) == 400
    assert len(corpus.background) == 217
    assert corpus.forget[-1].id == "a199/19"
    # The whole of TOFU, by position, is retain, unseen and forget together.
    full = [json.loads(line) for line in (REAL / "full.json").read_text().splitlines()]
    rows = sorted(
        [*corpus.retain, *corpus.forget, *corpus.evaluation["unseen"]],
        key=lambda e: (e.unit, int(e.id.split("/")[1])),
    )
    assert digest_rows({"question": e.question, "answer": e.answer} for e in rows) == digest_rows(
        full
    )
