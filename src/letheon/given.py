"""What a caller in Python gives as objects, in place of what a recipe names."""

from __future__ import annotations

__all__ = ["MEMORY", "NOTHING", "Given", "place_of"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from letheon.folder import RunFolder
from letheon.models import MEMORY, Loaded
from letheon.objectives.contract import Objective

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Given:
    """Objects of a run: the ``model`` that forgets, ``rows`` by role of the data, the objective.

    What is ``None`` or not there is what the recipe says. Rows are mappings of what JSON can hold;
    a run keeps them in its private folder, where its own recipe finds them again.
    """

    model: Loaded | None = None
    rows: Mapping[str, Rows] = field(default_factory=lambda: MappingProxyType({}))
    objective: Objective | None = None

    def write(self, folder: RunFolder) -> None:
        """Write the rows into ``private/``."""
        for role, rows in self.rows.items():
            folder.write_rows(place_of(role), rows)


NOTHING = Given()


def place_of(role: str) -> str:
    """Return the name, in a run folder, of the file that given rows are kept in."""
    return f"{RunFolder.PRIVATE}/{role}.jsonl"
