"""Fictitious people made on the spot: paraphrases for selection and scoring, marked facts."""

from __future__ import annotations

__all__ = ["METRICS", "NEEDS_GOLD", "load"]

from functools import lru_cache

from letheon.data.example import Corpus
from letheon.data.people import make_people

METRICS = (
    "forget_quality",
    "model_utility",
    "gold_distance",
    "fact_probability",
    "rouge_l_recall",
    "extraction_strength",
    "exact_memorisation",
    "min_k_auc",
    "ks_d",
)
NEEDS_GOLD = True
"""Forget quality and gold distance compare with a model trained without the forget people."""


@lru_cache(maxsize=4)  # one run asks for its population once for each of its models
def load(
    *,
    seed: int = 0,
    n_forget: int = 25,
    n_retain: int = 30,
    n_unseen: int = 25,
    rows_per_person: int = 8,
    n_authors: int = 25,
    n_world: int = 25,
    n_general: int = 40,
    wordings: int = 5,
    request: int = 1,
    of: int = 1,
) -> Corpus:
    """Return the population of ``seed``; see :func:`letheon.data.people.make_people`."""
    return make_people(
        seed,
        n_forget=n_forget,
        n_retain=n_retain,
        n_unseen=n_unseen,
        rows_per_person=rows_per_person,
        n_authors=n_authors,
        n_world=n_world,
        n_general=n_general,
        wordings=wordings,
        request=request,
        of=of,
    )
