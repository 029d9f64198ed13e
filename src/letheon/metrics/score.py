"""A score: one number with how it was counted and how sure it is."""

from __future__ import annotations

__all__ = ["Score"]

from dataclasses import asdict, dataclass
from typing import Any, Literal

Direction = Literal["up", "down", "gold"]


@dataclass(frozen=True, slots=True)
class Score:
    """``value`` with the interval ``[low, high]`` over ``n`` examples.

    ``direction`` says where a good unlearning run moves it: ``up``, ``down``, or ``gold`` (to the
    value of the gold model). ``interval`` names how the interval was made, for example
    ``"95% bootstrap over 25 units"``; ``low`` and ``high`` are ``None`` where none is defined.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    direction: Direction
    unit: str
    interval: str

    def to_json(self) -> dict[str, Any]:
        """Return the score as plain JSON types."""
        return asdict(self)
