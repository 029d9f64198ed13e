"""Corpus and model -> records: one row per example with everything a metric needs."""

from __future__ import annotations

__all__ = ["Prepared", "Texts", "evaluate", "longest", "prepare"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from letheon.data.batch import pad_id
from letheon.data.example import Alternates, Corpus, Example
from letheon.data.template import Encoded, Template
from letheon.evaluation.generation import generate
from letheon.evaluation.teacher_forced import TokenScores, score_answers
from letheon.metrics import membership
from letheon.metrics.extraction_strength import strength
from letheon.metrics.fluency import repetition
from letheon.metrics.rouge import rouge_l

Columns = dict[str, np.ndarray]
_MIN_K = 0.4


@dataclass(frozen=True)
class Texts:
    """What a person would read of one example: kept apart from the records.

    ``facts`` are the ``[start, end)`` character spans of ``answer`` that state a fact.
    """

    split: str
    id: str
    question: str
    answer: str
    generation: str
    facts: tuple[tuple[int, int], ...] = ()


def prepare(
    tokenizer: Any,
    template: Template,
    corpus: Corpus,
    *,
    paraphrases: str = "scoring",
) -> Prepared:
    """Encode what ``evaluate`` scores, once for any number of models.

    ``paraphrases`` names the set of alternates (``validation`` to select by, ``scoring`` for final
    scores); where a set has its own question, its answers are asked with that. Alternates of
    ``unseen`` rows are not scored: only membership is asked of them.
    """
    return {
        name: _Split.of(examples, None if name == "unseen" else paraphrases, tokenizer, template)
        for name, examples in corpus.evaluation.items()
        if examples
    }


def evaluate(
    model: Any,
    tokenizer: Any,
    prepared: Prepared,
    *,
    generated: Sequence[str] | None = None,
    max_new_tokens: int = 64,
    batch_tokens: int = 8192,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> tuple[dict[str, Columns], list[Texts]]:
    """Score ``model`` on the splits that were prepared.

    Texts are generated for the splits ``generated`` (default: all scored); others lack the columns
    that need them.

    Returns records (columns as in docs/design/0001-contracts.md) and the texts.
    """
    rows = [row for split in prepared.values() for row in split.rows]
    scores = iter(
        score_answers(
            model,
            rows,
            pad_id=pad_id(tokenizer),
            batch_tokens=batch_tokens,
            progress=_count(progress, "answers", len(rows)),
        )
    )
    records = {name: split.columns(scores) for name, split in prepared.items()}
    speak = {s: v for s, v in prepared.items() if generated is None or s in generated}
    texts = _generate(model, tokenizer, speak, max_new_tokens, batch_tokens, progress)
    for name in speak:
        records[name] |= _text_columns([t for t in texts if t.split == name])
    return records, texts


def longest(tokenizer: Any, template: Template, corpus: Corpus) -> dict[str, int]:
    """Return the tokens of the longest answer row (alternates too) and the longest prompt."""
    sets = {name for rows in corpus.evaluation.values() for e in rows for name in e.alternates}
    examples = [e for rows in corpus.evaluation.values() for e in rows]
    splits = [_Split.of(examples, name, tokenizer, template) for name in sets or {"scoring"}]
    return {
        "row": max(len(row.ids) for split in splits for row in split.rows),
        "prompt": max(map(len, splits[0].prompts)),
    }


@dataclass(frozen=True)
class _Split:
    """One split's rows for the pass: the answer, then paraphrase and false answers, by example."""

    examples: Sequence[Example]
    alternates: Sequence[Alternates | None]
    rows: list[Encoded]
    prompts: list[list[int]]

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        paraphrases: str | None,
        tokenizer: Any,
        template: Template,
    ) -> _Split:
        alternates = [e.alternates.get(paraphrases) if paraphrases else None for e in examples]
        rows = []
        for example, other in zip(examples, alternates, strict=True):
            rows.append(template.row(tokenizer, example))
            if other is not None:
                question = other.question or example.question
                rows += [
                    template.encode(tokenizer, question, answer)
                    for answer in (other.answer, *other.perturbed)
                ]
        prompts = [template.prompt_ids(tokenizer, e.question) for e in examples]
        return cls(examples, alternates, rows, prompts)

    def columns(self, scores: Any) -> Columns:
        answers: list[TokenScores] = []
        paraphrased: list[float] = []
        perturbed: list[list[float]] = []
        for other in self.alternates:
            answers.append(next(scores))
            paraphrased.append(_nll(next(scores)) if other else np.nan)
            perturbed.append([_nll(next(scores)) for _ in (other.perturbed if other else ())])
        columns = {
            "id": np.array([e.id for e in self.examples]),
            "unit": np.array([e.unit for e in self.examples]),
            "zlib_bytes": np.array([membership.zlib_bytes(e.answer) for e in self.examples]),
            **_token_columns(answers),
        }
        width = max(map(len, perturbed))
        if width:
            columns["paraphrased_nll"] = np.array(paraphrased)
            columns["perturbed_nll"] = np.array(
                [p + [np.nan] * (width - len(p)) for p in perturbed]
            )
        return columns


Prepared = Mapping[str, _Split]


def _token_columns(answers: Sequence[TokenScores]) -> Columns:
    facts = [a.logp[a.fact] for a in answers]
    return {
        "n_tokens": np.array([len(a.logp) for a in answers]),
        "nll": np.array([_nll(a) for a in answers]),
        "fact_nll": np.array([-float(f.mean()) if len(f) else np.nan for f in facts]),
        "argmax_match": np.array([float(a.match.mean()) for a in answers]),
        "extraction_strength": np.array([strength(a.match) for a in answers]),
        "min_k": np.array([membership.min_k(a.logp, k=_MIN_K) for a in answers]),
        "min_k_pp": np.array(
            [membership.min_k_pp(a.logp, a.mean, a.std, k=_MIN_K) for a in answers]
        ),
    }


def _text_columns(texts: Sequence[Texts]) -> Columns:
    rouge = [rouge_l(t.generation, t.answer, stem=True) for t in texts]
    return {
        "rouge_l_recall": np.array([r.recall for r in rouge]),
        "rouge_l_f1": np.array([rouge_l(t.generation, t.answer, stem=False).f1 for t in texts]),
        "repetition": np.array([repetition(t.generation.split(), n=3) for t in texts]),
    }


def _generate(
    model: Any,
    tokenizer: Any,
    splits: Prepared,
    max_new_tokens: int,
    batch_tokens: int,
    progress: Callable[[str, int, int], None],
) -> list[Texts]:
    every = [(name, e) for name, split in splits.items() for e in split.examples]
    if not every:
        return []
    out = generate(
        model,
        [prompt for split in splits.values() for prompt in split.prompts],
        pad_id=pad_id(tokenizer),
        eos_id=tokenizer.eos_token_id,
        max_new_tokens=max_new_tokens,
        batch_tokens=batch_tokens,
        progress=_count(progress, "generations", len(every)),
    )
    decoded = tokenizer.batch_decode(out, skip_special_tokens=True)
    return [
        Texts(name, e.id, e.question, e.answer, text.strip(), e.facts)
        for (name, e), text in zip(every, decoded, strict=True)
    ]


def _nll(scores: TokenScores) -> float:
    return -float(scores.logp.mean())


def _count(
    progress: Callable[[str, int, int], None], what: str, total: int
) -> Callable[[int], None]:
    done = 0

    def add(n: int) -> None:
        nonlocal done
        done += n
        progress(what, done, total)

    return add
