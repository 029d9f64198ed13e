"""Preference optimisation with refusals preferred: IdkDPO (Maini et al. 2024, arXiv 2401.06121).

The loss of ``dpo`` with one of our refusals as the preferred answer to every forget question; the
name is that of later comparisons. Deviation: the refusals are our own sentences, not the paper's
list.
"""

from __future__ import annotations

__all__ = ["OBJECTIVE", "IdkDPO"]

from collections.abc import Sequence
from dataclasses import dataclass

from letheon.data.example import Example
from letheon.objectives._preference import Preference
from letheon.objectives.contract import Answers
from letheon.objectives.other_answers import refused


@dataclass(frozen=True, kw_only=True)
class IdkDPO(Preference):
    """``beta``, ``forget_weight``, ``retain_weight`` and ``retain`` as in ``dpo``."""

    def prepare(
        self, examples: Sequence[Example], answers: Answers, seed: int
    ) -> Sequence[Example]:
        """Return the forget ``examples`` with refusals."""
        return refused(examples, seed)


OBJECTIVE = IdkDPO
