"""Alternate preference optimisation: AltPO (Mekala et al. 2024, arXiv 2409.13474).

The loss of ``dpo`` with another answer of the model's own as the preferred one. Reconstruction: the
paper has the model write plausible alternates from an instruction that shows it the true answer,
which needs a model that follows instructions. Here the untouched model answers the question itself,
sampled at temperature 1, and what is true of the answer is drawn again; a question to which it only
says the truth is refused (``other_answers.retold``), and a run says how many were. One alternate an
example, where the paper has several.
"""

from __future__ import annotations

__all__ = ["OBJECTIVE", "AltPO"]

from collections.abc import Sequence
from dataclasses import dataclass

from letheon.data.example import Example
from letheon.objectives._preference import Preference
from letheon.objectives.contract import Answers
from letheon.objectives.other_answers import retold


@dataclass(frozen=True, kw_only=True)
class AltPO(Preference):
    """``beta``, ``forget_weight``, ``retain_weight`` and ``retain`` as in ``dpo``."""

    def prepare(
        self, examples: Sequence[Example], answers: Answers, seed: int
    ) -> Sequence[Example]:
        """Return the forget ``examples`` with the untouched model's alternates."""
        return retold(examples, answers, seed)


OBJECTIVE = AltPO
