"""Made-up records in the shape the evaluation writes, with known differences between models."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import numpy as np
import pytest
from hypothesis import settings

from letheon.metrics.records import Array, Records

# the first example of a test pays for imports; a slow machine must not fail a test of numbers
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

MakeRecords = Callable[..., dict[str, dict[str, Array]]]


def _split(split: str, n: int, per_unit: int, knows: float, seed: int) -> dict[str, Array]:
    # one stream a split, so that the same seed gives two models the same noise
    rng = np.random.default_rng([seed, crc32(split.encode())])
    nll = 0.2 + 2.0 * (1 - knows) + 0.1 * rng.random(n)
    perturbed = 2.2 + 0.5 * rng.standard_normal((n, 5))
    return {
        "id": np.array([f"{split}-{i}" for i in range(n)]),
        "unit": np.array([f"{split}-{i // per_unit}" for i in range(n)]),
        "n_tokens": np.full(n, 20),
        "nll": nll,
        "fact_nll": nll * 1.5,
        "argmax_match": np.clip(knows + 0.05 * rng.random(n), 0, 1),
        "extraction_strength": np.clip(knows - 0.1 * rng.random(n), 0, 1),
        "min_k": -2 * nll - 0.5 * rng.random(n),
        "min_k_pp": -nll - 0.5 * rng.random(n),
        "zlib_bytes": rng.integers(50, 80, n),
        "paraphrased_nll": nll + 0.5 + 0.1 * rng.standard_normal(n),
        "perturbed_nll": perturbed,
        "rouge_l_recall": np.clip(knows - 0.1 * rng.random(n), 0, 1),
        "rouge_l_f1": np.clip(knows - 0.2 * rng.random(n), 0, 1),
        "repetition": 0.1 * rng.random(n),
        "reference_nll": 2 + rng.random(n),
    }


@pytest.fixture
def make_records() -> MakeRecords:
    """Return ``make(forget=, keep=, seed=, units=, per_unit=)``: how much is known, 0 to 1."""

    def make(
        forget: float = 0.9, keep: float = 0.9, seed: int = 0, units: int = 20, per_unit: int = 10
    ) -> dict[str, dict[str, Array]]:
        n = units * per_unit
        return {
            "forget": _split("forget", n, per_unit, forget, seed),
            "retain": _split("retain", n, per_unit, keep, seed),
            "real_authors": _split("real_authors", 60, 1, keep, seed),
            "world_facts": _split("world_facts", 70, 1, keep, seed),
            "unseen": _split("unseen", 120, 10, 0.3, seed),
        }

    return make


@pytest.fixture
def tiny() -> Records:
    """Four forget rows of two units and two retain rows, small enough to work by hand."""
    ln = np.log
    return {
        "forget": {
            "id": np.array(["a", "b", "c", "d"]),
            "unit": np.array(["x", "x", "y", "y"]),
            "nll": -ln([0.5, 0.25, 0.5, 0.25]),
            "fact_nll": np.array([-ln(0.2), np.nan, -ln(0.4), np.nan]),
            "argmax_match": np.array([1.0, 0.5, 0.5, 0.0]),
            "extraction_strength": np.array([1.0, 0.25, 0.75, 0.0]),
            "paraphrased_nll": -ln([0.5, 0.5, 0.25, 0.25]),
            "perturbed_nll": -ln(
                [[0.25, 0.25], [0.5, 0.125], [0.5, 0.5], [0.5, np.nan]],
            ),
            "rouge_l_recall": np.array([1.0, 0.5, 0.5, 0.0]),
            "repetition": np.array([0.0, 0.2, 0.4, 0.2]),
        },
        "retain": {
            "id": np.array(["e", "f"]),
            "unit": np.array(["z", "w"]),
            "nll": -ln([0.8, 0.4]),
            "fact_nll": -ln([0.5, 0.7]),
            "argmax_match": np.array([1.0, 1.0]),
            "extraction_strength": np.array([1.0, 0.5]),
            "paraphrased_nll": -ln([0.8, 0.4]),
            "perturbed_nll": -ln([[0.2, 0.2], [0.1, 0.4]]),
            "rouge_l_recall": np.array([1.0, 0.6]),
        },
    }
