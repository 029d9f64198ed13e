from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from letheon.data.template import Template
from letheon.data.tokenizer import END, PAD, train_bpe
from letheon.errors import DataError, ModelError, RecipeError

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</{{ m['role'] }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
QUESTION = "Where was Ada Lovelace born?"
ANSWER = "Ada Lovelace was born in London."
FACT = (25, 31)  # "London"


@pytest.fixture
def chatty() -> Any:
    tokenizer = train_bpe(["Where was Ada born? Ada was born in London."], vocab_size=300)
    tokenizer.chat_template = CHAT
    return tokenizer


def marked(tokenizer: Any, ids: list[int], mask: list[bool]) -> str:
    return str(tokenizer.decode([i for i, on in zip(ids, mask, strict=True) if on]))


def test_plain_prompt_has_no_trailing_space(bpe: Any) -> None:
    assert Template().prompt(bpe, QUESTION) == f"Question: {QUESTION}\nAnswer:"


def test_the_answer_and_its_facts_are_marked(bpe: Any) -> None:
    row = Template().encode(bpe, QUESTION, ANSWER, [FACT])
    assert bpe.decode(row.ids) == f"Question: {QUESTION}\nAnswer: {ANSWER}{END}"
    assert marked(bpe, row.ids, row.answer) == f" {ANSWER}{END}"
    assert marked(bpe, row.ids, row.facts).strip() == "London"


def test_the_prompt_ids_are_what_precedes_the_answer(bpe: Any) -> None:
    row = Template().encode(bpe, QUESTION, ANSWER)
    assert row.ids[: row.answer.index(True)] == Template().prompt_ids(bpe, QUESTION)


def test_end_of_sequence_is_part_of_the_answer_only_if_asked(bpe: Any) -> None:
    ended, open_ended = (Template(eos=on).encode(bpe, QUESTION, ANSWER) for on in (True, False))
    assert ended.ids == [*open_ended.ids, bpe.eos_token_id]
    assert ended.answer == [*open_ended.answer, True]
    assert ended.facts[-1] is False


def test_a_tokenizer_without_offsets_marks_the_same_text(letters: Any) -> None:
    row = Template().encode(letters, QUESTION, ANSWER, [FACT])
    first = row.answer.index(True)
    # One token a character, so positions can be counted by hand.
    assert first == len(f"Question: {QUESTION}\nAnswer: ")
    assert [i for i, on in enumerate(row.facts) if on] == list(range(first + 25, first + 31))


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(max_codepoint=0x24F, exclude_categories=["Cc", "Cs"]), min_size=1))
def test_offsets_agree_with_counting_characters(answer: str) -> None:
    # What spells a special token is one token.
    assume(answer.strip() and END not in answer and PAD not in answer)
    plain = train_bpe([], vocab_size=258)
    row = Template(eos=False).encode(plain, "q", answer, [(0, 1)])
    # A vocabulary of bytes: tokens can be counted by hand.
    assert sum(row.answer) == len(answer.encode())
    assert sum(row.facts) == len(answer[0].encode())


def test_auto_takes_the_chat_template_and_plain_does_not(chatty: Any) -> None:
    chat = f"<user>{QUESTION}</user><assistant>"
    assert Template().prompt(chatty, QUESTION) == chat
    assert Template("chat").prompt(chatty, QUESTION) == chat
    assert Template("plain").prompt(chatty, QUESTION).startswith("Question:")
    row = Template().encode(chatty, QUESTION, ANSWER)
    assert marked(chatty, row.ids, row.answer) == f"{ANSWER}{END}"


def test_chat_without_a_chat_template_is_an_error(bpe: Any) -> None:
    with pytest.raises(ModelError, match="chat template"):
        Template("chat").prompt(bpe, QUESTION)


def test_own_texts(bpe: Any) -> None:
    for text in ("Q: {question} A:", "Q: {question} A: ", "Q: {question} A: {answer}"):
        row = Template(text, eos=False).encode(bpe, "x", "y {question}")
        assert bpe.decode(row.ids) == "Q: x A: y {question}"


@pytest.mark.parametrize("text", ["cat", "{answer}", "{question}{question}", "{answer}{question}"])
def test_broken_texts_are_errors(text: str) -> None:
    with pytest.raises(RecipeError, match="question"):
        Template(text)


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(RecipeError, match="Did you mean chat"):
        Template("chatt")


@pytest.mark.parametrize("answer", ["", "  \n"])
def test_an_empty_answer_is_an_error(bpe: Any, answer: str) -> None:
    with pytest.raises(DataError, match="answer must have text"):
        Template().encode(bpe, QUESTION, answer)


@pytest.mark.parametrize("fact", [(-1, 3), (3, 3), (0, 99)])
def test_a_fact_outside_its_answer_is_an_error(bpe: Any, fact: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="span inside its answer"):
        Template().encode(bpe, QUESTION, ANSWER, [fact])


def test_no_end_token_is_an_error_only_where_one_is_needed() -> None:
    endless = train_bpe([], vocab_size=258)
    endless.eos_token = None
    Template(eos=False).encode(endless, QUESTION, ANSWER)
    with pytest.raises(ModelError, match="eos"):
        Template().encode(endless, QUESTION, ANSWER)


def test_an_answer_nothing_precedes_is_an_error(bpe: Any) -> None:
    with pytest.raises(DataError, match="needs a token before"):
        Template("{question}").encode(bpe, " ", ANSWER)


@pytest.mark.parametrize("begins", [True, False])
def test_a_text_alone_is_all_answer_and_begins_after_a_token(begins: bool) -> None:
    tokenizer = train_bpe([], vocab_size=258)
    if begins:
        tokenizer.bos_token = "!"
    tokenizer.chat_template = CHAT
    for template in (Template(), Template("plain"), Template("Q: {question}")):
        row = template.encode(tokenizer, "", "Ada.", [(0, 3)])
        # A vocabulary of bytes; nothing ends a text, and an end token begins it without another.
        start = tokenizer.convert_tokens_to_ids("!") if begins else tokenizer.eos_token_id
        assert row.ids == [start, *tokenizer("Ada.")["input_ids"]]
        assert row.answer == [False, True, True, True, True]
        assert row.facts == [False, True, True, True, False]
        assert template.prompt_ids(tokenizer, "") == [start]


def test_a_text_alone_needs_a_token_to_begin_with() -> None:
    tokenizer = train_bpe([], vocab_size=258)
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="which has neither"):
        Template(eos=False).encode(tokenizer, "", "Ada.")


def test_a_begin_token_the_tokenizer_adds_comes_first() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = train_bpe([], vocab_size=258)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{END} $A", special_tokens=[(END, 0)]
    )
    tokenizer.bos_token = END
    row = Template(eos=False).encode(tokenizer, "q", "a", [(0, 1)])
    assert row.ids[0] == 0
    assert row.ids[1:].count(0) == 0
    assert Template().prompt_ids(tokenizer, "q") == row.ids[:-2]
    assert sum(row.facts) == 1
    assert row.facts[-1]


def test_an_answer_the_vocabulary_cannot_spell_is_an_error() -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    letters = {letter: i for i, letter in enumerate("Qq: aA")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE(letters, [])))
    template = Template("Q: {question} A:", eos=False)
    assert sum(template.encode(tokenizer, "q", "aé").answer) == 1
    with pytest.raises(DataError, match="able to spell"):
        template.encode(tokenizer, "q", "é")
