"""Which forget and retain rows a step sees: a pure function of seed and step.

Workers, processes, accumulation and a resume cannot change it, because nothing is drawn from a
global random state.
"""

from __future__ import annotations

__all__ = ["Pairing", "shards"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Pairing:
    """Rows of each step: ``forget`` of ``n_forget`` and ``retain`` of ``n_retain``.

    Either side runs through its own seeded permutations, one an epoch, without gaps. A side with
    no rows, or zero rows a step, stays empty.
    """

    n_forget: int
    n_retain: int
    forget: int
    retain: int
    seed: int

    def step(self, k: int) -> tuple[list[int], list[int]]:
        """Return the forget and retain row numbers of step ``k`` (from 0)."""
        return (
            _stream(self.n_forget, self.forget, k, (self.seed, 0)),
            _stream(self.n_retain, self.retain, k, (self.seed, 1)),
        )

    def steps(self, epochs: float) -> int:
        """Return how many steps ``epochs`` passes take, over the forget side where there is one."""
        n, batch = (
            (self.n_forget, self.forget)
            if self.n_forget and self.forget
            else (self.n_retain, self.retain)
        )
        return max(1, math.ceil(epochs * n / batch))


def shards(rows: Sequence[int], length: Callable[[int], int], n: int) -> list[list[int]]:
    """Cut a step's rows into ``n`` micro-batches of nearly equal size and similar lengths.

    Rows are bucketed by ``length`` so that little is padded; which micro-batch a row falls into
    does not change the step's loss.
    """
    ordered = sorted(rows, key=length)
    cuts = [round(i * len(ordered) / n) for i in range(n + 1)]
    return [list(ordered[a:b]) for a, b in pairwise(cuts)]


def _stream(n: int, batch: int, k: int, key: tuple[int, int]) -> list[int]:
    if n == 0 or batch == 0:
        return []
    positions = range(k * batch, (k + 1) * batch)
    orders = {e: _order(n, e, key) for e in {p // n for p in positions}}
    return [int(orders[p // n][p % n]) for p in positions]


def _order(n: int, epoch: int, key: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng([*key, epoch]).permutation(n)
