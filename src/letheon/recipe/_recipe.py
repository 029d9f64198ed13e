"""The whole recipe: which parts go together, and the name of a run."""

from __future__ import annotations

__all__ = ["Recipe", "without_paths"]

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from letheon.recipe._fields import (
    Adapter,
    After,
    Choice,
    DataSource,
    Evaluation,
    Gold,
    ModelSource,
    Role,
    Strict,
    Training,
)


class Recipe(Strict):
    """One run: ``kind: train`` makes a target or gold model, ``kind: unlearn`` makes it forget.

    An unlearn recipe names an ``objective`` for the common loop, or a ``procedure``. ``after``
    names the run of an earlier request, whose result is what forgets; ``model`` is then only what
    is compared with: the model before any request, or, left out, that run's merged checkpoint.
    """

    kind: Literal["train", "unlearn"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: int = Field(0, ge=0, lt=2**63)
    model: ModelSource
    data: DataSource
    template: str = "auto"
    train_on: tuple[Role, ...] = ("forget", "retain", "background")
    adapter: Adapter | None = None
    objective: Choice = Choice(name="finetune")
    procedure: Choice | None = None
    training: Training
    gold: Gold = Gold()
    evaluation: Evaluation = Evaluation()
    merged: bool = True
    after: After | None = None

    @model_validator(mode="before")
    @classmethod
    def _after(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or data.get("after") is None:
            return data
        after = data["after"]
        after = {"run": after} if isinstance(after, str) else after
        found = {**data, "after": after}
        if data.get("model") is None and isinstance(after, Mapping) and after.get("run"):
            found["model"] = {"path": str(Path(after["run"]) / "merged")}
        return found

    @field_validator("objective", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return Choice(name="finetune") if value is None else value

    @property
    def method(self) -> str:
        """The name of the procedure or objective."""
        return (self.procedure or self.objective).name

    @model_validator(mode="after")
    def _coherent(self) -> Recipe:
        if self.kind == "train" and self.objective.name != "finetune":
            raise ValueError("a train recipe's objective is finetune")
        objective = self.objective.name != "finetune"
        if self.kind == "unlearn" and not objective and self.procedure is None:
            raise ValueError("an unlearn recipe needs an objective, for example npo")
        if self.kind == "unlearn" and objective and self.procedure is not None:
            raise ValueError("a recipe has a procedure or an objective: set objective to null")
        if idle := [key for key, used in self._idle().items() if used]:
            raise ValueError(f"a recipe of kind {self.kind} does not use {', '.join(idle)}")
        unusable = "recipe" if self.kind == "train" else "make"
        if getattr(self.model, unusable) is not None:
            kinds = ("path", "make") if self.kind == "train" else ("path", "recipe")
            raise ValueError(f"the model of a recipe of kind {self.kind} has {' or '.join(kinds)}")
        if any(gold and gold.make for gold in (self.gold.selection, self.gold.scoring)):
            raise ValueError("a gold model has path or recipe")
        if self.data.own_words is not None and (self.kind == "train" or self.model.path is None):
            raise ValueError("data.own_words goes with kind unlearn and model.path")
        if self.model.quantise and self.adapter is None and self.kind == "unlearn":
            raise ValueError("a model with model.quantise needs an adapter: its weights stay fixed")
        if self.adapter is not None and self.adapter.start != "zero":
            if self.model.quantise:
                raise ValueError("adapter.start fila needs gradients of weights, so no quantise")
            if self.training.parallel == "fsdp2":
                raise ValueError("adapter.start fila goes with training.parallel ddp")
        return self

    @model_validator(mode="after")
    def _follows(self) -> Recipe:
        stacked = self.after is not None and self.after.how == "stacked"
        if stacked and self.adapter is None:
            raise ValueError("after.how stacked needs an adapter to put on top")
        if stacked and self.adapter is not None and self.adapter.start != "zero":
            raise ValueError("adapter.start fila goes with after.how merged: it looks at weights")
        if not stacked and any(s.name == "orthogonal" for s in self.training.stabilisers):
            raise ValueError("the stabiliser orthogonal needs after with how: stacked")
        return self

    def _idle(self) -> dict[str, bool]:
        """Return the settings that this kind of run would silently leave alone."""
        if self.kind == "unlearn":
            return {"train_on": set(self.train_on) != set(get_args(Role))}
        loop = self.training
        return {
            "adapter": self.adapter is not None,
            "procedure": self.procedure is not None,
            "after": self.after is not None,
            "model.quantise": self.model.quantise is not None,
            "gold": self.gold != Gold(),
            "training.forget_lr": loop.forget_lr is not None,
            "training.forget_tokens": loop.forget_tokens != "answer",
            "training.probe_every": loop.probe_every is not None,
            "training.probe_from": loop.probe_from != 1,
            "training.select": loop.select is not None,
            "training.stop_at": loop.stop_at is not None,
            "training.stop_below": loop.stop_below is not None,
            "training.patience": loop.patience is not None,
            "training.balance": loop.balance is not None,
        }

    def fingerprint(self, checksums: Mapping[str, str]) -> str:
        """Return the run's identity: sha256 over the recipe without paths plus ``checksums``.

        How a run is spread over processes and what it recomputes are no part of it: they do not
        change its results, so that another number, or less memory, may resume it.
        """
        plain = without_paths(self.model_dump(mode="json"))
        for key in ("parallel", "processes", "gradient_checkpointing"):
            del plain["training"][key]
        text = json.dumps([plain, dict(sorted(checksums.items()))], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


_PATHS = {"path", "recipe", "forget", "retain", "unseen", "tokenizer", "run"}
# Left out where they are at their default: runs made before they were there keep their identity.
_LATER: Mapping[str, Any] = {
    "quantise": None,
    "offload_optimizer": False,
    "optimizer": {"name": "adamw", "params": {}},
    "stabilisers": [],
    "procedure": None,
    "after": None,
    "forget_lr": None,
    "patience": None,
    "balance": None,
    "start": "zero",
    "start_batches": 16,
    "long_rows": "refuse",
    "max_tokens": None,
    "own_words": None,
}


def without_paths(node: Any) -> Any:
    """Return a dumped recipe without what names places, and without later keys at their default."""
    if isinstance(node, dict):
        return {
            k: without_paths(v)
            for k, v in node.items()
            if not (k in _PATHS and (v is None or isinstance(v, str)))
            and not (k in _LATER and v == _LATER[k])
        }
    return [without_paths(v) for v in node] if isinstance(node, list) else node
