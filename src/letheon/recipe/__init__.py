"""A recipe: one YAML file that says everything about one run.

``load`` reads and validates it, ``dump`` writes it back resolved, ``Recipe.fingerprint`` names it.
Every default has its one home here; ``{name, params}`` choices are validated by whoever owns the
folder they come from, against the fields of the chosen class.
"""

from __future__ import annotations

__all__ = [
    "Adapter",
    "After",
    "Balance",
    "Choice",
    "Column",
    "DataSource",
    "Evaluation",
    "Gold",
    "Make",
    "ModelSource",
    "Recipe",
    "Requirement",
    "Selection",
    "Training",
    "assigned",
    "dump",
    "explain",
    "load",
    "override",
    "parse_override",
    "put",
    "read",
    "resolve",
]

from letheon.recipe._fields import (
    Adapter,
    After,
    Balance,
    Choice,
    Column,
    DataSource,
    Evaluation,
    Gold,
    Make,
    ModelSource,
    Requirement,
    Selection,
    Training,
)
from letheon.recipe._file import assigned, dump, load, override, resolve
from letheon.recipe._recipe import Recipe
from letheon.recipe._yaml import explain, parse_override, put, read
