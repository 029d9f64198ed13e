"""Preference optimisation against the forget answer: DPO (Rafailov et al. 2023, arXiv 2305.18290).

``L_forget = mean over examples of -(2 / beta) * log sigmoid(beta * (gain(preferred) -
gain(forget)))``, ``gain = logp - logp_ref`` of summed answer log-probabilities in nats, plus
``retain_weight * L_retain``. As TOFU (arXiv 2401.06121) uses it: the answer to be forgotten is the
one that is not preferred. Deviation: the factor ``2 / beta`` of NPO (arXiv 2404.05868), so that
both have one scale; the paper has 1.
"""

from __future__ import annotations

__all__ = ["DPO", "OBJECTIVE"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from letheon.data.example import Example
from letheon.objectives._preference import Preference
from letheon.objectives.contract import Answers
from letheon.objectives.other_answers import refused, retold


@dataclass(frozen=True, kw_only=True)
class DPO(Preference):
    """``preferred``: a refusal, or an alternate that the untouched model gives itself."""

    preferred: Literal["refusal", "alternate"] = "refusal"

    def prepare(
        self, examples: Sequence[Example], answers: Answers, seed: int
    ) -> Sequence[Example]:
        """Return the forget ``examples`` with refusals, or with the model's alternates."""
        if self.preferred == "refusal":
            return refused(examples, seed)
        return retold(examples, answers, seed)


OBJECTIVE = DPO
