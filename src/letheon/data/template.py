"""Templates: a question and its answer -> token ids, answer and fact tokens marked."""

from __future__ import annotations

__all__ = ["PLAIN", "Encoded", "Template"]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from letheon.data.example import Example
from letheon.errors import DataError, ModelError, RecipeError, nearest

PLAIN = "Question: {question}\nAnswer: {answer}"

_MARK = "here is a question"

_NAMES = ("auto", "chat", "plain")
# Some chat templates print today's date, or open a block for reasoning that no answer here fills.
_CHAT_SETTINGS = {"date_string": "26 Jul 2024", "enable_thinking": False}


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a prompt with its answer; ``answer`` and ``facts`` mark tokens, all of length T.

    ``answer`` is a suffix: the first token that overlaps the answer's characters and all after it.
    ``facts`` marks the tokens that overlap a fact's characters, a subset of ``answer``.
    """

    ids: list[int]
    answer: list[bool]
    facts: list[bool]

    def only_facts(self) -> Encoded:
        """Return the row with nothing but its facts as the answer."""
        return Encoded(self.ids, self.facts, self.facts)


@dataclass(frozen=True, slots=True)
class Template:
    """How a question becomes a prompt.

    An empty question is a text alone: it stands in no template, and what comes before its first
    token is the begin-of-sequence token, or where a tokenizer has none the end-of-sequence token,
    which parts documents. All its tokens are the answer, and none ends it: it may be a piece.

    ``name``: ``"auto"`` (the tokenizer's chat template when it has one, else ``PLAIN``),
    ``"chat"``, ``"plain"``, or a text with ``{question}`` that may end with ``{answer}``. Without
    ``{answer}`` the answer follows the text, after a space where the text ends without one.
    ``eos``: the end-of-sequence token follows the answer and counts as part of it.

    Raises :class:`~letheon.errors.RecipeError` for a text without ``{question}``.
    """

    name: str = "auto"
    eos: bool = True

    def __post_init__(self) -> None:
        if self.name not in _NAMES:
            _check(self.name)

    def prompt(self, tokenizer: Any, question: str) -> str:
        """Return the text a model continues with the answer, without trailing spaces.

        A trailing space would belong to the answer's first token in most vocabularies.

        Raises :class:`~letheon.errors.ModelError` when ``"chat"`` is asked of a tokenizer that has
        no chat template.
        """
        return self._lead(tokenizer, question).rstrip(" ")

    def prompt_ids(self, tokenizer: Any, question: str) -> list[int]:
        """Return the token ids of :meth:`prompt`, begun as :meth:`encode` begins."""
        text = self.prompt(tokenizer, question)
        return self._begin(tokenizer, question) + _ids(tokenizer, text)

    def row(self, tokenizer: Any, example: Example, question: str | None = None) -> Encoded:
        """Return ``example`` encoded, asked with its own question or another one."""
        asked = example.question if question is None else question
        return self.encode(tokenizer, asked, example.answer, example.facts, ends=not example.cut)

    def around(self, tokenizer: Any) -> tuple[str, str]:
        """Return the text before a question and the text between it and its answer.

        Raises :class:`~letheon.errors.ModelError` as :meth:`prompt` does.
        """
        before, _, between = self._lead(tokenizer, _MARK).partition(_MARK)
        return before, between

    def opening_ids(self, tokenizer: Any) -> list[int]:
        """Return the token ids before a question; the end of the text before, where they are none.

        Raises :class:`~letheon.errors.ModelError` for a tokenizer that cannot begin a text.
        """
        before, _ = self.around(tokenizer)
        ids = self._begin(tokenizer, _MARK) + _ids(tokenizer, before.rstrip(" "))
        if not ids and tokenizer.eos_token_id is None:
            raise ModelError(
                "A model that is to ask begins after some token.",
                got="a template with nothing before the question, no begin or end of sequence",
                remedy="Use template 'plain', or give rows to retain.",
            )
        return ids or [int(tokenizer.eos_token_id)]

    def encode(
        self,
        tokenizer: Any,
        example_question: str,
        answer: str,
        facts: Iterable[tuple[int, int]] = (),
        *,
        ends: bool = True,
    ) -> Encoded:
        """Return the ids of prompt and answer with the answer's tokens marked.

        ``facts`` are ``[start, end)`` character spans of ``answer``; ``ends``: whether an end token
        may follow. Tokens are found by offsets;
        with a tokenizer that has none, by the longest common prefix of the ids of a part and of
        the whole.

        Raises :class:`~letheon.errors.DataError` for an empty answer or a fact outside it, and
        :class:`~letheon.errors.ModelError` when ``eos`` is set and the tokenizer has no such token,
        or a text alone has none to begin with.
        """
        spans = _checked(answer, facts)
        lead = self._lead(tokenizer, example_question)
        text = lead + answer
        shifted = [(len(lead) + start, len(lead) + stop) for start, stop in spans]
        body, (whole, *parts) = _tokens(tokenizer, text, [(len(lead), len(text)), *shifted])
        begin = self._begin(tokenizer, example_question)
        end = self._end(tokenizer) if ends and example_question else []
        first = len(begin) + whole[0]
        _possible(first, whole, lead, answer)
        marked = [len(begin) + i for part in parts for i in range(*part)]
        return _encoded([*begin, *body, *end], first, marked)

    def _lead(self, tokenizer: Any, question: str) -> str:
        """Return everything before the answer's first character."""
        if not question:
            return ""
        if self.name in ("auto", "chat") and tokenizer.chat_template:
            return _chat(tokenizer, question)
        if self.name == "chat":
            raise ModelError(
                "Template 'chat' needs a tokenizer with a chat template.",
                got=f"a tokenizer without one ({tokenizer.name_or_path or 'unnamed'})",
                remedy="Use template 'auto', 'plain' or a text with {question}.",
            )
        text = PLAIN if self.name in _NAMES else self.name
        head, _, tail = text.partition("{question}")
        tail = tail.removesuffix("{answer}")
        space = "" if (tail or question)[-1:].isspace() else " "
        return head + question + tail + space

    def _begin(self, tokenizer: Any, question: str) -> list[int]:
        """Return the begin-of-sequence id where the tokenizer adds one; chat templates hold it."""
        if not question:
            return [_before_text(tokenizer)]
        if self.name in ("auto", "chat") and tokenizer.chat_template:
            return []
        if tokenizer.bos_token_id is None:
            return []
        first = tokenizer("", add_special_tokens=True)["input_ids"][:1]
        return list(first) if first and first[0] == tokenizer.bos_token_id else []

    def _end(self, tokenizer: Any) -> list[int]:
        if not self.eos:
            return []
        if tokenizer.eos_token_id is None:
            raise ModelError(
                "Answers end with the end-of-sequence token, and this tokenizer has none.",
                got=tokenizer.name_or_path or "an unnamed tokenizer",
                remedy="Set the tokenizer's eos_token, or use answers without an end (eos: false).",
            )
        return [int(tokenizer.eos_token_id)]


def _check(text: str) -> None:
    if "{question}" not in text:
        raise RecipeError(
            "A template is a name or a text with the placeholder {question}.",
            got=repr(text),
            remedy=f"{nearest(text, _NAMES)} Or write a text such as {PLAIN!r}.",
        )
    if text.count("{question}") > 1 or "{answer}" in text.removesuffix("{answer}"):
        raise RecipeError(
            "A template has {question} once and {answer} only at its end.",
            got=repr(text),
            remedy=f"Write it like {PLAIN!r}.",
        )


def _before_text(tokenizer: Any) -> int:
    for found in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if found is not None:
            return int(found)
    raise ModelError(
        "A text without a question begins with the begin- or end-of-sequence token.",
        got=f"{tokenizer.name_or_path or 'an unnamed tokenizer'}, which has neither",
        remedy="Set the tokenizer's bos_token or eos_token.",
    )


def _chat(tokenizer: Any, question: str) -> str:
    turns = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True, **_CHAT_SETTINGS
    )
    return str(text)


def _checked(answer: str, facts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    if not answer.strip():
        raise DataError(
            "An answer must have text.", got=repr(answer), remedy="Fill it in or drop the row."
        )
    spans = list(facts)
    for start, end in spans:
        if not 0 <= start < end <= len(answer):
            raise DataError(
                f"A fact is a [start, end) span inside its answer of {len(answer)} characters.",
                got=f"({start}, {end})",
                remedy="Mark facts as character positions of the answer.",
            )
    return spans


def _ids(tokenizer: Any, text: str) -> list[int]:
    return [int(i) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def _possible(first: int, whole: tuple[int, int], lead: str, answer: str) -> None:
    if whole[0] == whole[1]:
        raise DataError(
            "The vocabulary must be able to spell an answer.",
            got=f"{answer!r}, of which no token is left",
            remedy="Use a tokenizer made for this text, or drop the row.",
        )
    if first == 0:
        raise DataError(
            "The first token of an answer needs a token before it.",
            got=f"prompt {lead!r}",
            remedy="Use a template with some text before the answer.",
        )


def _tokens(
    tokenizer: Any, text: str, spans: Sequence[tuple[int, int]]
) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the ids, and for each character span the ``[first, last + 1)`` tokens it overlaps."""
    if not tokenizer.is_fast:
        return _ids(tokenizer, text), [_by_prefix(tokenizer, text, span) for span in spans]
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoding["offset_mapping"]
    return list(encoding["input_ids"]), [_by_offsets(offsets, span) for span in spans]


def _by_offsets(offsets: Sequence[tuple[int, int]], span: tuple[int, int]) -> tuple[int, int]:
    hits = [i for i, (start, end) in enumerate(offsets) if start < span[1] and end > span[0]]
    # Characters the vocabulary cannot spell leave no token behind.
    return (hits[0], hits[-1] + 1) if hits else (len(offsets), len(offsets))


def _by_prefix(tokenizer: Any, text: str, span: tuple[int, int]) -> tuple[int, int]:
    whole = _ids(tokenizer, text)
    before = _ids(tokenizer, text[: span[0]])
    upto = _ids(tokenizer, text[: span[1]])
    first, last = _common(before, whole), _common(upto, whole)
    # A span that ends inside a token takes that token.
    return first, max(first + 1, last if last == len(upto) else last + 1)


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def _encoded(ids: list[int], first: int, marked: Iterable[int]) -> Encoded:
    facts = [False] * len(ids)
    for i in marked:
        facts[i] = True
    return Encoded(ids, [i >= first for i in range(len(ids))], facts)
