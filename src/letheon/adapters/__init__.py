"""Bounded low-rank adapters, a PEFT method of their own.

Importing this package registers the method with PEFT: ``peft.get_peft_model(model,
BoundedLoraConfig(...))``, ``PeftModel.from_pretrained`` and transformers' ``load_adapter`` work.
"""

from __future__ import annotations

__all__ = [
    "Bound",
    "BoundedLoraConfig",
    "BoundedLoraExperts",
    "BoundedLoraLinear",
    "BoundedLoraModel",
    "WeightChange",
    "attention_targets",
    "bounds",
    "mlp_targets",
    "weight_change",
]

from letheon.adapters import bounds
from letheon.adapters.bounds import Bound
from letheon.adapters.config import BoundedLoraConfig
from letheon.adapters.diagnostics import WeightChange, weight_change
from letheon.adapters.experts import BoundedLoraExperts
from letheon.adapters.layer import BoundedLoraLinear
from letheon.adapters.targets import attention_targets, mlp_targets
from letheon.adapters.tuner import BoundedLoraModel
