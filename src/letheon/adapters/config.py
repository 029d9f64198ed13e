"""The PEFT config of bounded adapters."""

from __future__ import annotations

__all__ = ["BoundedLoraConfig", "Keep", "Start", "check_gain"]

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from peft import PeftConfig

from letheon.adapters import bounds
from letheon.adapters.automatic import Numbers, measure
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
    """Settings of ``W + gain * (lora_alpha / r) * scale * phi(omega * B A)``, phi elementwise.

    ``A [r, in]`` starts kaiming-uniform, ``B [out, r]`` zero; every expert of a mixture has its
    own. Entries of the change stay within ``(lora_alpha / r) * scale * sup|phi|``. Defaults:
    ``lora_alpha = 2 r``; for a bounded function omega 100 and ``scale = "fan_in"``, which is
    ``1 / sqrt(in)`` (Sine-LoRA, arXiv 2403.19243); for ``identity`` omega 1 and scale 1, which is
    plain LoRA to the last bit. Unset values are filled in, so that a saved config says what was
    used. The ``gain`` is 1 while an adapter trains; arithmetic on a whole adapter sets it.

    With ``start = "fila"`` the change is
    ``(lora_alpha / r) * scale * (phi(omega * B A) - phi(omega * B0 A0))`` with a fixed pair
    ``A0, B0``, saved with the adapter, which ``initialise.inform`` fills before training.

    ``"auto"`` lets a matrix's own untouched weights decide (``automatic.py``): with ``scale`` the
    whole factor outside phi is a standard deviation of its entries, with ``omega`` the change
    starts as that of plain LoRA. What they came to is in ``numbers``, by matrix, and is used as it
    is when the adapter is loaded. ``identity`` has no bound to set: there both give plain LoRA.

    Raises:
        ModelError: an unknown bound, a number that is not positive, a gain that is zero.
    """

    r: int = field(default=16, metadata=_help("rank"))
    lora_alpha: float | None = field(default=None, metadata=_help("gain times r; default 2 r"))
    bound: str = field(default="sine", metadata=_help("bounded function; identity is plain LoRA"))
    omega: float | str | None = field(
        default=None, metadata=_help("frequency inside the function: a number, or 'auto'")
    )
    scale: float | str | None = field(
        default=None, metadata=_help("factor outside the function: a number, 'fan_in' or 'auto'")
    )
    gain: float = field(
        default=1.0, metadata=_help("how often the change counts; negative subtracts it")
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
    numbers: dict[str, Numbers] = field(
        default_factory=dict, metadata=_help("omega and s of each matrix, where 'auto' chose them")
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
        if not bounded:
            self.scale = 1.0 if self.scale == "auto" else self.scale
            self.omega = 1.0 if self.omega == "auto" else self.omega
        for name in ("target_modules", "exclude_modules", "attention_modules"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                setattr(self, name, sorted(value))
        self._check()

    @property
    def automatic(self) -> bool:
        """Whether omega or scale is up to each matrix's own weights."""
        return "auto" in (self.omega, self.scale)

    def measure(self, in_features: int, deviation: float) -> Numbers:
        """Return omega and s of a matrix whose entries have this standard ``deviation``."""
        gain, scale, omega = self._slope(), self.scale, self.omega
        factor = in_features**-0.5 if scale == "fan_in" else scale
        return measure(
            bounds.get(self.bound),
            gain=gain,
            omega=None if isinstance(omega, str) else omega,
            s=None if factor is None or isinstance(factor, str) else gain * factor,
            deviation=deviation,
        )

    def change(self, in_features: int, name: str | None = None) -> Change:
        """Return the bounded change of a matrix with ``in_features`` columns, by its ``name``."""
        if self.automatic:
            assert name is not None
            own = self.numbers[name]
        else:
            own = self.measure(in_features, 0.0)
        return Change(bounds.get(self.bound), own["omega"], own["s"] * self.gain)

    def plain_change(self) -> Change:
        """Return the plain LoRA that attention layers get."""
        return Change(bounds.get("identity"), 1.0, self._slope() * self.gain)

    def _slope(self) -> float:
        assert self.lora_alpha is not None
        return self.lora_alpha / self.r

    def _check(self) -> None:
        check_gain(self.gain)
        words = {"omega": ("auto",), "scale": ("fan_in", "auto")}
        for name in ("r", "lora_alpha", "omega", "scale"):
            value = getattr(self, name)
            if isinstance(value, str) and name in words:
                if value not in words[name]:
                    choice = " or ".join(map(repr, words[name]))
                    raise ModelError(
                        f"{name} is a positive number or {choice}.",
                        got=value,
                        remedy=nearest(value, words[name]),
                    )
            elif not value > 0:
                raise ModelError(f"{name} must be positive.", got=value, remedy="Raise it.")
        for value, valid, rule in (
            (self.keep_weight, get_args(Keep), "There is no such way to keep weights."),
            (self.start, get_args(Start), "There is no such start of an adapter."),
        ):
            if value not in valid:
                raise ModelError(rule, got=value, remedy=nearest(value, valid))


def check_gain(gain: float) -> None:
    """Raise ModelError for a gain that is zero, which cannot be scaled again, or not finite."""
    if gain == 0 or not math.isfinite(gain):
        raise ModelError(
            "An adapter's gain is a finite number other than 0.",
            got=gain,
            remedy="Delete or disable an adapter that is not to count.",
        )
