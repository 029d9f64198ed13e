"""Which modules of an architecture are its feed-forward layers, and which its attention.

A linear layer is found by the name of the module it lies in (``mlp``, ``feed_forward``, ``ffn``),
which holds for most families. A family whose names do not say it has an entry in ``MLP_PATTERNS``
or ``ATTENTION_PATTERNS``: a regular expression that the module's full name must contain. The
experts of a mixture are one target, the module that stacks their matrices; what chooses between
experts is none.
"""

from __future__ import annotations

__all__ = [
    "adaptable_layers",
    "attention_targets",
    "mlp_targets",
    "shortest_names",
]

import re
from collections.abc import Iterable, Iterator

from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from letheon.adapters.matrices import Matrix, is_opaque_stack, is_stack, matrices
from letheon.errors import ModelError

MLP_RULE = r"(^|\.)(mlp|feed_?forward|ffn|ff)\."
ATTENTION_RULE = r"(^|\.)(\w+_)?(attn|attention)\."
ROUTER_RULE = r"(^|\.)(\w+_)?(gate|router)(\.|$)"

MLP_PATTERNS = {
    "bert": r"\.layer\.\d+\.(intermediate|output)\.dense$",
    "opt": r"\.layers\.\d+\.fc[12]$",
    "roberta": r"\.layer\.\d+\.(intermediate|output)\.dense$",
}
ATTENTION_PATTERNS: dict[str, str] = {}


def mlp_targets(model: nn.Module) -> list[str]:
    """Return the full names of the layers of ``model``'s MLPs, in the model's order.

    These are linear layers and, in a mixture, the modules that stack the experts.

    Raises:
        ModelError: no MLP was found, or experts that cannot be adapted; names the layers.
    """
    model = _unwrapped(model)
    rule, router = _rule(model, MLP_PATTERNS, MLP_RULE), re.compile(ROUTER_RULE)
    found = [
        name
        for name, layer in _layers(model, "")
        if is_stack(layer) or (rule.search(name) and not router.search(name))
    ]
    for name, module in model.named_modules():
        if is_opaque_stack(name, module):
            raise ModelError(
                "Experts can be adapted where their class declares how it stores them (by "
                "transformers' use_experts_implementation).",
                got=f"{name} ({type(module).__name__})",
                remedy="To leave the experts as they are, set target_modules, for example to "
                f"{', '.join(shortest_names(model, found)) or 'linear layers'}.",
            )
    return _not_empty(found, model, field="target_modules", what="MLP")


def attention_targets(model: nn.Module) -> list[str]:
    """Return the full names of the linear layers of ``model``'s attention, in the model's order.

    Raises:
        ModelError: no attention was found; names the model's linear layers.
    """
    model = _unwrapped(model)
    rule = _rule(model, ATTENTION_PATTERNS, ATTENTION_RULE)
    found = [name for name, _ in _layers(model, "") if rule.search(name)]
    return _not_empty(found, model, field="attention_modules", what="attention")


def adaptable_layers(model: nn.Module) -> dict[str, tuple[Matrix, ...]]:
    """Map the full name of every layer that can be adapted, or is, to its matrices."""
    return {name: matrices(layer) for name, layer in _layers(model, "") if matrices(layer)}


def shortest_names(model: nn.Module, chosen: Iterable[str]) -> list[str]:
    """Return the shortest name endings that match ``chosen`` and no other module of ``model``.

    PEFT matches a target against the end of a module's name, at a dot.
    """
    chosen = list(chosen)
    others = {name for name, _ in model.named_modules()} - set(chosen)
    taken = {ending for name in others for ending in _endings(name)}
    free = (next(e for e in _endings(name) if e not in taken) for name in chosen)
    return sorted(set(free))


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _family(model: nn.Module) -> str:
    return str(getattr(getattr(model, "config", None), "model_type", ""))


def _rule(model: nn.Module, patterns: dict[str, str], rule: str) -> re.Pattern[str]:
    return re.compile(patterns.get(_family(model), rule))


def _not_empty(found: list[str], model: nn.Module, *, field: str, what: str) -> list[str]:
    if not found:
        names = _without_indices(name for name, _ in _layers(model, ""))
        raise ModelError(
            f"No {what} layers were found in this architecture "
            f"({_family(model) or type(model).__name__}).",
            got=f"linear layers {', '.join(names) or 'none'}",
            remedy=f"Set {field} to the layers to adapt.",
        )
    return found


def _layers(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield linear layers, of any weights, and stacked experts, without their adapters."""
    for name, child in module.named_children():
        full = f"{prefix}{name}"
        layer = child.get_base_layer() if isinstance(child, BaseTunerLayer) else child
        if isinstance(layer, nn.Linear | Conv1D) or matrices(layer):
            yield full, layer
        else:
            yield from _layers(child, f"{full}.")


def _endings(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[start:]) for start in reversed(range(len(parts))))


def _without_indices(names: Iterable[str]) -> list[str]:
    """Fold the layers of a stack into one name: ``h.0.up`` and ``h.1.up`` to ``h.*.up``."""
    return list(dict.fromkeys(re.sub(r"\.\d+(?=\.)", ".*", name) for name in names))
