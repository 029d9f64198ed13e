"""Rules a run goes by: the learning rate's schedule, when to stop, which checkpoint is best."""

from __future__ import annotations

__all__ = ["due", "learning_rate", "rank", "stalled", "stop_reason"]

import math
from collections.abc import Mapping

from letheon.errors import InputError
from letheon.recipe import Requirement, Selection, Training


def learning_rate(training: Training, step: int, steps: int) -> float:
    """Return the learning rate of step ``step`` (from 0) of ``steps``, warm-up included."""
    warm = math.ceil(training.warmup * steps)
    if step < warm:
        return training.lr * (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    if training.schedule == "linear":
        return training.lr * (1 - done)
    if training.schedule == "cosine":
        return training.lr * 0.5 * (1 + math.cos(math.pi * done))
    return training.lr


def due(done: int, every: int | None, steps: int) -> bool:
    """Whether something that happens ``every`` so many steps, and at the end, is due."""
    return done == steps or (every is not None and done % every == 0)


def rank(select: Selection | None, scores: Mapping[str, float]) -> tuple[int, float]:
    """Return a checkpoint's rank, larger is better: requirements met, then the score itself.

    Raises InputError when the probe does not give a score that is asked for.
    """
    if select is None:
        return (0, 0.0)
    value = _score(scores, select.score)
    for rule in select.require:
        _score(scores, rule.score)
    met = sum(rule.met(scores) for rule in select.require)
    return (met, value if select.direction == "up" else -value)


def stop_reason(
    at: Requirement | None, below: Requirement | None, scores: Mapping[str, float]
) -> str | None:
    """Return why a run ends at these ``scores``, or None.

    Raises InputError when the probe does not give a score that is asked for.
    """
    if at is not None:
        _score(scores, at.score)
        if at.met(scores):
            return f"reached {at.score}"
    if below is not None:
        _score(scores, below.score)
        if not below.met(scores):
            return f"fell short of {below.score}"
    return None


def stalled(training: Training, best: int, done: int) -> str | None:
    """Return why a run ends after ``done`` steps if the checkpoint of step ``best`` stays the best.

    It ends when ``training.patience`` probes in a row were no better; None before that, and
    without patience.
    """
    if training.patience is None:
        return None
    assert training.select is not None
    assert training.probe_every is not None
    # Those after the best one: the first of all probes is always the best so far.
    since = done // training.probe_every - best // training.probe_every
    if since < training.patience:
        return None
    return f"{training.select.score} no better in {training.patience} probes"


def _score(scores: Mapping[str, float], name: str) -> float:
    if name not in scores:
        raise InputError(
            "Stop rules and selection go by the probe's scores.",
            got=name,
            remedy=f"The probe gives: {', '.join(sorted(scores))}.",
        )
    return scores[name]
