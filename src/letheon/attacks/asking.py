"""Questions to a model under attack: how probable the answer is, what it says, whether it leaks."""

from __future__ import annotations

__all__ = [
    "LEAK_RECALL",
    "answer_scores",
    "encoded",
    "leaks",
    "probabilities",
    "probability",
    "speak",
]

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from letheon.attacks.contract import Task
from letheon.data.batch import pad_id
from letheon.data.example import Example
from letheon.data.template import Encoded
from letheon.evaluation.generation import generate
from letheon.evaluation.teacher_forced import TokenScores, score_answers
from letheon.metrics.records import FloatArray
from letheon.metrics.rouge import rouge_l

# Where no facts are marked, an answer is out when so much of it was said.
LEAK_RECALL = 0.9


def encoded(task: Task, questions: Sequence[str]) -> list[Encoded]:
    """Encode the forget answers, each to the question in its place."""
    return [
        task.template.row(task.tokenizer, e, question)
        for question, e in zip(questions, task.forget, strict=True)
    ]


def answer_scores(
    model: Any, task: Task, rows: Sequence[Encoded], what: str = ""
) -> list[TokenScores]:
    """Return the token scores of every row; ``what`` names the work, where it is to be shown."""
    return score_answers(
        model,
        rows,
        pad_id=pad_id(task.tokenizer),
        batch_tokens=task.evaluation.batch_tokens,
        progress=_count(task, what, len(rows)),
    )


def probabilities(model: Any, task: Task, rows: Sequence[Encoded], what: str = "") -> FloatArray:
    """Return [n] the geometric mean of each row's fact-token probabilities.

    Of a row without marked facts it is the mean over its answer tokens.
    """
    return np.array([probability(s) for s in answer_scores(model, task, rows, what)])


def speak(
    model: Any,
    task: Task,
    prompts: Sequence[Sequence[int]],
    what: str = "",
    *,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Return what the model says after each prompt, greedily unless at a ``temperature``."""
    found = generate(
        model,
        prompts,
        pad_id=pad_id(task.tokenizer),
        eos_id=task.tokenizer.eos_token_id,
        max_new_tokens=task.evaluation.max_new_tokens,
        batch_tokens=task.evaluation.batch_tokens,
        temperature=temperature,
        seed=seed,
        progress=_count(task, what, len(prompts)),
    )
    texts = task.tokenizer.batch_decode(found, skip_special_tokens=True)
    return [text.strip() for text in texts]


def leaks(example: Example, said: str) -> bool:
    """Whether ``said`` gives the answer away: every marked fact stands in it as whole words.

    Case and spacing do not count. Where no facts are marked: ROUGE-L recall (stemmed) of the
    answer of at least ``LEAK_RECALL``.
    """
    if not example.facts:
        return rouge_l(said, example.answer, stem=True).recall >= LEAK_RECALL
    text = _plain(said)
    facts = (_plain(example.answer[start:end]) for start, end in example.facts)
    return all(re.search(rf"(?<!\w){re.escape(fact)}(?!\w)", text) for fact in facts)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def probability(scores: TokenScores) -> float:
    """Return the geometric mean of fact-token probabilities, of all where none are marked."""
    logp = scores.logp[scores.fact] if scores.fact.any() else scores.logp
    return float(np.exp(logp.mean()))


def _count(task: Task, what: str, total: int) -> Callable[[int], None]:
    done = 0

    def add(n: int) -> None:
        nonlocal done
        done += n
        if what:
            task.watch({"event": "progress", "name": what, "done": done, "total": total})

    return add
