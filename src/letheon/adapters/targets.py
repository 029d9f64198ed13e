"""Which modules of an architecture are its feed-forward layers, and which its attention.

A linear layer is found by the name of the module it lies in (``mlp``, ``feed_forward``, ``ffn``),
which holds for most families. A family whose names do not say it has an entry in ``MLP_PATTERNS``
or ``ATTENTION_PATTERNS``: a regular expression that the module's full name must contain.
"""

from __future__ import annotations

__all__ = ["attention_targets", "linear_shapes", "mlp_targets", "shortest_names"]

import re
from collections.abc import Iterable, Iterator

from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from letheon.errors import ModelError

MLP_RULE = r"(^|\.)(mlp|feed_?forward|ffn|ff)\."
ATTENTION_RULE = r"(^|\.)(\w+_)?(attn|attention)\."

MLP_PATTERNS = {
    "bert": r"\.layer\.\d+\.(intermediate|output)\.dense$",
    "opt": r"\.layers\.\d+\.fc[12]$",
    "roberta": r"\.layer\.\d+\.(intermediate|output)\.dense$",
}
ATTENTION_PATTERNS: dict[str, str] = {}


def mlp_targets(model: nn.Module) -> list[str]:
    """Return the full names of the linear layers of ``model``'s MLPs, in the model's order.

    Raises:
        ModelError: no MLP was found; names the model's linear layers.
    """
    return _matching(model, MLP_PATTERNS, MLP_RULE, field="target_modules", what="MLP")


def attention_targets(model: nn.Module) -> list[str]:
    """Return the full names of the linear layers of ``model``'s attention, in the model's order.

    Raises:
        ModelError: no attention was found; names the model's linear layers.
    """
    return _matching(
        model, ATTENTION_PATTERNS, ATTENTION_RULE, field="attention_modules", what="attention"
    )


def linear_shapes(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Map the full name of every linear layer, adapted or not, to ``(out, in)`` features."""
    return dict(_linear_layers(model, ""))


def shortest_names(model: nn.Module, chosen: Iterable[str]) -> list[str]:
    """Return the shortest name endings that match ``chosen`` and no other module of ``model``.

    PEFT matches a target against the end of a module's name, at a dot.
    """
    chosen = list(chosen)
    others = {name for name, _ in model.named_modules()} - set(chosen)
    taken = {ending for name in others for ending in _endings(name)}
    free = (next(e for e in _endings(name) if e not in taken) for name in chosen)
    return sorted(set(free))


def _matching(
    model: nn.Module, patterns: dict[str, str], rule: str, *, field: str, what: str
) -> list[str]:
    if isinstance(model, PeftModel):
        model = model.get_base_model()
    family = str(getattr(getattr(model, "config", None), "model_type", ""))
    pattern = re.compile(patterns.get(family, rule))
    shapes = linear_shapes(model)
    found = [name for name in shapes if pattern.search(name)]
    if not found:
        raise ModelError(
            f"No {what} layers were found in this architecture ({family or type(model).__name__}).",
            got=f"linear layers {', '.join(_without_indices(shapes)) or 'none'}",
            remedy=f"Set {field} to the layers to adapt.",
        )
    return found


def _linear_layers(module: nn.Module, prefix: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, child in module.named_children():
        full = f"{prefix}{name}"
        layer = child.get_base_layer() if isinstance(child, BaseTunerLayer) else child
        if isinstance(layer, nn.Linear):
            yield full, (layer.out_features, layer.in_features)
        elif isinstance(layer, Conv1D):
            yield full, (layer.weight.shape[1], layer.weight.shape[0])
        else:
            yield from _linear_layers(child, f"{full}.")


def _endings(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[start:]) for start in reversed(range(len(parts))))


def _without_indices(names: Iterable[str]) -> list[str]:
    """Fold the layers of a stack into one name: ``h.0.up`` and ``h.1.up`` to ``h.*.up``."""
    return list(dict.fromkeys(re.sub(r"\.\d+(?=\.)", ".*", name) for name in names))
