"""Random settings: which one a trial has depends on study, method and number alone.

Not on the order of trials, on who runs them, or on what came of others: the share of trials that
succeed is then an unbiased estimate of the share of the search range that does.
"""

from __future__ import annotations

__all__ = ["setting"]

import math
from collections.abc import Mapping
from random import Random
from typing import Any

from letheon.study.spec import Range

# Significant digits of a drawn number: settings are read by people, and the last bits of a
# logarithm differ between machines.
_DIGITS = 4


def setting(study: str, method: str, trial: int, search: Mapping[str, Range]) -> dict[str, Any]:
    """Draw the setting of trial number ``trial``, by dotted key.

    Each key has a generator of its own: a key that is added to a search leaves the others alone.
    """
    return {
        key: _drawn(Random(f"{study}/{method}/{trial}/{key}"), search[key])
        for key in sorted(search)
    }


def _drawn(random: Random, among: Range) -> Any:
    if among.choices is not None:
        return random.choice(among.choices)
    assert among.low is not None
    assert among.high is not None
    # Whole numbers: each has a stretch of 1 around it.
    pad = 0.5 if among.integer else 0.0
    low, high = among.low - pad, among.high + pad
    if among.log:
        value = math.exp(random.uniform(math.log(low), math.log(high)))
    else:
        value = random.uniform(low, high)
    if among.integer:
        return int(min(max(round(value), among.low), among.high))
    return min(max(float(f"{value:.{_DIGITS}g}"), among.low), among.high)
