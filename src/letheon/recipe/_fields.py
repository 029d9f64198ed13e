"""What a recipe is made of: the fields of each part, with their defaults."""

from __future__ import annotations

__all__ = [
    "Adapter",
    "After",
    "Balance",
    "Choice",
    "Column",
    "DataSource",
    "Evaluation",
    "Gold",
    "Make",
    "ModelSource",
    "Requirement",
    "Role",
    "Selection",
    "Strict",
    "Training",
]

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Role = Literal["forget", "retain", "background"]
Column = Literal["question", "answer", "input", "messages", "text", "unit"]


class Strict(BaseModel):
    """Unknown keys are errors, values stay as they are read."""

    model_config = ConfigDict(
        ser_json_inf_nan="constants", extra="forbid", frozen=True, allow_inf_nan=False
    )


class Choice(Strict):
    """Something from a folder by its file's name, with the fields of its class."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


class Make(Strict):
    """A model made on the spot: a transformers architecture with random weights.

    ``config`` are fields of the architecture's own configuration; a byte-pair tokenizer of
    ``vocab_size`` is trained on the corpus unless ``tokenizer`` names one.
    """

    architecture: str = "llama"
    config: dict[str, Any] = Field(default_factory=dict)
    vocab_size: int = Field(1200, ge=260)
    tokenizer: str | None = None


class ModelSource(Strict):
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


class DataSource(Strict):
    """A ``benchmark`` by name (with its ``params``, from the hub or from the folder ``path``), or
    your own ``forget`` and ``retain``: files, folders or data sets of the hub (docs/data.md). In
    place of ``retain``, ``own_words`` is how many rows the untouched model says itself, to be kept.
    ``columns`` names the columns that hold ``question``, ``answer``, ``messages`` ... where they
    cannot be found by their names. ``unseen``: rows of the same kind that the model never saw, the
    controls of membership scores. ``long_rows``: whether rows longer than the model's context are
    refused, or split into pieces of at most so many tokens, or ``max_tokens`` where that is fewer.
    """

    benchmark: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    path: str | None = None
    forget: str | None = None
    retain: str | None = None
    own_words: int | None = Field(None, ge=8)
    unseen: str | None = None
    columns: dict[Column, str] = Field(default_factory=dict)
    long_rows: Literal["refuse", "split"] = "refuse"
    max_tokens: int | None = Field(None, ge=16)

    @model_validator(mode="after")
    def _one_source(self) -> DataSource:
        if self.retain is not None and self.own_words is not None:
            raise ValueError("own_words stand in for retain: one of the two")
        kept = self.retain is not None or self.own_words is not None
        files = self.forget is not None and kept
        if (self.benchmark is not None) == files:
            raise ValueError("data needs either a benchmark or forget and retain files")
        own = ("forget", "retain", "own_words", "unseen", "columns")
        other = ("params", "path") if files else own
        if idle := [key for key in other if getattr(self, key)]:
            kind = "forget and retain files" if files else "a benchmark"
            raise ValueError(f"data from {kind} does not use {', '.join(idle)}")
        if self.benchmark is not None and self.long_rows == "split":
            raise ValueError("data.long_rows split is for forget and retain files")
        if self.max_tokens is not None and self.long_rows != "split":
            raise ValueError("data.max_tokens goes with data.long_rows split")
        return self


class Adapter(Strict):
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


class Requirement(Strict):
    """A probe's score with the least (``direction: up``) or largest value that is accepted."""

    score: str
    value: float
    direction: Literal["up", "down"] = "up"

    def met(self, scores: Mapping[str, float]) -> bool:
        """Whether ``scores`` satisfies it."""
        value = scores[self.score]
        return value >= self.value if self.direction == "up" else value <= self.value


class Selection(Strict):
    """Which checkpoint is kept: the best ``score`` among those that meet ``require``."""

    score: str = "gate_gap"
    direction: Literal["up", "down"] = "down"
    require: tuple[Requirement, ...] = ()


class Balance(Strict):
    """The forget weight by a rule: ``gradient_norm`` lets the forget side's gradient be ``ratio``
    times as long as the retain side's, at the first step and, if given, ``every`` so many.
    """

    name: Literal["gradient_norm"] = "gradient_norm"
    ratio: float = Field(gt=0)
    every: int | None = Field(None, ge=1)


class Training(Strict):
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


class Evaluation(Strict):
    """How a model is scored. ``metrics``: names, or ``null`` for all that the data allow."""

    batch_tokens: int = Field(default=8192, ge=1)
    max_new_tokens: int = Field(default=64, ge=1)
    metrics: list[str] | None = None
    utility_floor: float = Field(default=0.98, gt=0, le=1)


class After(Strict):
    """The run before this one: a request to forget follows others.

    ``merged``: this one starts from that run's merged checkpoint. ``stacked``: that run's adapters
    stay on, fixed, and a new one is put on top. A text alone is the ``run``, its folder.
    """

    run: str
    how: Literal["merged", "stacked"] = "merged"


class Gold(Strict):
    """Models that never saw the forget set: one to select with, another to score with."""

    selection: ModelSource | None = None
    scoring: ModelSource | None = None
