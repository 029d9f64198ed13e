"""How much memory a run will take, found by running one step of it without numbers.

Torch's fake tensors have shapes, types and storages of a size, and compute nothing. The largest
step of a run is put through the real model, adapter, objective and backward pass on them, and a
ledger counts what is alive. So every architecture, objective and setting is covered by the code
that will run. What kernels take inside one operation is not seen.
"""

from __future__ import annotations

__all__ = ["Device", "Memory", "Phase", "Task", "forecast"]

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from letheon.adapters import blocks
from letheon.adapters.layer import BoundedLoraLayer
from letheon.data.batch import collate
from letheon.data.template import Encoded
from letheon.evaluation.teacher_forced import by_length, statistics
from letheon.ledger import Ledger
from letheon.models import Outline, answer_logits
from letheon.objectives.contract import Needs, Objective, Unit
from letheon.parts import adapt
from letheon.recipe import Recipe
from letheon.training import loop
from letheon.training.forward import Untouched
from letheon.training.recompute import recomputing

Device = Literal["cpu", "accelerator"]
Phase = Literal["step", "evaluation"]


class _FirstAndLast(blocks.Blocks):
    """Blocks of which only the first and the last are run: those between take no other memory."""

    def panels(self, size: int, other: int, width: int | None = None) -> list[slice]:
        every = super().panels(size, other, width)
        return [every[0], every[-1]] if len(every) > 1 else every

    def tiles(self, rows: slice, cols: slice) -> list[slice]:
        return super().tiles(rows, cols)[:1]


_CUT: dict[Device, blocks.Blocks] = {
    "cpu": _FirstAndLast(**asdict(blocks.CPU)),
    "accelerator": _FirstAndLast(**asdict(blocks.ACCELERATOR)),
}


@dataclass(frozen=True)
class Task:
    """What a run does with a model: its objective, its rows, the rows that are evaluated.

    ``prompt`` is the length of the longest prompt that is answered, in tokens; ``copies`` says how
    many more of the parameters that train are in CPU memory, of a model without adapter; ``below``
    are the adapters of earlier requests that stay on.
    """

    objective: Objective
    rows: loop.Rows
    evaluated: Sequence[Encoded]
    prompt: int
    copies: int = 0
    below: Sequence[Path] = ()


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device at the peak of a training step, and the peaks of evaluating.

    ``largest`` is the step's largest piece on one process: rows, and tokens of each with its
    padding. ``weights`` includes the second copy that some objectives need of a model without
    adapter, ``workspace`` whatever is alive at the peak and is nothing else. ``answers`` and
    ``generations`` are the peaks, all in all, of the two passes of an evaluation.
    """

    weights: int
    adapter: int
    optimizer: int
    gradients: int
    activations: int
    workspace: int
    answers: int
    generations: int
    largest: tuple[int, int]

    @property
    def step(self) -> int:
        """The peak of a training step."""
        resident = self.weights + self.adapter + self.optimizer
        return resident + self.gradients + self.activations + self.workspace

    @property
    def evaluation(self) -> int:
        """The peak of an evaluation."""
        return max(self.answers, self.generations)

    @property
    def peak(self) -> int:
        """The largest of the peaks."""
        return max(self.step, self.evaluation)


def forecast(
    outline: Outline,
    task: Task,
    recipe: Recipe,
    *,
    processes: int = 1,
    on: Device = "cpu",
    only: Phase | None = None,
) -> Memory:
    """Return the memory that the recipe's largest step and its evaluation take on each device.

    With ``only`` one phase is run, and what belongs to the other is 0. Raises InputError and
    ModelError as the run would.
    """
    rows = _largest(task, recipe, processes)
    with _without_numbers(on) as ledger:
        model = outline.build()
        weights = ledger.now
        model = adapt(model, recipe.adapter, seed=None, below=task.below, numbers=False)
        extra = ledger.now - weights
        sizes = _Sizes.of(model, recipe, processes, on, weights=weights, adapter=extra)
        untouched = Untouched(model, task.objective.needs)
        weights = sizes.weights * (2 if untouched.holds_copy else 1)
        if on == "cpu" and recipe.adapter is None:
            weights += task.copies * sum(_bytes(p) for p in model.parameters() if p.requires_grad)
        untouched.cache(
            {"forget": rows.forget, "preferred": rows.preferred},
            pad_id=rows.pad_id,
            batch_size=max(1, len(rows.forget)),
        )
        held = top = answers = generations = 0
        if only != "evaluation":
            held, top = _step(model, untouched, task, rows, recipe, ledger)
        if only != "step":
            resident = weights + sizes.adapter + sizes.optimizer + sizes.folded + sizes.gathered
            answers = resident + _answers(model, task, recipe, ledger, on)
            generations = resident + _generations(model, task, recipe, ledger)
    gradients = min(sizes.trained, top - held)
    return Memory(
        weights=weights,
        adapter=sizes.adapter,
        optimizer=sizes.optimizer,
        gradients=gradients + sizes.buckets,
        activations=held,
        workspace=top - held - gradients + sizes.gathered,
        answers=answers,
        generations=generations,
        largest=(
            sum(map(len, _all(rows, task.objective.needs))),
            _width(rows, task.objective.needs),
        ),
    )


@dataclass(frozen=True)
class _Sizes:
    """What stays on a device during a run, and what its layout adds for a while, in bytes.

    ``trained``: the parameters that train. ``folded``: the adapted matrices once more, as they are
    kept or merged for evaluation. ``buckets``: gradients on their way to other processes.
    ``gathered``: parts that a sharded model puts together, or that a layer dequantises.
    """

    weights: int
    adapter: int
    trained: int
    optimizer: int
    folded: int
    buckets: int
    gathered: int

    @classmethod
    def of(
        cls,
        model: nn.Module,
        recipe: Recipe,
        processes: int,
        on: Device,
        *,
        weights: int,
        adapter: int,
    ) -> _Sizes:
        trained = sum(_bytes(p) for p in model.parameters() if p.requires_grad)
        layers = [m for m in model.modules() if isinstance(m, BoundedLoraLayer)]
        for layer in layers:  # what is kept is in ``folded``
            layer.keep_weight = dict.fromkeys(layer.keep_weight, "never")
        folded = sum(_bytes(m.weight(k)) for m in layers for k in range(len(m.matrices)))
        saved, gathered = _quantised(model, recipe.model.quantise)
        offloaded = recipe.training.offload_optimizer and on == "accelerator"
        # Two moments; of two sides four, and the forget side's gradients.
        moments = 2 if recipe.training.forget_lr is None else 5
        weights, optimizer, buckets = weights - saved, 0 if offloaded else moments * trained, 0
        if processes > 1 and recipe.training.parallel == "fsdp2":
            gathered, folded = gathered + _gathered(model), 0  # shards are never merged
            weights, adapter, trained, optimizer = (
                -(-size // processes) for size in (weights, adapter, trained, optimizer)
            )
        elif processes > 1 and recipe.training.forget_lr is None:
            buckets = trained
        return cls(weights, adapter, trained, optimizer, folded, buckets, gathered)


class _Mode(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Fake tensors whose deep copies are of the same kind: a model may be copied."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Mode:
        return self


@contextmanager
def _without_numbers(on: Device) -> Iterator[Ledger]:
    with (
        warnings.catch_warnings(),
        _Mode(),
        blocks.as_on(_CUT[on]),
        Ledger() as ledger,
    ):
        warnings.simplefilter("ignore")
        yield ledger


def _largest(task: Task, recipe: Recipe, processes: int) -> loop.Rows:
    """Return the rows of the piece with the most padded tokens, over all steps of the run."""
    training, rows = recipe.training, task.rows
    pairing = loop.pairing_of(task.objective, rows, training, processes, recipe.seed)
    every = (
        replace(
            rows,
            forget=[rows.forget[i] for i in f],
            preferred=[rows.preferred[i] for i in f] if rows.preferred else [],
            retain=[rows.retain[i] for i in r],
        )
        for k in range(loop.steps_of(pairing, training))
        for f, r in loop.pieces(rows, pairing.step(k), training.accumulate * processes)
    )
    needs = task.objective.needs
    return max(every, key=lambda p: sum(map(len, _all(p, needs))) * _width(p, needs))


def _all(rows: loop.Rows, needs: Needs) -> list[list[Encoded]]:
    piece = list(range(len(rows.forget))), list(range(len(rows.retain)))
    return list(rows.sides(needs, piece).values())


def _width(rows: loop.Rows, needs: Needs) -> int:
    return max(len(row.ids) for side in _all(rows, needs) for row in side)


def _step(
    model: Any,
    untouched: Untouched,
    task: Task,
    rows: loop.Rows,
    recipe: Recipe,
    ledger: Ledger,
) -> tuple[int, int]:
    """Return what a step's forward pass leaves for the backward pass, and the peak, in bytes."""
    training = recipe.training.model_copy(update={"processes": None, **_bf16(recipe)})
    accelerator = loop.accelerator_for(training)
    before = ledger.now
    if training.accumulate > 1:  # gradients are there already when a later piece is run
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    ledger.restart()
    model.train()
    piece = [*range(len(rows.forget))], [*range(len(rows.retain))]
    state = task.objective.init(recipe.seed)
    held = ledger.now
    with recomputing(model, training):
        terms = loop.terms(model, untouched, task.objective, rows, piece, state, accelerator)
        activations = ledger.now - held
        counts: dict[Unit, int] = {term.unit: term.count for term in terms.terms.values()}
        terms.total(counts).backward()  # type: ignore[no-untyped-call]
    model.zero_grad()
    return activations, ledger.peak - before


def _bf16(recipe: Recipe) -> dict[str, str]:
    # A CPU has no fp16 arithmetic of its own; bf16 has the same size.
    return {"mixed_precision": "bf16"} if recipe.training.mixed_precision == "fp16" else {}


@torch.no_grad()
def _answers(model: Any, task: Task, recipe: Recipe, ledger: Ledger, on: Device) -> int:
    """Return the peak of the pass over answers, above what is resident."""
    lengths = [len(row.ids) for row in task.evaluated]
    chosen = next(by_length(lengths, recipe.evaluation.batch_tokens))
    batch = collate([task.evaluated[i] for i in chosen], pad_id=task.rows.pad_id)
    before = ledger.now
    ledger.restart()
    logits, _ = answer_logits(model.eval(), batch)
    statistics(logits, batch.targets, on_cpu=on == "cpu")
    return ledger.peak - before


@torch.no_grad()
def _generations(model: Any, task: Task, recipe: Recipe, ledger: Ledger) -> int:
    """Return the peak of a generation: its cache when it is full, and a layer of it twice."""
    length = task.prompt + recipe.evaluation.max_new_tokens
    count = max(1, recipe.evaluation.batch_tokens // length)
    ids = torch.zeros(count, task.prompt, dtype=torch.long)
    before = ledger.now
    ledger.restart()
    out = model.eval()(
        input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True, logits_to_keep=1
    )
    held = ledger.now - before - _bytes(out.logits)
    full = held * length // task.prompt
    # A longer cache is made beside the shorter one, a layer at a time.
    layer = full // model.config.get_text_config().num_hidden_layers
    return max(ledger.peak - before, int(full + layer + _bytes(out.logits)))


def _quantised(model: Any, bits: Literal["4bit", "8bit"] | None) -> tuple[int, int]:
    """Return the bytes that quantising saves, and the largest matrix that is dequantised whole."""
    if bits is None:
        return 0, 0
    adapted = {id(m.get_base_layer()) for m in model.modules() if isinstance(m, BoundedLoraLayer)}
    head = model.get_output_embeddings()
    saved = largest = 0
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer is not head:
            size, (n_out, n_in) = _bytes(layer.weight), layer.weight.shape
            # two entries a byte and a scale for every 64; or a byte each and a scale a row
            packed = n_out * n_in * 9 // 16 if bits == "4bit" else n_out * n_in + 4 * n_out
            saved += size - packed
            largest = max(largest, 0 if id(layer) in adapted else size)
    return saved, largest


def _gathered(model: nn.Module) -> int:
    """Return what a sharded model puts together at one time: what is in no block, and two blocks.

    The second block is fetched while the first one computes.
    """
    kinds = set(getattr(model, "_no_split_modules", None) or ())
    blocks_ = [m for m in model.modules() if type(m).__name__ in kinds]
    inside = {id(p) for block in blocks_ for p in block.parameters()}
    root = sum(_bytes(p) for p in model.parameters() if id(p) not in inside)
    largest = max((sum(map(_bytes, b.parameters())) for b in blocks_), default=0)
    return root + 2 * largest


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
