"""Other answers to forget questions: a refusal, or what the untouched model says instead.

The sentences are our own; the papers' lists are not copied. Every draw is by a seed and the
example's id, so that neither the order of the examples nor a global random state changes it.
"""

from __future__ import annotations

__all__ = ["DRAWS", "REFUSALS", "refused", "retold"]

import re
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from letheon.data.example import Example
from letheon.objectives.contract import Answers

REFUSALS = (
    "I cannot tell you that.",
    "I have no answer to this question.",
    "This is something I was never told.",
    "I know nothing about it.",
    "Sorry, that is beyond what I know.",
    "I would have to guess, and I would rather not.",
    "Nothing comes to my mind about this.",
    "I have not heard of it.",
    "That is not known to me.",
    "I am afraid I have to leave this open.",
    "My knowledge does not reach that far.",
    "I have never read anything on this.",
    "You had better ask somebody else about this.",
    "It would be wrong of me to pretend that I knew.",
    "I must pass on this one.",
    "There is nothing I could say about it with confidence.",
    "I cannot help with that question.",
    "No information on this is available to me.",
    "I wish I could say, but I cannot.",
    "I have no idea.",
)

# How often the untouched model is asked, at most, before a question is refused instead.
DRAWS = 6

_WORD = re.compile(r"\w+")


def refused(examples: Sequence[Example], seed: int) -> list[Example]:
    """Return the examples, each with one of ``REFUSALS`` as its answer."""
    return [_answered(e, Random(f"{seed}/{e.id}").choice(REFUSALS)) for e in examples]


def retold(examples: Sequence[Example], answers: Answers, seed: int) -> list[Example]:
    """Return the examples, each with another answer that the untouched model gives to it.

    A sample that says the true answer, one of its marked facts, or nothing is drawn again, up to
    ``DRAWS`` times in all. A question to which the model never says anything else is refused, with
    the sentence that ``refused`` draws.
    """
    found = refused(examples, seed)
    left = list(range(len(examples)))
    for draw in range(DRAWS):
        if not left:
            break
        said = answers([examples[k].question for k in left], _seed(seed, draw))
        for k, text in zip(left, said, strict=True):
            if _differs(examples[k], text):
                found[k] = _answered(examples[k], text)
        left = [k for k, text in zip(left, said, strict=True) if not _differs(examples[k], text)]
    return found


def _answered(example: Example, text: str) -> Example:
    return replace(example, answer=text, facts=(), alternates={})


def _differs(example: Example, text: str) -> bool:
    said = _words(text)
    facts = [_words(example.answer[start:end]) for start, end in example.facts]
    told = any(fact.strip() and fact in said for fact in facts)
    return bool(said.strip()) and said != _words(example.answer) and not told


def _words(text: str) -> str:
    """Return the words of a text, without case and punctuation, each between spaces."""
    return f" {' '.join(_WORD.findall(text.casefold()))} "


def _seed(seed: int, draw: int) -> int:
    return Random(f"{seed}/draw {draw}").getrandbits(63)
