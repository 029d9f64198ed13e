"""Which words of a fact came back in an answer, against answers read by hand."""

from __future__ import annotations

import pytest

from letheon.folder import RunFolder
from letheon.report.answers import Answer, answer_blocks, came_back, facts, load_answers, whole


def answer(told: str, *, marked: bool = True) -> Answer:
    truth = "She wrote The Quiet Clock in 1969."
    spans = ((10, 25), (29, 33)) if marked else ()
    return Answer("What did she write?", truth, spans, {"after": told})


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
    first = load_answers(public_run.path)[0]
    assert first.told == {
        "before": "They were born in Gannesse0.",
        "gold": "In Briira.",
        "after": "Born in 0.",
    }
    # Another model's records are no longer those that the run was scored against.
    (public_run.path.parent.parent / "models/gold-0123/examples.parquet").write_bytes(b"other")
    assert set(load_answers(public_run.path)[0].told) == {"before", "after"}


def test_long_sets_are_cut_and_say_so() -> None:
    box, *rest = answer_blocks([answer("1969")] * 150)
    assert "of 150: after 0" in box
    assert "The first 100 are on this page" in box
    assert sum(block.count('scope="row"') for block in rest) == 100
