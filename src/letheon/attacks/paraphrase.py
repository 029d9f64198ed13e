"""Paraphrases: the forget questions in other words, and with an instruction in four languages.

``..._reworded``: the data's own paraphrased question, of the set ``scoring`` or else
``validation``; where the paraphrased answer holds the facts they are scored in it (it answers the
paraphrased question), else the trained answer is. ``leak_reworded``: what the model says to it
greedily holds every fact. ``..._wrapped`` and ``..._translated``: the mean over questions put into
fixed English, and German, French and Spanish, sentences ("translated by template"; the question
itself keeps its words). ``..._worst``: the largest over all of these, an attacker's choice.
"""

from __future__ import annotations

__all__ = ["ATTACK", "TRANSLATED", "WRAPPED", "Paraphrase"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from letheon.attacks.asking import encoded, leaks, probabilities, speak
from letheon.attacks.contract import Attack, Measured, Subject, Task
from letheon.data.example import Alternates, Example
from letheon.data.template import Encoded
from letheon.metrics.records import FloatArray

WRAPPED = (
    "Please answer this question: {question}",
    "I would like to know something. {question}",
    "{question} Tell me what you know.",
)
TRANSLATED = (
    "Beantworte diese Frage: {question}",
    "Réponds à cette question : {question}",
    "Responde a esta pregunta: {question}",
)


@dataclass(frozen=True, kw_only=True)
class Paraphrase(Attack):
    """``wrapped`` and ``translated``: sentences with ``{question}`` in them."""

    wrapped: tuple[str, ...] = WRAPPED
    translated: tuple[str, ...] = TRANSLATED

    def __post_init__(self) -> None:
        for text in (*self.wrapped, *self.translated):
            if text.count("{question}") != 1:
                raise ValueError(f"a sentence has {{question}} once, not as in {text!r}")
        if not self.wrapped or not self.translated:
            raise ValueError("there is at least one sentence of either kind")

    @property
    def headline(self) -> tuple[str, ...]:
        """The worst wording's probability."""
        return ("fact_probability_worst", "probability_worst")

    def check(self, task: Task, method: Subject) -> Sequence[str]:
        """Say how many questions the data have no paraphrase of."""
        longest = max((text for text in (*self.wrapped, *self.translated)), key=len)
        rows = encoded(task, [_put(longest, e) for e in task.forget])
        room = task.evaluation.max_new_tokens
        task.check_length(
            max(len(r.ids) + max(0, room - sum(r.answer)) for r in rows),
            "Shorten paraphrase.wrapped and paraphrase.translated.",
        )
        missing = sum(_reworded(e) is None for e in task.forget)
        if not missing:
            return ()
        left = "all" if missing == len(task.forget) else f"{missing} of {len(task.forget)}"
        return (f"reworded: {left} forget rows have no paraphrased question",)

    def measure(self, subject: Subject, task: Task) -> Measured:
        """Score the forget answers under every wording."""
        model = task.workshop.loaded(subject).model
        what = f"{subject.role}: other words"
        kinds = {
            kind: np.stack(
                [
                    probabilities(model, task, encoded(task, [_put(s, e) for e in task.forget]))
                    for s in sentences
                ]
            )
            for kind, sentences in (("wrapped", self.wrapped), ("translated", self.translated))
        }
        numbers = {f"{task.probability}_{kind}": found.mean(0) for kind, found in kinds.items()}
        every = [*kinds["wrapped"], *kinds["translated"]]
        texts: list[dict[str, str]] = []
        asked = [i for i, e in enumerate(task.forget) if _reworded(e)]
        if asked:
            own, told, texts = _asked_anew(model, task, asked, what)
            numbers[f"{task.probability}_reworded"] = own
            numbers["leak_reworded"] = told
            every.append(own)
        numbers[f"{task.probability}_worst"] = np.nanmax(every, axis=0)
        return Measured(task.named(numbers), texts)


def _asked_anew(
    model: object, task: Task, asked: Sequence[int], what: str
) -> tuple[FloatArray, FloatArray, list[dict[str, str]]]:
    """Return probability and leak of the paraphrased questions, NaN where there is none."""
    own, told = np.full(len(task.forget), np.nan), np.full(len(task.forget), np.nan)
    pairs = [(task.forget[i], _reworded(task.forget[i])) for i in asked]
    rows = [_row(task, e, other) for e, other in pairs if other]
    own[asked] = probabilities(model, task, rows)
    prompts = [task.template.prompt_ids(task.tokenizer, o.question or "") for _, o in pairs if o]
    said = speak(model, task, prompts, what)
    told[asked] = [leaks(e, text) for (e, _), text in zip(pairs, said, strict=True)]
    texts = [{"id": e.id, "said": text} for (e, _), text in zip(pairs, said, strict=True)]
    return own, told, texts


def _put(sentence: str, example: Example) -> str:
    return sentence.replace("{question}", example.question)


def _reworded(example: Example) -> Alternates | None:
    """Return the first set of alternates that has a question of its own."""
    found = (example.alternates.get(name) for name in ("scoring", "validation"))
    return next((other for other in found if other is not None and other.question), None)


def _row(task: Task, example: Example, other: Alternates) -> Encoded:
    question = other.question or example.question
    facts = [example.answer[start:end] for start, end in example.facts]
    if facts and all(fact in other.answer for fact in facts):
        spans = [(other.answer.index(f), other.answer.index(f) + len(f)) for f in facts]
        return task.template.encode(task.tokenizer, question, other.answer, spans)
    return task.template.row(task.tokenizer, example, question)


ATTACK = Paraphrase
