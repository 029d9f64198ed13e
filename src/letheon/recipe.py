"""A recipe: one YAML file that says everything about one run.

``load`` reads and validates it, ``dump`` writes it back resolved, ``Recipe.fingerprint`` names it.
Every default has its one home here; ``{name, params}`` choices are validated by whoever owns the
folder they come from, against the fields of the chosen class.
"""

from __future__ import annotations

__all__ = [
    "Adapter",
    "After",
    "Balance",
    "Choice",
    "DataSource",
    "Evaluation",
    "Gold",
    "Make",
    "ModelSource",
    "Recipe",
    "Requirement",
    "Selection",
    "Training",
    "assigned",
    "dump",
    "explain",
    "load",
    "override",
    "parse_override",
    "put",
    "read",
    "resolve",
]

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from letheon.errors import RecipeError, nearest

Role = Literal["forget", "retain", "background"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Choice(_Strict):
    """Something from a folder by its file's name, with the fields of its class."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


class Make(_Strict):
    """A model made on the spot: a transformers architecture with random weights.

    ``config`` are fields of the architecture's own configuration; a byte-pair tokenizer of
    ``vocab_size`` is trained on the corpus unless ``tokenizer`` names one.
    """

    architecture: str = "llama"
    config: dict[str, Any] = Field(default_factory=dict)
    vocab_size: int = Field(1200, ge=260)
    tokenizer: str | None = None


class ModelSource(_Strict):
    """Where a model comes from: ``path`` (folder or hub name), ``recipe`` (trained when it is not
    there yet, with this ``seed``), or ``make`` (fresh weights; for ``train``). With ``quantise``
    the model of a ``path`` is loaded in four bits (nf4) or eight (LLM.int8).
    """

    path: str | None = None
    revision: str | None = None
    recipe: str | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    make: Make | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantise: Literal["4bit", "8bit"] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> ModelSource:
        given = [k for k in ("path", "recipe", "make") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(f"a model needs exactly one of path, recipe, make; given: {given}")
        if self.quantise and self.path is None:
            raise ValueError("quantise is for the model of a path")
        return self


class DataSource(_Strict):
    """A ``benchmark`` by name (with its ``params``, from the hub or from the folder ``path``), or
    your own files ``forget`` and ``retain`` (JSONL, JSON or CSV). ``columns`` names the columns
    that hold ``question``, ``answer`` and ``unit`` where they are called otherwise.
    """

    benchmark: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    path: str | None = None
    forget: str | None = None
    retain: str | None = None
    columns: dict[Literal["question", "answer", "unit"], str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> DataSource:
        files = self.forget is not None and self.retain is not None
        if (self.benchmark is not None) == files:
            raise ValueError("data needs either a benchmark or forget and retain files")
        other = ("params", "path") if files else ("forget", "retain", "columns")
        if idle := [key for key in other if getattr(self, key)]:
            kind = "forget and retain files" if files else "a benchmark"
            raise ValueError(f"data from {kind} does not use {', '.join(idle)}")
        return self


class Adapter(_Strict):
    """A low-rank adapter with a bound; ``null`` fields take the adapters' own defaults.

    ``omega`` and ``scale`` may be ``auto``: chosen for each matrix by its own weights.
    ``start: fila`` looks for directions to start from in the squared gradients of so many batches
    of forget and of retain rows.
    """

    bound: str = "sine"
    r: int = Field(16, ge=1)
    alpha: float | None = None
    omega: float | Literal["auto"] | None = None
    scale: float | Literal["auto", "fan_in"] | None = None
    attention: bool = False
    target_modules: list[str] | None = None
    start: Literal["zero", "fila"] = "zero"
    start_batches: int = Field(16, ge=1)


class Requirement(_Strict):
    """A probe's score with the least (``direction: up``) or largest value that is accepted."""

    score: str
    value: float
    direction: Literal["up", "down"] = "up"

    def met(self, scores: Mapping[str, float]) -> bool:
        """Whether ``scores`` satisfies it."""
        value = scores[self.score]
        return value >= self.value if self.direction == "up" else value <= self.value


class Selection(_Strict):
    """Which checkpoint is kept: the best ``score`` among those that meet ``require``."""

    score: str = "gate_gap"
    direction: Literal["up", "down"] = "down"
    require: tuple[Requirement, ...] = ()


class Balance(_Strict):
    """The forget weight by a rule: ``gradient_norm`` lets the forget side's gradient be ``ratio``
    times as long as the retain side's, at the first step and, if given, ``every`` so many.
    """

    name: Literal["gradient_norm"] = "gradient_norm"
    ratio: float = Field(gt=0)
    every: int | None = Field(None, ge=1)


class Training(_Strict):
    """The loop's settings.

    ``batch_size`` and ``retain_batch_size`` are rows of a step over all processes: they decide
    the result. ``stabilisers`` are added to the loss or hold the weights back after a step.
    With ``forget_lr`` the forget side of the loss has an optimizer of its own, with that rate.
    ``accumulate`` cuts each process's share into pieces, and with
    ``gradient_checkpointing`` a block's inner values are computed again for the backward pass
    instead of kept: both decide memory and time only. ``offload_optimizer`` keeps the optimizer's
    state in CPU memory and updates there, with fp32 masters of parameters in fewer bits.
    ``forget_tokens``: what of a forget row the objective sees, its whole answer or only the tokens
    of its marked facts, so that its wording is left alone. Nothing is probed before step
    ``probe_from``: a run's first steps are not what is kept. ``stop_at`` ends a run when a probe's
    score is reached, ``stop_below`` when one falls short, ``patience`` when so many probes in a row
    have not bettered the selected checkpoint. ``parallel``: whether each of several
    processes has a copy of the model (``ddp``) or a shard of it (``fsdp2``); ``processes``: how
    many there must be, for launchers that would silently start fewer.
    """

    steps: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    batch_size: int = Field(8, ge=1)
    retain_batch_size: int | None = Field(None, ge=1)
    forget_tokens: Literal["answer", "facts"] = "answer"
    accumulate: int = Field(1, ge=1)
    lr: float = Field(1e-3, gt=0)
    forget_lr: float | None = Field(None, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: float = Field(0.0, ge=0, lt=1)
    optimizer: Choice = Choice(name="adamw")
    stabilisers: tuple[Choice, ...] = ()
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float | None = Field(None, gt=0)
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    gradient_checkpointing: bool = False
    offload_optimizer: bool = False
    parallel: Literal["ddp", "fsdp2"] = "ddp"
    processes: int | None = Field(None, ge=1)
    probe_every: int | None = Field(None, ge=1)
    probe_from: int = Field(1, ge=1)
    checkpoint_every: int | None = Field(None, ge=1)
    weights_every: int = Field(10, ge=1)
    stop_at: Requirement | None = None
    stop_below: Requirement | None = None
    patience: int | None = Field(None, ge=1)
    select: Selection | None = None
    balance: Balance | None = None

    @model_validator(mode="after")
    def _length(self) -> Training:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("training needs either steps or epochs")
        return self

    @model_validator(mode="after")
    def _patient(self) -> Training:
        if self.patience is not None and (self.select is None or self.probe_every is None):
            raise ValueError("patience goes by select and probe_every")
        return self

    @model_validator(mode="after")
    def _sharded(self) -> Training:
        if self.parallel == "fsdp2" and self.mixed_precision == "fp16":
            raise ValueError("parallel fsdp2 goes with mixed_precision bf16 or no, not with fp16")
        return self

    @model_validator(mode="after")
    def _two_rates(self) -> Training:
        if self.forget_lr is None:
            return self
        if self.offload_optimizer:
            raise ValueError("forget_lr and offload_optimizer do not go together")
        if self.parallel == "fsdp2":
            raise ValueError("forget_lr goes with parallel ddp: shards have one gradient")
        if self.mixed_precision == "fp16":
            raise ValueError("forget_lr goes with mixed_precision bf16 or no, not with fp16")
        return self

    @model_validator(mode="after")
    def _offloaded(self) -> Training:
        if self.offload_optimizer and self.optimizer.name != "adamw":
            raise ValueError("offload_optimizer goes with the optimizer adamw")
        if self.offload_optimizer and self.parallel == "fsdp2":
            raise ValueError("offload_optimizer goes with parallel ddp: fsdp2's state is in shards")
        if self.offload_optimizer and self.mixed_precision == "fp16":
            raise ValueError("offload_optimizer goes with mixed_precision bf16 or no, not fp16")
        return self


class Evaluation(_Strict):
    """How a model is scored. ``metrics``: names, or ``null`` for all that the data allow."""

    batch_tokens: int = Field(default=8192, ge=1)
    max_new_tokens: int = Field(default=64, ge=1)
    metrics: list[str] | None = None
    utility_floor: float = Field(default=0.98, gt=0, le=1)


class After(_Strict):
    """The run before this one: a request to forget follows others.

    ``merged``: this one starts from that run's merged checkpoint. ``stacked``: that run's adapters
    stay on, fixed, and a new one is put on top. A text alone is the ``run``, its folder.
    """

    run: str
    how: Literal["merged", "stacked"] = "merged"


class Gold(_Strict):
    """Models that never saw the forget set: one to select with, another to score with."""

    selection: ModelSource | None = None
    scoring: ModelSource | None = None


class Recipe(_Strict):
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
        plain = _without_paths(self.model_dump(mode="json"))
        for key in ("parallel", "processes", "gradient_checkpointing"):
            del plain["training"][key]
        text = json.dumps([plain, dict(sorted(checksums.items()))], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def load(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and validate the recipe at ``path``.

    ``overrides`` are ``dotted.key=value`` strings, values in YAML. Recipes named inside are
    looked up beside this one. Raises RecipeError for a missing file, broken YAML, an unknown key
    (naming the nearest valid one) or a value that breaks a rule.
    """
    path = Path(path)
    raw = read(path)
    for override in overrides:
        put(raw, *parse_override(override))
    return resolve(raw, where=str(path), base=path.parent)


def resolve(raw: Mapping[str, Any], *, where: str, base: Path | None = None) -> Recipe:
    """Validate a plain mapping as a recipe; ``where`` names it in errors."""
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise explain(error, where, Recipe) from None
    return recipe if base is None else _anchor(recipe, base)


def override(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return ``recipe`` with ``dotted.key=value`` strings applied; raises as ``load`` does."""
    raw = recipe.model_dump(mode="json")
    for each in overrides:
        put(raw, *parse_override(each))
    return resolve(raw, where=recipe.name)


def assigned(overrides: Sequence[str]) -> dict[str, Any]:
    """Return what ``dotted.key=value`` strings say, as a mapping; raises as ``load`` does."""
    raw: dict[str, Any] = {}
    for each in overrides:
        put(raw, *parse_override(each))
    return raw


def dump(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def read(path: Path, *, what: str = "recipe") -> dict[str, Any]:
    """Read a YAML file's mapping, as it stands; ``what`` names the file in errors.

    Raises RecipeError when there is no such file, or it holds something else.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no file"
        raise RecipeError(
            f"A {what} is a YAML file.", got=f"{found} at {path}", remedy="Check the path."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"A {what} is a readable UTF-8 text.", got=f"{path}: {error}", remedy="Check the file."
        ) from None
    raw = _yaml(text, f"{path}: ", f"A {what} must be valid YAML.")
    if not isinstance(raw, dict):
        raise RecipeError(
            f"A {what} is a mapping of keys.", got=str(path), remedy="See recipes/ for examples."
        )
    return raw


def parse_override(text: str) -> tuple[str, Any]:
    """Return the key and the YAML value of ``dotted.key=value``; raises RecipeError."""
    key, sep, value = text.partition("=")
    if not sep or not key:
        raise RecipeError(
            "An override is KEY=VALUE.", got=text, remedy="For example training.lr=1e-4."
        )
    return key, _scalar(value)


def put(raw: dict[str, Any], key: str, value: Any) -> None:
    """Put ``value`` at the dotted ``key`` of a plain mapping."""
    *parents, last = key.split(".")
    node = raw
    for parent in parents:
        child = node.get(parent)
        node[parent] = child if isinstance(child, dict) else {}
        node = node[parent]
    node[last] = value


class _Loader(yaml.SafeLoader):
    """YAML in which a key that comes twice is an error: the first would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} comes twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _yaml(text: str, where: str, rule: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        got = f"{where}{error.problem}{place}"
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        got = f"{where}{' '.join(str(error).split())}"
    raise RecipeError(rule, got=got, remedy="Mend it.")


def _scalar(text: str) -> Any:
    value = _yaml(text, f"{text!r}: ", "An override's value must be valid YAML.")
    if isinstance(value, str):
        try:  # YAML 1.1 reads 1e-4 as text
            return float(value)
        except ValueError:
            return value
    return value


def _anchor(recipe: Recipe, base: Path) -> Recipe:
    def at(source: ModelSource | None) -> ModelSource | None:
        if source is None or source.recipe is None or Path(source.recipe).is_absolute():
            return source
        return source.model_copy(update={"recipe": str(base / source.recipe)})

    gold = Gold(selection=at(recipe.gold.selection), scoring=at(recipe.gold.scoring))
    return recipe.model_copy(update={"model": at(recipe.model), "gold": gold})


_PATHS = {"path", "recipe", "forget", "retain", "tokenizer", "run"}
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
}


def _without_paths(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            k: _without_paths(v)
            for k, v in node.items()
            if not (k in _PATHS and (v is None or isinstance(v, str)))
            and not (k in _LATER and v == _LATER[k])
        }
    return [_without_paths(v) for v in node] if isinstance(node, list) else node


def explain(error: ValidationError, where: str, model: type[BaseModel]) -> RecipeError:
    """Say what pydantic found wrong with a ``model`` in ``where``; an unknown key's nearest one."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return RecipeError(
            f"Unknown key in {where}.",
            got=key,
            remedy=nearest(str(first["loc"][-1]), _fields(first["loc"][:-1], model)),
        )
    if first["type"] == "value_error":
        # A rule over several keys: its words name them, their values would fill a page.
        message = first["msg"].removeprefix("Value error, ")
        return RecipeError(f"{where}: {message}.", got=key or None, remedy="Mend these keys.")
    got = f"{key} = {first['input']!r}" if first["type"] != "missing" else f"no {key}"
    return RecipeError(f"{where}: {first['msg']}.", got=got[:200], remedy="Mend that key.")


def _fields(loc: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    for part in loc:
        if part in model.model_fields:  # others are numbers and keys of mappings
            annotation: Any = model.model_fields[str(part)].annotation
            inner = [annotation, *get_args(annotation)]
            model = next(a for a in inner if isinstance(a, type) and issubclass(a, BaseModel))
    return list(model.model_fields)
