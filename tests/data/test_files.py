from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from letheon.data.example import Alternates, Example
from letheon.data.files import corpus_from_files, read_examples
from letheon.errors import DataError

FULL: dict[str, Any] = {
    "id": "x1",
    "unit": "ada",
    "question": "Where was Ada born?",
    "answer": "Ada was born in London.",
    "paraphrased_question": "Ada was born where?",
    "paraphrased_answer": "London is where Ada was born.",
    "perturbed_answer": ["Paris is where Ada was born.", "Rome is where Ada was born."],
    "fact": "London",
}
EXPECTED = Example(
    "x1",
    "ada",
    FULL["question"],
    FULL["answer"],
    ((16, 22),),
    {
        "validation": Alternates(
            FULL["paraphrased_answer"],
            tuple(FULL["perturbed_answer"]),
            FULL["paraphrased_question"],
        ),
        "scoring": Alternates(FULL["paraphrased_answer"], tuple(FULL["perturbed_answer"])),
    },
)


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_column_from_json(tmp_path: Path) -> None:
    assert read_examples(jsonl(tmp_path / "a.jsonl", FULL)) == [EXPECTED]
    spans = {**FULL, "facts": [[16, 22]]}
    del spans["fact"]
    assert read_examples(jsonl(tmp_path / "b.jsonl", spans)) == [EXPECTED]


def test_every_column_from_csv(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FULL)
        writer.writeheader()
        writer.writerow({**FULL, "perturbed_answer": json.dumps(FULL["perturbed_answer"])})
    assert read_examples(tmp_path / "a.csv") == [EXPECTED]


def test_only_questions_and_answers(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"q": "x", "a": "y"}, {"q": "x", "a": "z", "id": 7})
    first, second = read_examples(path, columns={"question": "q", "answer": "a"})
    assert first == Example("a/0", "a/0", "x", "y")
    assert second == Example("7", "7", "x", "z")


def test_wrong_options_alone_make_a_control_row(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"question": "x", "answer": "y", "perturbed_answer": ["z"]})
    (row,) = read_examples(path)
    assert row.alternates["scoring"] == row.alternates["validation"] == Alternates("y", ("z",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answer": ""}, r"'answer' must not be empty.*a\.jsonl, line 2"),
        ({"answer": None}, r"'answer' holds text.*line 2"),
        ({"question": " "}, "'question' must not be empty"),
        ({"fact": "Paris"}, "part of its answer"),
        ({"facts": [[16, 99]]}, "part of its answer"),
        ({"perturbed_answer": ["a", ""]}, "lists texts"),
        ({"id": "x0"}, r"'x0' in a\.jsonl, line 1 and a\.jsonl, line 2"),
    ],
)
def test_broken_rows_are_errors(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", {**FULL, "id": "x0"}, {**FULL, **change})
    with pytest.raises(DataError, match=words):
        read_examples(path)


def test_a_missing_column_names_line_and_columns(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"question": "x", "answr": "y"})
    with pytest.raises(DataError, match=r"'answer'.*line 1 has question, answr.*mean answr"):
        read_examples(path)


def test_a_corpus_of_files(tmp_path: Path) -> None:
    forget = jsonl(tmp_path / "f.jsonl", FULL)
    retain = jsonl(tmp_path / "r.jsonl", {"question": "x", "answer": "y"})
    corpus = corpus_from_files(forget=forget, retain=retain, world_facts=retain, eos=False)
    assert corpus.forget == (EXPECTED,)
    assert corpus.retain[0].id == "retain/0"
    assert set(corpus.evaluation) == {"forget", "retain", "world_facts"} == set(corpus.checksums)
    assert corpus.background == ()
    assert not corpus.public
    assert not corpus.eos


def rows(path: Path, *pairs: tuple[str, str]) -> Path:
    return jsonl(path, *({"question": q, "answer": a} for q, a in pairs))


def test_what_is_to_forget_is_left_out_of_retain(tmp_path: Path) -> None:
    forget = rows(tmp_path / "f.jsonl", ("Who  is Ada?", "A mathematician."))
    same = ("who is ada? ", "A\nMathematician.")
    retain = rows(tmp_path / "r.jsonl", same, ("Who is Ada?", "A poet."), ("x", "y"))
    with pytest.warns(UserWarning, match="^1 of 3 retain rows are also to forget") as told:
        corpus = corpus_from_files(forget=forget, retain=retain)
    assert len(told) == 1
    assert [row.answer for row in corpus.retain] == ["A poet.", "y"]
    assert corpus.evaluation["retain"] == corpus.retain
    assert corpus.overlap == 1


def test_something_must_be_left_to_retain(tmp_path: Path) -> None:
    forget = rows(tmp_path / "f.jsonl", ("x", "y"))
    with pytest.raises(DataError, match="1 retain rows, all of which are also to forget"):
        corpus_from_files(forget=forget, retain=forget)


def test_unseen_rows_are_controls_and_never_trained_on(tmp_path: Path) -> None:
    forget, retain = (rows(tmp_path / f"{x}.jsonl", (x, "y")) for x in "fr")
    unseen = rows(tmp_path / "u.jsonl", ("u", "y"))
    corpus = corpus_from_files(forget=forget, retain=retain, unseen=unseen)
    assert [row.id for row in corpus.evaluation["unseen"]] == ["unseen/0"]
    assert "unseen" in corpus.checksums
    assert corpus.overlap == 0
    rows(unseen, ("u", "y"), ("R", " y"))
    with pytest.raises(DataError, match=r"never saw.*unseen/1, which is also retain/0"):
        corpus_from_files(forget=forget, retain=retain, unseen=unseen)
