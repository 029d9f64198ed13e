"""Scores of one model on one corpus: records, metrics, the gate, and the probe a loop goes by."""

from __future__ import annotations

__all__ = ["Scorer", "check_metrics", "check_rules", "distance_limit"]

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from letheon import processes, registry
from letheon.data import swap
from letheon.data.batch import pad_id
from letheon.data.example import Corpus, Example
from letheon.data.pieces import fit
from letheon.data.template import Encoded, Template
from letheon.errors import DataError, DivergedError, MetricError, RecipeError, nearest
from letheon.evaluation.generation import generate
from letheon.evaluation.records import Texts, evaluate, longest, prepare
from letheon.metrics import compute_all, gold_distance
from letheon.metrics.forget_quality import critical_ks, ks_statistic, log_ratios, p_value
from letheon.metrics.gate import judge
from letheon.metrics.model_utility import SPLITS_KEPT, harmonic_mean
from letheon.metrics.probability import per_example
from letheon.metrics.records import FloatArray, Records
from letheon.metrics.truth_ratio import of_split, utility_share
from letheon.metrics.verdict import Limits
from letheon.objectives.contract import Answers
from letheon.recipe import Evaluation, Training

# Rows of a split that a probe reads, at least: it runs many times, and its scores only select.
# The forget set has as many as the gate asks for; membership needs all unseen rows, and they are
# cheap.
_PROBE_ROWS = {"forget": Limits().rows, **dict.fromkeys(SPLITS_KEPT, 50)}

# False answers of a row that a probe reads, at most.
_PROBE_FALSE = 5

# Tokens that a tokenizer may put before and after a text.
_ENDS = 4

Watch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Scorer:
    """Scores models that share a tokenizer, a template and a corpus.

    ``longest``: rows of more tokens are cut into pieces; None leaves them as they are.
    """

    tokenizer: Any
    template: Template
    corpus: Corpus
    settings: Evaluation
    longest: int | None = None

    def on(self, corpus: Corpus) -> Scorer:
        """Return the same for another corpus, its long rows cut."""
        if self.longest is not None:
            corpus = fit(corpus, self.tokenizer, self.template, limit=self.longest)
        return replace(self, corpus=corpus)

    def records(
        self, model: Any, which: str, watch: Watch, *, spoken: Records | None = None
    ) -> tuple[Records, list[Texts]]:
        """Evaluate ``model`` with the paraphrase set ``which``.

        ``spoken``: the same model's records with the other set. What a model generates depends on
        the question alone, so it is taken from there and no texts are returned.

        Raises DivergedError when the model gives an answer no finite probability.
        """
        records, texts = evaluate(
            model,
            self.tokenizer,
            prepare(self.tokenizer, self.template, self.corpus, paraphrases=which),
            generated=() if spoken else None,
            max_new_tokens=self.settings.max_new_tokens,
            batch_tokens=self.settings.batch_tokens,
            progress=lambda what, done, total: watch(
                {"event": "progress", "name": f"{which} {what}", "done": done, "total": total}
            ),
        )
        _check_finite(records)
        if spoken:
            records = {split: {**spoken[split], **records[split]} for split in records}
        return records, texts

    def speaker(self, model: Any) -> Answers:
        """Return what answers questions with ``model`` as it is, by samples at temperature 1."""
        return lambda questions, seed: self._answers(model, questions, seed)

    def _answers(self, model: Any, questions: Sequence[str], seed: int | None) -> list[str]:
        """Return answers by samples at temperature 1, or greedy ones without a seed."""
        prompts = [self.template.prompt_ids(self.tokenizer, question) for question in questions]
        found = self._said(model, prompts, temperature=0.0 if seed is None else 1.0, seed=seed or 0)
        return [self.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in found]

    def _said(
        self, model: Any, prompts: Sequence[Sequence[int]], *, temperature: float, seed: int
    ) -> list[list[int]]:
        model.to(processes.device())
        return generate(
            model,
            prompts,
            pad_id=pad_id(self.tokenizer),
            eos_id=self.tokenizer.eos_token_id,
            max_new_tokens=self.settings.max_new_tokens,
            batch_tokens=self.settings.batch_tokens,
            temperature=temperature,
            seed=seed,
        )

    def asks_itself(self, model: Any) -> Callable[[int, int], list[tuple[str, str]]]:
        """Return what makes ``model`` as it is ask n questions and answer them (see own_words)."""
        return lambda count, seed: self._asked_itself(model, count, seed)

    def _asked_itself(self, model: Any, count: int, seed: int) -> list[tuple[str, str]]:
        opening = self.template.opening_ids(self.tokenizer)
        _, between = self.template.around(self.tokenizer)
        told = [
            self.tokenizer.decode(ids, skip_special_tokens=True)
            for ids in self._said(model, [opening] * count, temperature=1.0, seed=seed)
        ]
        questions = list(dict.fromkeys(_question(text, between.strip()) for text in told))
        questions = [question for question in questions if question]
        return list(zip(questions, self._answers(model, questions, None), strict=True))

    def check_lengths(self, model: Any) -> None:
        """Raise DataError or RecipeError when a row or a generation outgrows the model's context.

        Past it a model with learned positions stops with an index error, any other guesses.
        """
        limit = getattr(model.config, "max_position_embeddings", None)
        if limit is None or self._surely_fits(limit):
            return
        found = longest(self.tokenizer, self.template, self.corpus)
        if found["row"] > limit:
            raise DataError(
                f"Every question with its answer fits the model's {limit} positions.",
                got=f"a row of {found['row']} tokens",
                remedy="Shorten or drop long rows, set data.long_rows to split, or use a model "
                "with more positions.",
            )
        if found["prompt"] + self.settings.max_new_tokens > limit:
            raise RecipeError(
                f"Every prompt with its generation fits the model's {limit} positions.",
                got=f"a prompt of {found['prompt']} tokens and evaluation.max_new_tokens "
                f"{self.settings.max_new_tokens}",
                remedy=f"Set evaluation.max_new_tokens to {max(1, limit - found['prompt'])}.",
            )

    def check_rows(self, model: Any, rows: Sequence[Encoded]) -> None:
        """Raise DataError when a row that is none of the corpus's outgrows the model's context."""
        limit = getattr(model.config, "max_position_embeddings", None)
        width = max((len(row.ids) for row in rows), default=0)
        if limit is not None and width > limit:
            raise DataError(
                f"Every question with its preferred answer fits the model's {limit} positions.",
                got=f"a row of {width} tokens",
                remedy="Shorten or drop long questions, or use a model with more positions.",
            )

    def _surely_fits(self, limit: int) -> bool:
        """Whether rows fit even at a token a byte: it saves encoding every row once more."""
        around = len(self.template.prompt(self.tokenizer, "?").encode()) + _ENDS
        rows = [e for split in self.corpus.evaluation.values() for e in split]
        said = [
            (other.question or e.question, text)
            for e in rows
            for other in e.alternates.values()
            for text in (other.answer, *other.perturbed)
        ]
        said += [(e.question, e.answer) for e in rows]
        room = max(len(answer.encode()) for _, answer in said)
        asked = max(len(question.encode()) for question, _ in said)
        return around + asked + max(room, self.settings.max_new_tokens) <= limit

    def scores(self, records: Records, gold: Records | None) -> dict[str, Any]:
        """Return every score the data allow and what was left out, as in ``scores.json``.

        Raises MetricError when the recipe names a metric that cannot be computed.
        """
        scores, skipped = compute_all(records, gold, self.settings.metrics)
        return {
            "benchmark": {"name": self.corpus.name, "version": self.corpus.version},
            "scores": [score.to_json() for score in scores],
            "skipped": [entry._asdict() for entry in skipped],
        }

    def verdict(
        self, records: Records, target: Records, gold: Records, second: Records, *, oracle: bool
    ) -> dict[str, Any]:
        """Return the gate's verdict, as in ``scores.json``.

        Raises MetricError when the data lack what the gate needs.
        """
        controls = all(split in records for split in SPLITS_KEPT)
        limits = Limits(
            utility=self.settings.utility_floor,
            utility_score="model_utility" if controls else "retain_utility",
        )
        found = judge(
            records, target=target, gold=gold, second_gold=second, limits=limits, oracle=oracle
        )
        return {
            "passed": found.passed,
            "decidable": found.decidable,
            "words": found.words,
            "criteria": [asdict(criterion) for criterion in found.criteria],
        }

    def known(self, model: Any) -> swap.Known:
        """Return what ``swap_gap`` goes by, of ``model`` before it forgets.

        The geometric mean probability of another row's answer is what an answer has by its form
        alone. A stand-in for a gold model, and a rough one.
        """
        model.to(processes.device())
        forget, retain = self.corpus.forget, self.corpus.retain
        corpus = replace(self.corpus, evaluation={"forget": swap.swapped(forget, retain)})
        prepared = prepare(self.tokenizer, self.template, corpus, paraphrases="validation")
        tokens = self.settings.batch_tokens
        records, _ = evaluate(model, self.tokenizer, prepared, generated=(), batch_tokens=tokens)
        words = swap.rare_words(forget, retain)[:: _stride("forget", len(forget))]
        return swap.Known(float(np.exp(-records["forget"]["nll"].mean())), words)

    def probe(
        self,
        target: Records,
        gold: Records | None,
        training: Training,
        *,
        known: swap.Known | None = None,
    ) -> Callable[[Any], Mapping[str, float]]:
        """Return a quick scorer on validation paraphrases, for stopping and selecting.

        It gives ``utility_ratio`` (model utility, on a share of the rows and of the splits there
        are, divided by the target's) and ``forget_probability``; with a gold model for selection
        also ``forget_quality``, ``gold_distance`` and ``gate_gap``, as far as the data allow. The
        gap is the gold distance, plus what ``utility_ratio`` falls short of the gate's floor, plus
        what the KS distance exceeds the one that the gate's forget quality allows.
        With ``known`` it gives ``swap_gap``: what the probability of a forget row's answer exceeds
        that of a swapped one, plus the share of its rare words that the model says, both means over
        rows, plus what ``utility_ratio`` falls short. It says when to stop without a gold model, is
        our own and no gate.

        Raises RecipeError when ``training`` has a rule on a score that it will not give. The
        scorer raises DivergedError for a model whose scores are not finite.
        """
        corpus = replace(
            self.corpus,
            evaluation={
                split: tuple(_fewer(row) for row in rows[:: _stride(split, len(rows))])
                for split, rows in self.corpus.evaluation.items()
            },
        )
        target, gold = _sampled(target), _sampled(gold) if gold else None
        before = _utility_parts(target)
        against = {
            name: score
            for name, score in _AGAINST_GOLD.items()
            if gold is not None and _allowed(score, target, gold)
        }
        gap = _GAP if "gold_distance" in against else ()
        check_rules(training, [*against, *gap, *_ALONE])
        prepared = prepare(self.tokenizer, self.template, corpus, paraphrases="validation")
        speaking = [*(("forget",) if against or known else ()), *SPLITS_KEPT]

        def probe(model: Any) -> dict[str, float]:
            records, texts = evaluate(
                model,
                self.tokenizer,
                prepared,
                generated=speaking,
                max_new_tokens=self.settings.max_new_tokens,
                batch_tokens=self.settings.batch_tokens,
            )
            _check_finite(records)
            scores = {
                **{name: score(records, gold) for name, score in against.items()},
                "utility_ratio": _share(_utility_parts(records), before),
                "forget_probability": float(per_example(records, "forget").mean()),
            }
            missing = max(0.0, self.settings.utility_floor - scores["utility_ratio"])
            if known is not None:
                scores["swap_gap"] = _left(records, texts, known) + missing
            for name in gap:
                scores[name] = scores["gold_distance"] + missing + _excess(records, gold)
            return scores

        return probe


def distance_limit(gold: Records, second: Records) -> float:
    """Return the largest gold distance by which a probe against ``gold`` would pass the gate.

    By the gate's rule, on the rows that a probe reads. ``second``: another gold model's records
    with the same paraphrases. Raises MetricError where the data lack what the distance needs.
    """
    limits = Limits()
    apart = _distance(_sampled(second), _sampled(gold))
    return limits.distance_factor * apart + limits.distance_margin


def check_metrics(settings: Evaluation) -> None:
    """Raise RecipeError for a metric that there is not."""
    valid = registry.names("letheon.metrics")
    for name in settings.metrics or ():
        if name not in valid:
            raise RecipeError(
                "evaluation.metrics names metrics.", got=name, remedy=nearest(name, valid)
            )


def check_rules(training: Training, given: Iterable[str] | bool) -> None:
    """Raise RecipeError when a stop rule or the selection goes by a score that is not ``given``.

    ``given``: the probe's scores, or, before there is a probe, whether there is a gold model.
    """
    with_gold = [*_AGAINST_GOLD, *_GAP]
    valid = given if not isinstance(given, bool) else [*_ALONE, *(with_gold if given else ())]
    for key, names in _asked(training).items():
        for name in names:
            if name not in valid:
                hint = " It needs gold.selection." if name in with_gold else ""
                raise RecipeError(
                    "Stop rules and selection go by scores that the data and gold models allow.",
                    got=f"{key} {name}",
                    remedy=f"{nearest(name, valid)}{hint}",
                )


def asks(training: Training, name: str) -> bool:
    """Whether a rule of ``training`` goes by the probe's score ``name``."""
    return any(name in names for names in _asked(training).values())


def _asked(training: Training) -> dict[str, list[str]]:
    """Return the scores that rules go by, by the rule's key."""
    select = training.select
    return {
        "training.select.score": [select.score] if select else [],
        "training.select.require": [rule.score for rule in select.require] if select else [],
        "training.stop_at": [training.stop_at.score] if training.stop_at else [],
        "training.stop_below": [training.stop_below.score] if training.stop_below else [],
    }


def _distance(records: Records, gold: Records) -> float:
    return float(np.mean([part.value for part in gold_distance.parts(records, gold)]))


def _quality(records: Records, gold: Records) -> float:
    mine, theirs, _ = log_ratios(records, gold)
    return p_value(mine, theirs)


def _left(records: Records, texts: Sequence[Texts], known: swap.Known) -> float:
    likely = np.maximum(0.0, per_example(records, "forget") - known.swapped).mean()
    told = [text.generation for text in texts if text.split == "forget"]
    words = [swap.said(own, text) for own, text in zip(known.words, told, strict=True)]
    return float(likely + np.mean(words))


def _excess(records: Records, gold: Records | None) -> float:
    mine, theirs, _ = log_ratios(records, gold)
    return max(0.0, ks_statistic(mine, theirs) - critical_ks(len(mine), Limits().forget_quality))


_ALONE = ("utility_ratio", "forget_probability", "swap_gap")
_GAP = ("gate_gap",)
_AGAINST_GOLD: Mapping[str, Callable[[Records, Any], float]] = {
    "gold_distance": _distance,
    "forget_quality": _quality,
}


def _allowed(score: Callable[[Records, Any], float], records: Records, gold: Records) -> bool:
    try:
        score(records, gold)
    except MetricError:
        return False
    return True


def _check_finite(records: Records) -> None:
    for split, columns in records.items():
        broken = int((~np.isfinite(columns["nll"])).sum())
        if broken:
            raise DivergedError(
                f"A model gives every answer a finite probability; on the split '{split}' it "
                "does not.",
                got=f"{broken} of {len(columns['nll'])} answers",
                remedy="Lower training.lr or the forget weight, or use a bounded adapter; the last "
                "checkpoint is kept.",
            )


def _has_truth_ratio(columns: Mapping[str, Any]) -> bool:
    """Whether rows have a paraphrase and false answers together: own data may have one of them."""
    if "paraphrased_nll" not in columns or "perturbed_nll" not in columns:
        return False
    has_true = ~np.isnan(columns["paraphrased_nll"])
    has_false = ~np.isnan(columns["perturbed_nll"]).all(axis=1)
    return bool(has_true.any() and (has_true == has_false).all())


def _stride(split: str, n: int) -> int:
    return max(1, n // _PROBE_ROWS.get(split, n))


def _question(text: str, between: str) -> str:
    """Cut a question off from what a model said after it: at the template's text, or a line's end.

    Without a text between question and answer also at a question mark.
    """
    before, found, _ = text.partition(between) if between else (text, "", "")
    line = (before if found else text).strip().partition("\n")[0].strip()
    if not between and "?" in line:
        line = line.partition("?")[0] + "?"
    return line


def _sampled(records: Records) -> Records:
    """Take what a probe reads of the records of a model that is compared with."""
    found = {
        split: {k: v[:: _stride(split, len(v))] for k, v in columns.items()}
        for split, columns in records.items()
    }
    for columns in found.values():
        if "perturbed_nll" in columns:
            columns["perturbed_nll"] = columns["perturbed_nll"][:, :_PROBE_FALSE]
    return found


def _fewer(example: Example) -> Example:
    """Take the false answers of an example that a probe reads."""
    alternates = {
        name: replace(other, perturbed=other.perturbed[:_PROBE_FALSE])
        for name, other in example.alternates.items()
    }
    return replace(example, alternates=alternates)


def _utility_parts(records: Records) -> FloatArray:
    """Return probability, ROUGE-L recall and truth ratio of the kept splits.

    The parts of ``model_utility``, as far as there are splits and columns: own data may lack some.
    """
    values = []
    for split in SPLITS_KEPT:
        if split in records:
            values.append(float(per_example(records, split).mean()))
            values.append(float(records[split]["rouge_l_recall"].mean()))
            if _has_truth_ratio(records[split]):
                ratio, _ = of_split(records, split, "geometric")
                values.append(float(utility_share(ratio).mean()))
    return np.array(values)


def _share(parts: FloatArray, before: FloatArray) -> float:
    """Harmonic mean as a share of the target's, over the parts of which the target has any."""
    some = before > 0
    return float(harmonic_mean(parts[some]) / harmonic_mean(before[some]))
