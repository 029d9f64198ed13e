"""Rows cut into pieces, on a vocabulary of bytes, where tokens can be counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from letheon.data.example import Alternates, Corpus, Example, digest
from letheon.data.pieces import fit, pieces
from letheon.data.template import Template
from letheon.data.tokenizer import END, PAD, train_bpe
from letheon.errors import DataError

BYTES = train_bpe([], vocab_size=258)
PLAIN = Template("plain")
LEAD = len("Question: q\nAnswer:")


def cut(row: Example, limit: int, tokenizer: Any = BYTES) -> list[Example]:
    return list(pieces(row, tokenizer, PLAIN, limit=limit))


def ids(row: Example) -> list[int]:
    return PLAIN.row(BYTES, row).ids


def test_a_row_that_fits_stays_as_it_is() -> None:
    row = Example("a", "a", "q", "abc")
    # A space before the answer, an end token after it.
    assert cut(row, LEAD + 5) == [row]
    (endless,) = cut(row, LEAD + 4)
    assert ids(endless) == ids(row)[:-1]


def test_a_text_is_cut_before_white_space_where_it_can_be() -> None:
    row = Example("a", "u", "", "one two three abcdefghijklmnopqrstuvwxyz", ((4, 7), (17, 21)))
    found = cut(row, 17)  # a begin token and sixteen bytes
    assert [p.answer for p in found] == ["one two three", " abcdefghijklmno", "pqrstuvwxyz"]
    assert [p.id for p in found] == ["a#0", "a#1", "a#2"]
    assert {p.unit for p in found} == {"u"}
    assert {p.question for p in found} == {""}
    # The second fact stands where it stood.
    assert [p.facts for p in found] == [((4, 7),), ((4, 8),), ()]
    assert all(p.cut for p in found)


def test_the_first_piece_of_an_answer_keeps_the_question_and_has_no_end() -> None:
    sets = {"scoring": Alternates("short", ())}
    row = Example("a", "a", "q", "one two three four", ((0, 3), (8, 18)), sets)
    first, second = cut(row, LEAD + 15)
    assert (first.question, first.answer, second.question) == ("q", "one two three", "")
    assert second.answer == " four"
    assert (first.facts, second.facts) == (((0, 3), (8, 13)), ((0, 5),))
    assert (dict(first.alternates), dict(second.alternates)) == (sets, {})
    assert ids(first)[-1] != BYTES.eos_token_id
    assert ids(second)[-1] != BYTES.eos_token_id
    assert ids(row)[-1] == BYTES.eos_token_id


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=120), st.integers(24, 60), st.booleans())
def test_pieces_are_the_answer_again_and_none_is_too_long(
    answer: str, limit: int, asked: bool
) -> None:
    if not answer.strip() or END in answer or PAD in answer:
        return
    row = Example("a", "a", "q" if asked else "", answer)
    found = cut(row, limit)
    assert "".join(p.answer for p in found).rstrip() == answer.rstrip()
    assert all(len(ids(p)) <= limit for p in found)
    assert all(p.answer.strip() for p in found)


def test_a_slow_tokenizer_cuts_at_the_same_places(letters: Any) -> None:
    row = Example("a", "a", "", "one two three four")
    assert [p.answer for p in cut(row, 14, letters)] == ["one two three", " four"]


def test_a_question_that_leaves_no_room_is_an_error() -> None:
    with pytest.raises(DataError, match=r"room within 20 tokens.*a#0, 'q+"):
        cut(Example("a", "a", "q" * 30, "abc"), 20)


def test_every_role_is_cut_and_the_checksum_is_that_of_whole_rows() -> None:
    long, short = Example("l", "l", "", "word " * 20), Example("s", "s", "q", "yes")
    corpus = Corpus("c", "1", "x", (long,), (short,), {"forget": (long,), "retain": (short,)})
    found = fit(corpus, BYTES, PLAIN, limit=51)
    assert [e.id for e in found.forget] == ["l#0", "l#1"]
    assert found.evaluation["forget"] == found.forget
    assert found.retain == (short,)
    assert fit(found, BYTES, PLAIN, limit=51) == found
    assert digest([found.forget[0]]) == digest([Example("l#0", "l", "", found.forget[0].answer)])


def test_a_mixed_corpus_of_files_is_trained_on_in_pieces(tmp_path: Path) -> None:
    from letheon.data.files import corpus_from_files

    (tmp_path / "f.jsonl").write_text('{"text": "' + "word " * 30 + '"}\n')
    (tmp_path / "r.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    whole = corpus_from_files(forget=tmp_path / "f.jsonl", retain=tmp_path / "r.jsonl")
    corpus = fit(whole, BYTES, PLAIN, limit=64)
    assert len(corpus.forget) == 3
    assert corpus.checksums == whole.checksums
