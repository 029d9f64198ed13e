"""Which words of a fact came back in an answer, against answers read by hand."""

from __future__ import annotations

import json
import shutil

import pytest

from letheon.folder import RunFolder
from letheon.report.answers import (
    SHOWN,
    Answer,
    answer_blocks,
    came_back,
    facts,
    load_answers,
    whole,
)


def answer(told: str, *, marked: bool = True) -> Answer:
    truth = "She wrote The Quiet Clock in 1969."
    spans = ((10, 25), (29, 33)) if marked else ()
    return Answer("What did she write?", truth, spans, {"after": told})


def line(split: str, key: int, said: str) -> str:
    row = {"split": split, "id": f"{split}/{key}", "question": "q", "answer": "a"}
    return json.dumps(row | {"generation": said}, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    ("told", "back", "stated"),
    [
        ("She wrote The Quiet Clock in 1969.", ["Quiet", "Clock", "1969"], True),
        ("the quiet  CLOCK, 1969", ["quiet", "CLOCK", "1969"], True),
        ("She wrote The Stolen Clock.", ["Clock"], False),
        ("She wrote The Quietest Clocks in 19690.", [], False),
        ("", [], False),
    ],
)
def test_words_of_the_fact_are_found(told: str, back: list[str], stated: bool) -> None:
    one = answer(told)
    assert [told[a:b] for a, b in came_back(one, "after")] == back
    assert whole(one, "after") is stated


def test_unmarked_facts_are_the_words_that_were_not_asked() -> None:
    one = answer("", marked=False)
    found = [one.truth[a:b] for a, b in facts(one)]
    assert found == ["wrote", "The", "Quiet", "Clock", "in", "1969"]


def test_models_are_known_by_their_records(public_run: RunFolder) -> None:
    first = load_answers(public_run.path)["forget"][0]
    assert first.told == {
        "before": "They were born in Gannesse0.",
        "gold": "In Briira.",
        "after": "Born in 0.",
    }
    # Another model's records are no longer those that the run was scored against.
    (public_run.path.parent.parent / "models/gold-0123/examples.parquet").write_bytes(b"other")
    assert set(load_answers(public_run.path)["forget"][0].told) == {"before", "after"}


def test_what_a_model_given_by_path_answered_is_in_the_run(public_run: RunFolder) -> None:
    shutil.rmtree(public_run.path.parent.parent / "models")
    found = load_answers(public_run.path)
    assert set(found["forget"][0].told) == {"after"}
    assert "What the model answered before is not known" in answer_blocks(found["forget"])[1]
    for name, said in (("target", "Gannesse0."), ("gold", "No idea.")):
        lines = line("forget", 0, said) + line("retain", 2, "Tolvane2.")
        public_run.write_text(f"private/reference/{name}.jsonl", lines)
    found = load_answers(public_run.path)
    assert found["forget"][0].told["before"] == "Gannesse0."
    assert found["forget"][0].told["gold"] == "No idea."
    assert found["retain"][2].told["before"] == found["retain"][2].told["gold"] == "Tolvane2."
    assert "not known" not in answer_blocks(found["forget"])[1]


def test_what_was_lost_of_what_was_to_be_kept_comes_first(public_run: RunFolder) -> None:
    title, words, box = answer_blocks(load_answers(public_run.path)["retain"], kept=True)
    assert title == "<h3>What was to be kept</h3>"
    assert "of 3: before 3, after 2, gold 3" in words
    assert "No longer stated: 1, first in the table." in words
    assert "neighbour 0" in box[: box.index("neighbour 1")]
    _, words, box = answer_blocks(
        [answer("The Quiet Clock, 1969."), answer("A clock.")],
        kept=True,
    )
    assert "of 2: after 1." in words
    cells = box.split("</tr>")
    assert "A <mark>clock</mark>." in cells[1], "the head's row, then the lost one"
    assert "never knew" not in box


def test_any_character_may_stand_in_a_text(public_run: RunFolder) -> None:
    text = "a\u2028b\x85c\x1cd"
    public_run.write_text("private/texts.jsonl", line("forget", 0, text))
    assert load_answers(public_run.path)["forget"][0].told["after"] == text


def test_long_sets_are_cut_and_say_so() -> None:
    _, words, *rest = answer_blocks([answer("1969")] * 150, most=SHOWN)
    assert "of 150: after 0" in words
    assert "The first 100 are on this page" in words
    assert sum(block.count('scope="row"') for block in rest) == 100
    _, words, *rest = answer_blocks([answer("1969")] * 150)
    assert "on this page" not in words
    assert sum(block.count('scope="row"') for block in rest) == 150
