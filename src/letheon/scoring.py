"""Scores of one model on one corpus: records, metrics, the gate, and the probe a loop goes by."""

from __future__ import annotations

__all__ = ["SETS", "Scorer"]

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from letheon.data.example import Corpus
from letheon.data.template import Template
from letheon.evaluation.records import Texts, evaluate
from letheon.metrics import compute_all, gold_distance
from letheon.metrics.forget_quality import log_ratios, p_value
from letheon.metrics.gate import judge
from letheon.metrics.model_utility import SPLITS_KEPT, harmonic_mean
from letheon.metrics.probability import per_example
from letheon.metrics.records import Records
from letheon.metrics.truth_ratio import of_split, utility_share
from letheon.metrics.verdict import Limits
from letheon.recipe import Evaluation

# Paraphrase sets: one to select by, another for final scores.
SETS = ("validation", "scoring")

# Rows of each kept split that a probe reads: it runs many times, and its scores only select.
_PROBE_ROWS = 80

Watch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Scorer:
    """Scores models that share a tokenizer, a template and a corpus."""

    tokenizer: Any
    template: Template
    corpus: Corpus
    settings: Evaluation

    def records(self, model: Any, which: str, watch: Watch) -> tuple[Records, list[Texts]]:
        """Evaluate ``model`` with the paraphrase set ``which``."""
        return evaluate(
            model,
            self.tokenizer,
            self.template,
            self.corpus,
            paraphrases=which,
            max_new_tokens=self.settings.max_new_tokens,
            batch_tokens=self.settings.batch_tokens,
            progress=lambda what, done, total: watch(
                {"event": "progress", "name": f"{which} {what}", "done": done, "total": total}
            ),
        )

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
        """Return the gate's verdict, as in ``scores.json``."""
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

    def probe(self, target: Records, gold: Records | None) -> Callable[[Any], Mapping[str, float]]:
        """Return a quick scorer on validation paraphrases, for stopping and selecting.

        It gives ``utility_ratio`` (probability and truth ratio on the kept splits, harmonic mean,
        as a share of the target's) and ``forget_probability``; with a gold model for selection
        also ``forget_quality`` and ``gold_distance``.
        """
        corpus = replace(
            self.corpus,
            evaluation={
                split: rows if split in ("forget", "unseen") else rows[:: _stride(len(rows))]
                for split, rows in self.corpus.evaluation.items()
            },
        )
        before = _utility(
            {
                split: {k: v[:: _stride(len(v))] for k, v in target[split].items()}
                for split in SPLITS_KEPT
                if split in target
            }
        )

        def probe(model: Any) -> dict[str, float]:
            records, _ = evaluate(
                model,
                self.tokenizer,
                self.template,
                corpus,
                paraphrases="validation",
                generated=("forget",) if gold is not None else (),
                max_new_tokens=self.settings.max_new_tokens,
                batch_tokens=self.settings.batch_tokens,
            )
            scores = {
                "utility_ratio": _utility(records) / before,
                "forget_probability": float(per_example(records, "forget").mean()),
            }
            if gold is None:
                return scores
            parts = [part.value for part in gold_distance.parts(records, gold)]
            mine, theirs, _ = log_ratios(records, gold)
            return {
                "gold_distance": float(np.mean(parts)),
                "forget_quality": p_value(mine, theirs),
                **scores,
            }

        return probe


def _stride(n: int) -> int:
    return max(1, n // _PROBE_ROWS)


def _utility(records: Records) -> float:
    """Harmonic mean over the kept splits of probability and, where there is one, truth ratio."""
    values = []
    for split in SPLITS_KEPT:
        if split in records:
            values.append(float(per_example(records, split).mean()))
            if "paraphrased_nll" in records[split]:
                ratio, _ = of_split(records, split, "geometric")
                values.append(float(utility_share(ratio).mean()))
    return float(harmonic_mean(np.array(values)))
