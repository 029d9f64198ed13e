"""The composition root: a recipe -> corpus, models, objective, loop, scores -> a run folder.

``train`` makes a target or gold model, ``unlearn`` makes a model forget, ``validate`` checks all
that can be checked without training. Each is resumable: the same recipe in the same folder goes
on where it was killed, and a finished run is returned as it is.

Of several processes each calls the same function with the same arguments. Each trains on its share
of the rows and evaluates on all of them, since a sharded model needs every process for every
forward pass; the main one alone writes, and what it decides or fails of holds for all.
"""

from __future__ import annotations

__all__ = [
    "child_of",
    "evaluate",
    "gold_limit",
    "prepare",
    "rehearse",
    "rows_of",
    "scorer_of",
    "train",
    "unlearn",
    "validate",
]

from letheon.run._evaluate import evaluate, validate
from letheon.run._steps import child_of, rows_of, scorer_of
from letheon.run._train import gold_limit, prepare, train
from letheon.run._unlearn import rehearse, unlearn
