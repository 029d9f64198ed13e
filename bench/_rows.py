"""Rows of random tokens, for benches in which only their sizes matter."""

from __future__ import annotations

__all__ = ["random_rows"]

import random

from letheon.data.template import Encoded


def random_rows(
    n: int, tokens: int, *, asked: int, vocabulary: int, seed: int = 0
) -> list[Encoded]:
    """Return ``n`` rows of ``tokens`` tokens: ``asked`` of a question, the others its answer."""
    rng = random.Random(seed)
    answer = [False] * asked + [True] * (tokens - asked)
    ids = [[rng.randrange(vocabulary) for _ in range(tokens)] for _ in range(n)]
    return [Encoded(row, answer, [False] * tokens) for row in ids]
