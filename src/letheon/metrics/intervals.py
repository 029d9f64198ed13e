"""Intervals: a bootstrap that resamples units, not rows, and Wilson's for shares."""

from __future__ import annotations

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "bootstrapped",
    "count_units",
    "mean_of_column",
    "mean_score",
    "unit_weights",
    "weighted_mean",
    "wilson",
]

import zlib
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from letheon.errors import MetricError
from letheon.metrics.records import Array, FloatArray, Records, numbers, units
from letheon.metrics.score import Direction, Score

RESAMPLES = 1000
LEVEL = 0.95
_SEED = 20261123


def count_units(names: Array) -> int:
    """Return the number of distinct units in the [n] names."""
    return len(np.unique(names))


def unit_weights(
    names: Array, *, split: str, resamples: int = RESAMPLES, seed: int = _SEED
) -> FloatArray:
    """Return [resamples, n] weights: how often each row's unit was drawn with replacement.

    The draws depend on ``seed``, ``split`` and the units alone, so that two metrics, or a model and
    its gold model, see the same resamples of one split, while two splits are independent.
    """
    _, codes = np.unique(names, return_inverse=True)
    n_units = int(codes.max()) + 1
    generator = np.random.default_rng([seed, zlib.crc32(split.encode())])
    drawn = generator.multinomial(n_units, np.full(n_units, 1 / n_units), size=resamples)
    return drawn[:, codes].astype(np.float64)


def weighted_mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the [resamples] means of [n] ``values`` under [resamples, n] ``weights``."""
    return np.asarray((weights @ values) / weights.sum(axis=1))


def bootstrapped(
    name: str,
    value: float,
    draws: FloatArray,
    *,
    n: int,
    n_units: Sequence[int],
    direction: Direction,
    unit: str,
) -> Score:
    """Return the score with the percentile interval of its [resamples] ``draws``.

    ``n_units`` gives the units of each group that was resampled. Statistics with an absolute value
    in them (KS D, distances) are biased upwards under resampling, and the percentiles can miss the
    value; the interval is then widened to hold it. No interval is defined for a single unit or
    where a resample has no value.
    """
    words = f"{LEVEL:.0%} bootstrap over {' and '.join(map(str, n_units))} units"
    low: float | None = None
    high: float | None = None
    if min(n_units) < 2:
        words = "none: one unit"
    elif not np.isfinite(draws).all():
        words = "none: undefined in some resamples"
    else:
        tail = 100 * (1 - LEVEL) / 2
        below, above = np.percentile(draws, [tail, 100 - tail])
        low, high = min(float(below), value), max(float(above), value)
    return Score(name, value, low, high, n, direction, unit, words)


def mean_score(
    name: str, values: FloatArray, names: Array, *, split: str, direction: Direction, unit: str
) -> Score:
    """Return the mean of [n] ``values`` with its interval over the units ``names``."""
    draws = weighted_mean(values, unit_weights(names, split=split))
    return bootstrapped(
        name,
        float(values.mean()),
        draws,
        n=len(values),
        n_units=[count_units(names)],
        direction=direction,
        unit=unit,
    )


def mean_of_column(
    records: Records, name: str, *, unit: str, controls: bool = False
) -> list[Score]:
    """Return the mean of column ``name`` on forget (to gold) and on retain (up).

    ``controls`` adds ``real_authors`` and ``world_facts`` where the records have them.

    Raises:
        MetricError: the column or one of the two splits is missing.
    """
    splits = ["forget", "retain"]
    if controls:
        splits += [split for split in ("real_authors", "world_facts") if split in records]
    return [
        mean_score(
            f"{split}.{name}",
            numbers(records, split, name),
            units(records, split),
            split=split,
            direction="gold" if split == "forget" else "up",
            unit=unit,
        )
        for split in splits
    ]


def wilson(successes: int, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's interval (1927) for a share of ``n`` independent successes or failures.

    Raises:
        MetricError: ``n`` is 0 or ``successes`` is not between 0 and ``n``.
    """
    if not 0 <= successes <= n or n == 0:
        raise MetricError(
            "A share needs n > 0 and 0 <= successes <= n.",
            got=f"{successes} of {n}",
            remedy="Count at least one trial.",
        )
    z2 = float(ndtri(0.5 + level / 2)) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) + z2 / (4 * n)) / n) / (1 + z2 / n)
    # at 0 and n the formula's end is the share itself, up to rounding
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
