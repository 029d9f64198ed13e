"""TOFU's own evaluation logs (eval_log_aggregated.json) -> records and scores.

The logs of the original code (Maini et al. 2024) hold, per part, dictionaries from a row's index to
its number. Rows of the forget and retain parts are taken to come in TOFU's order, 20 questions an
author, so that ``unit`` is ``index // 20`` (true of the published logs, which hold the first rows
of each set); each row of a control set is its own unit.
"""

from __future__ import annotations

__all__ = ["METRICS", "read_log", "score_log"]

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from letheon.errors import DataError
from letheon.metrics import compute_all
from letheon.metrics.records import Array, Columns, Records
from letheon.metrics.score import Score

METRICS = ("forget_quality", "model_utility", "probability", "rouge", "truth_ratio")

_PARTS = {
    "forget": "eval_log_forget.json",
    "retain": "eval_log.json",
    "real_authors": "eval_real_author_wo_options.json",
    "world_facts": "eval_real_world_wo_options.json",
}
_COLUMNS = {
    "n_tokens": "num_token_gt",
    "nll": "avg_gt_loss",
    "paraphrased_nll": "avg_paraphrased_loss",
    "perturbed_nll": "average_perturb_loss",
    "rouge_l_recall": "rougeL_recall",
}
_QUESTIONS_PER_AUTHOR = 20


def read_log(path: Path | str) -> Records:
    """Return the records of a log: splits forget, retain, real_authors, world_facts.

    Raises:
        DataError: the file is missing or not JSON, or a key is missing or malformed.
    """
    path = Path(path)
    log = _load(path)
    return {split: _columns(path, log, split, part) for split, part in _PARTS.items()}


def score_log(full_path: Path | str, reference_path: Path | str) -> list[Score]:
    """Return the scores of the log ``full_path`` with ``reference_path`` as the gold model's.

    The reference's own model utilities follow, their names starting with ``reference.``.

    Raises:
        DataError: as ``read_log``.
        MetricError: the forget rows of the two logs are not the same.
    """
    records, gold = read_log(full_path), read_log(reference_path)
    scores = compute_all(records, gold, names=METRICS).scores
    utilities = compute_all(gold, None, names=("model_utility",)).scores
    return scores + [replace(score, name=f"reference.{score.name}") for score in utilities]


def _load(path: Path) -> Mapping[str, Any]:
    try:
        log = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            "A TOFU log is a readable JSON file.",
            got=f"{path}: {error}",
            remedy="Give the path of an eval_log_aggregated.json.",
        ) from error
    if not isinstance(log, dict):
        raise _malformed(path, "the top level", f"a {type(log).__name__}")
    return log


def _malformed(path: Path, key: str, got: str) -> DataError:
    return DataError(
        f"{path}: {key} of a TOFU log maps row indices 0, 1, ... to numbers.",
        got=got,
        remedy="Give the eval_log_aggregated.json that TOFU's evaluation wrote, complete.",
    )


def _columns(path: Path, log: Mapping[str, Any], split: str, part: str) -> Columns:
    if not isinstance(log.get(part), dict):
        raise _malformed(path, repr(part), f"keys {', '.join(sorted(log)) or 'none'}")
    values = {name: _column(path, log[part], part, key) for name, key in _COLUMNS.items()}
    lengths = {_COLUMNS[name]: len(column) for name, column in values.items()}
    if len(set(lengths.values())) > 1:
        raise _malformed(path, repr(part), f"rows {lengths}")
    n = len(values["nll"])
    grouped = split in ("forget", "retain")
    units = [f"{split}-{i // _QUESTIONS_PER_AUTHOR if grouped else i}" for i in range(n)]
    return {"id": _ids(split, n, log[part]), "unit": np.array(units), **values}


def _column(path: Path, part: Mapping[str, Any], name: str, key: str) -> Array:
    where = f"{name!r} -> {key!r}"
    rows = part.get(key)
    if not isinstance(rows, dict) or not rows:
        raise _malformed(path, where, "nothing" if rows is None else f"{str(rows)[:60]}")
    if list(rows) != [str(i) for i in range(len(rows))]:
        raise _malformed(path, where, f"indices {', '.join(list(rows)[:5])}, ...")
    try:
        values = np.array(list(rows.values()), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _malformed(path, where, str(error)) from error
    expected = 2 if key == "average_perturb_loss" else 1
    if values.ndim != expected or np.isnan(values).any():
        raise _malformed(path, where, f"shape {values.shape}, {int(np.isnan(values).sum())} NaN")
    return values.astype(np.int64) if key == "num_token_gt" else values


def _ids(split: str, n: int, part: Mapping[str, Any]) -> Array:
    """Return ids that two logs share when they hold the same answers in the same order.

    The digest of the true answer, the third of ``generated_text``, is part of an id where the log
    has texts; a log stripped of them is matched by index alone.
    """
    texts = part.get("generated_text", {})
    answers = (texts.get(str(i)) for i in range(n))
    return np.array([f"{split}-{i}{_digest(answer)}" for i, answer in enumerate(answers)])


def _digest(texts: object) -> str:
    if not isinstance(texts, list) or len(texts) != 3:
        return ""
    return "-" + sha256(str(texts[2]).strip().encode()).hexdigest()[:8]
