"""The PEFT config of bounded adapters."""

from __future__ import annotations

__all__ = ["BoundedLoraConfig", "Keep", "Start"]

from dataclasses import dataclass, field
from typing import Literal, get_args

from peft import PeftConfig

from letheon.adapters import bounds
from letheon.adapters.linear import Change
from letheon.adapters.register import PEFT_TYPE
from letheon.errors import ModelError, nearest

Keep = Literal["never", "inference", "step"]
Start = Literal["zero", "fila"]

_OMEGA = 100.0  # the paper's example, as in Sine-LoRA


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass
class BoundedLoraConfig(PeftConfig):
    """Settings of ``W + (lora_alpha / r) * scale * phi(omega * B A)``, phi elementwise.

    ``A [r, in]`` starts kaiming-uniform, ``B [out, r]`` zero; every expert of a mixture has its
    own. Entries of the change stay within ``(lora_alpha / r) * scale * sup|phi|``. Defaults:
    ``lora_alpha = 2 r``; for a bounded function omega 100 and ``scale = "fan_in"``, which is
    ``1 / sqrt(in)`` (Sine-LoRA, arXiv 2403.19243); for ``identity`` omega 1 and scale 1, which is
    plain LoRA to the last bit. With ``start = "fila"`` the change is
    ``(lora_alpha / r) * scale * (phi(omega * B A) - phi(omega * B0 A0))`` with a fixed pair
    ``A0, B0``, saved with the adapter, which ``initialise.inform`` fills before training. Unset
    values are filled in, so that a saved config says what was used.

    Raises:
        ModelError: an unknown bound, or a number that is not positive.
    """

    r: int = field(default=16, metadata=_help("rank"))
    lora_alpha: float | None = field(default=None, metadata=_help("gain times r; default 2 r"))
    bound: str = field(default="sine", metadata=_help("bounded function; identity is plain LoRA"))
    omega: float | None = field(default=None, metadata=_help("frequency inside the function"))
    scale: float | str | None = field(
        default=None, metadata=_help("factor outside the function: a number, or 'fan_in'")
    )
    target_modules: list[str] | str | None = field(
        default=None,
        metadata=_help(
            "name endings, a regular expression, or 'all-linear'; default MLPs and their experts"
        ),
    )
    exclude_modules: list[str] | str | None = field(
        default=None, metadata=_help("name endings or a regular expression never to adapt")
    )
    attention: bool = field(default=False, metadata=_help("also put plain LoRA on the attention"))
    attention_modules: list[str] | None = field(
        default=None, metadata=_help("name endings of the attention layers; default all of them")
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata=_help("modules trained in full and saved beside the adapter")
    )
    start: Start = field(
        default="zero",
        metadata=_help("zero: a change of nothing; fila: important directions of the weight"),
    )
    seed: int | None = field(
        default=None, metadata=_help("seed of A, per module name; default torch's global state")
    )
    fp32_factors: bool = field(
        default=True, metadata=_help("keep A and B in fp32 whatever the model's type")
    )
    keep_weight: Keep = field(
        default="inference",
        metadata=_help("keep effective weights: never, in evaluation without gradients, or always"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PEFT_TYPE
        bounded = bounds.get(self.bound).bounded
        if self.lora_alpha is None:
            self.lora_alpha = 2.0 * self.r
        if self.omega is None:
            self.omega = _OMEGA if bounded else 1.0
        if self.scale is None:
            self.scale = "fan_in" if bounded else 1.0
        for name in ("target_modules", "exclude_modules", "attention_modules"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                setattr(self, name, sorted(value))
        self._check()

    def change(self, in_features: int) -> Change:
        """Return the bounded change of a matrix with ``in_features`` columns."""
        assert self.lora_alpha is not None
        assert self.omega is not None
        factor = in_features**-0.5 if isinstance(self.scale, str) else self.scale
        assert factor is not None
        return Change(bounds.get(self.bound), self.omega, self.lora_alpha / self.r * factor)

    def plain_change(self) -> Change:
        """Return the plain LoRA that attention layers get."""
        assert self.lora_alpha is not None
        return Change(bounds.get("identity"), 1.0, self.lora_alpha / self.r)

    def _check(self) -> None:
        for name in ("r", "lora_alpha", "omega", "scale"):
            value = getattr(self, name)
            if isinstance(value, str) and name == "scale":
                if value != "fan_in":
                    raise ModelError(
                        "scale is a positive number or 'fan_in'.", got=value, remedy="Change it."
                    )
            elif not value > 0:
                raise ModelError(f"{name} must be positive.", got=value, remedy="Raise it.")
        for value, valid, rule in (
            (self.keep_weight, get_args(Keep), "There is no such way to keep weights."),
            (self.start, get_args(Start), "There is no such start of an adapter."),
        ):
            if value not in valid:
                raise ModelError(rule, got=value, remedy=nearest(value, valid))
