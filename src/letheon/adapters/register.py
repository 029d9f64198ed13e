"""Makes bounded LoRA known to PEFT.

PEFT names its methods in an enum and looks classes up by it. The enum is closed, so a member is
added to it; ``register_peft_method`` does the rest. An adapter's config file then says
``"peft_type": "BOUNDED_LORA"``: where this package was not imported, PEFT stops at that name
instead of loading the factors as plain LoRA with wrong outputs.
"""

from __future__ import annotations

__all__ = ["PEFT_TYPE", "PREFIX", "register"]

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import PeftType, register_peft_method

NAME = "bounded_lora"
# transformers derives a method's prefix from its name when it deletes an adapter
PREFIX = f"{NAME}_"


def _add_member(name: str) -> PeftType:
    if name in PeftType.__members__:
        return PeftType[name]
    member = str.__new__(PeftType, name)
    member._name_ = name
    member._value_ = name
    type.__setattr__(PeftType, name, member)
    PeftType._member_map_[name] = member
    PeftType._member_names_.append(name)
    PeftType._value2member_map_[name] = member
    return member


PEFT_TYPE = _add_member(NAME.upper())


def register(config: type, tuner: type) -> None:
    """Tell PEFT which config and tuner implement the method; a second call does nothing."""
    if PEFT_TYPE not in PEFT_TYPE_TO_CONFIG_MAPPING:
        register_peft_method(name=NAME, config_cls=config, model_cls=tuner, prefix=PREFIX)
