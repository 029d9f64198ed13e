"""What a row asks and answers, by the names of its columns: every shape, and what is ambiguous."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from letheon.data.columns import SYNONYMS
from letheon.data.example import Example
from letheon.data.files import read_examples
from letheon.errors import DataError

CHAT = [
    {"role": "system", "content": ""},
    {"role": "user", "content": "Who is Ada?"},
    {"role": "assistant", "content": "A mathematician."},
    {"role": "user", "content": "Born?"},
    {"role": "assistant", "content": "1815."},
]


def read(folder: Path, *rows: dict[str, Any], **columns: str) -> list[Example]:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_examples(path, columns=columns)  # type: ignore[arg-type]


def said(examples: list[Example]) -> list[tuple[str, str]]:
    return [(e.question, e.answer) for e in examples]


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"question": "x", "answer": "y"}, "x", "y"),
        ({"prompt": "x", "completion": "y"}, "x", "y"),
        ({"Prompt": "x", "RESPONSE": "y", "meta": 3}, "x", "y"),
        ({"query": "x", "response": "y"}, "x", "y"),
        ({"instruction": "x", "output": "y"}, "x", "y"),
        ({"instruction": "x", "input": "", "output": "y"}, "x", "y"),
        ({"instruction": "x", "input": "z", "output": "y"}, "x\n\nz", "y"),
        ({"input": "x", "output": "y"}, "x", "y"),
        ({"prompt": "x", "response": "y", "text": None}, "x", "y"),
        ({"text": "y"}, "", "y"),
        ({"Document": "y", "question": "left alone"}, "", "y"),
        ({"messages": CHAT[:3]}, "Who is Ada?", "A mathematician."),
        ({"messages": json.dumps(CHAT[:3])}, "Who is Ada?", "A mathematician."),
    ],
)
def test_columns_are_found_by_name(
    tmp_path: Path, row: dict[str, Any], question: str, answer: str
) -> None:
    assert said(read(tmp_path, row)) == [(question, answer)]


def test_a_csv_with_prompt_and_response_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt,response\n"Who, then?","It is ""Ada""."\n')
    assert said(read_examples(tmp_path / "a.csv")) == [("Who, then?", 'It is "Ada".')]


def test_every_assistant_message_is_a_row_asked_with_all_before_it(tmp_path: Path) -> None:
    examples = read(tmp_path, {"messages": CHAT, "unit": "ada"}, {"messages": CHAT[1:3]})
    first = ("Who is Ada?", "A mathematician.")
    second = "User: Who is Ada?\n\nAssistant: A mathematician.\n\nUser: Born?"
    assert said(examples) == [first, (second, "1815."), first]
    assert [(e.id, e.unit) for e in examples] == [
        ("a/0/0", "ada"),
        ("a/0/1", "ada"),
        ("a/1", "a/1"),
    ]


def test_facts_stand_in_texts_and_in_chats_with_one_answer(tmp_path: Path) -> None:
    (text,) = read(tmp_path, {"text": "Born 1815.", "fact": "1815"})
    assert text.facts == ((5, 9),)
    (chat,) = read(tmp_path, {"messages": CHAT[:3], "fact": "mathematician"})
    assert chat.facts == ((2, 15),)
    with pytest.raises(DataError, match=r"belong to one answer.*fact in .*with 2 answers"):
        read(tmp_path, {"messages": CHAT, "fact": "1815"})


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        ({"q": "x", "a": "y"}, {"question": "q", "answer": "A"}, ("x", "y")),
        ({"question": "x", "prompt": "z", "answer": "y"}, {"question": "question"}, ("x", "y")),
        ({"prompt": "x", "output": "y", "text": "z"}, {"text": "text"}, ("", "z")),
        ({"prompt": "x", "output": "y", "text": "z"}, {"answer": "output"}, ("x", "y")),
        ({"prompt": "x", "ctx": "z", "answer": "y"}, {"input": "ctx"}, ("x\n\nz", "y")),
        ({"prompt": "x", "input": "z", "output": "y"}, {"question": "prompt"}, ("x", "y")),
        ({"prompt": "x", "input": "z", "output": "y"}, {"question": "input"}, ("z", "y")),
        ({"body": "y"}, {"text": "body"}, ("", "y")),
        ({"turns": CHAT[1:3]}, {"messages": "turns"}, ("Who is Ada?", "A mathematician.")),
    ],
)
def test_mapped_columns_decide(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, str], expected: tuple[str, str]
) -> None:
    assert said(read(tmp_path, row, **columns)) == [expected]


def test_a_mapped_unit(tmp_path: Path) -> None:
    row = {"question": "x", "answer": "y", "author": "ada"}
    assert [e.unit for e in read(tmp_path, row, unit="author")] == ["ada"]
    with pytest.raises(DataError, match=r"columns\.unit names a column.*Did you mean author"):
        read(tmp_path, row, unit="auther")


@pytest.mark.parametrize(
    ("row", "columns", "words"),
    [
        ({"a": "x", "b": "y"}, {}, r"line 1 has a, b\..*data\.columns\.question=NAME"),
        ({}, {}, "has no column"),
        ({"question": "x", "anser": "y"}, {}, r"'answer' \(or response.*Did you mean anser"),
        ({"answer": "x"}, {}, r"'question' \(or prompt.*data\.columns\.question=NAME"),
        (
            {"question": "x", "prompt": "z", "answer": "y"},
            {},
            r"One column holds the question.*question, prompt in a\.jsonl, line 1.*"
            r"--set data\.columns\.question=question",
        ),
        ({"Text": "x", "text": "y"}, {}, "One column holds the text"),
        ({"prompt": "x", "input": "z", "output": "y"}, {}, "question. Got: prompt, input in"),
        (
            {"prompt": "x", "output": "y", "text": "z"},
            {},
            r"question and answer or text in .*columns\.question=prompt or .*columns\.text=text",
        ),
        ({"q": "x"}, {"question": "qq"}, r"columns\.question names a column.*'qq'; .* has q"),
        ({"q": "x"}, {"question": "q", "text": "q"}, "the columns of one shape"),
        ({"messages": "hello"}, {}, "messages with a role.*'hello'"),
        ({"messages": [{"from": "human", "value": "x"}]}, {}, "with a role .* and a content"),
        ({"messages": [{"role": "bot", "content": "x"}]}, {}, "with a role .*'bot'"),
        ({"messages": [CHAT[1], {"role": "assistant", "content": None}]}, {}, "holds text"),
        ({"messages": [CHAT[1], {"role": "assistant", "content": " "}]}, {}, "must not be empty"),
        ({"messages": [CHAT[1]]}, {}, "an assistant message.*Got: user in"),
        ({"messages": [CHAT[0], CHAT[2]]}, {}, "one before it.*Got: assistant in"),
        ({"messages": []}, {}, "no message in a"),
        ({"text": " "}, {}, "'text' must not be empty"),
        ({"text": 3}, {}, "'text' holds text"),
    ],
)
def test_what_is_missing_or_ambiguous_is_named(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, str], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read(tmp_path, row, **columns)


@pytest.mark.parametrize(
    "other",
    [
        {"text": "z"},
        {"messages": CHAT},
        {"prompt": "x", "response": "y"},
        {"question": None, "answer": None, "text": "z"},
    ],
)
def test_a_row_of_another_shape_is_an_error_with_its_place(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match=r"one shape.*line 3, after question and answer \(ques"):
        read(tmp_path, *[{"question": "x", "answer": "y"}] * 2, other)


def test_the_documented_names_and_examples_are_those_that_are_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    section = page.partition("## What a row may be")[2]
    table, examples = section.split("```")[:2]
    named = set(re.findall(r"`(\w+)`", table))
    assert named == {name for names in SYNONYMS.values() for name in names}
    rows = [json.loads(line) for line in examples.strip().splitlines()]
    assert [len(read(tmp_path, row)) for row in rows] == [1] * 4
