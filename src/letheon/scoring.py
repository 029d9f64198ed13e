"""Scores of one model on one corpus: records, metrics, the gate, and the probe a loop goes by."""

from __future__ import annotations

__all__ = ["SETS", "Scorer", "read_records", "write_records"]

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from letheon.data.example import Corpus, Example
from letheon.data.template import Template
from letheon.errors import FolderError
from letheon.evaluation.records import Texts, evaluate
from letheon.folder import RunFolder
from letheon.metrics import compute_all, gate, gold_distance
from letheon.metrics.forget_quality import ks
from letheon.metrics.model_utility import utility_parts
from letheon.metrics.records import Records, from_table, to_table
from letheon.recipe import Evaluation

# Paraphrase sets: one to select by, another for final scores, each with a file for its records.
SETS = ("validation", "scoring")
_FILES = {"validation": "validation.parquet", "scoring": RunFolder.EXAMPLES}

# Rows of each kept split that a probe reads: it runs many times, its scores only select.
_PROBE_ROWS = 80


@dataclass(frozen=True)
class Scorer:
    """Scores models that share a tokenizer, a template and a corpus."""

    tokenizer: Any
    template: Template
    corpus: Corpus
    settings: Evaluation

    def records(
        self,
        model: Any,
        which: str,
        folder: RunFolder | None,
        watch: Callable[[dict[str, Any]], None],
    ) -> Records:
        """Evaluate ``model`` with the paraphrase set ``which``; texts go to ``private/``."""
        found, texts = evaluate(
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
        if folder is not None:
            _write_texts(folder, which, texts)
        return found

    def scores(self, records: Records, gold: Records | None) -> dict[str, Any]:
        """Return the ``scores.json`` part: every score the data allow, and what was left out."""
        scores, skipped = compute_all(records, gold, self.settings.metrics)
        return {
            "benchmark": {"name": self.corpus.name, "version": self.corpus.version},
            "scores": [s.to_json() for s in scores],
            "skipped": skipped,
        }
