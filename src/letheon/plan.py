"""`letheon plan`: a recipe's memory on each device, and what to switch on to fit a card.

Nothing of the model's weights is read: a path or hub name gives its configuration and tokenizer,
the recipe its data. The switches are tried on top of each other, from the cheapest in time to the
dearest, and one that saves nothing is left out.
"""

from __future__ import annotations

__all__ = ["Plan", "Switch", "amount", "card_bytes", "plan", "show", "words"]

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from letheon import models, run, sequence
from letheon.data.template import Encoded
from letheon.errors import InputError
from letheon.evaluation.records import prepare
from letheon.forecast import Device, Memory, Phase, Task, forecast
from letheon.parts import corpus_of, texts_of
from letheon.procedures.contract import Procedure, method_of
from letheon.processes import resident_bytes
from letheon.recipe import Recipe, override
from letheon.training.loop import Rows, Watch

# What a CUDA context, its libraries and a caching allocator's rounding take: an allowance.
_CONTEXT = 10**9

# A switch that saves less is not worth its price.
_WORTH = 0.98


@dataclass(frozen=True)
class Switch:
    """Settings as they are given to ``--set``, and the peak with them and those before, bytes."""

    settings: tuple[str, ...]
    peak: int


@dataclass(frozen=True)
class Plan:
    """A run's memory: on what, in how many processes, and what makes it fit ``card`` bytes.

    ``other`` is what a process takes beside its tensors: libraries, or a card's context.
    """

    on: Device
    processes: int
    parameters: int
    memory: Memory
    other: int
    card: int | None
    switches: tuple[Switch, ...]

    @property
    def peak(self) -> int:
        """The most that one device has to hold."""
        return self.memory.peak + self.other

    @property
    def fits(self) -> bool | None:
        """Whether the run fits the card as it is; None where no card was named."""
        return None if self.card is None else self.peak <= self.card

    def to_json(self) -> dict[str, Any]:
        """Return everything in plain types, bytes as numbers."""
        own = {"step": self.memory.step, "peak": self.peak, "fits": self.fits}
        return asdict(self) | own


def plan(
    recipe: Recipe,
    *,
    on: Device | None = None,
    card: int | None = None,
    processes: int | None = None,
    watch: Watch = lambda event: None,
) -> Plan:
    """Return what each device of the recipe's run has to hold, and how to make it fit.

    ``on`` is by default what this machine has, or an accelerator where a ``card`` (bytes) is named;
    ``card`` by default this accelerator's memory, or this machine's. ``processes`` overrides the
    recipe's. Raises as the run would, as far as no weights are read for it.
    """
    here: Device = "accelerator" if torch.accelerator.is_available() else "cpu"
    on = on or ("accelerator" if card is not None else here)
    if card is None and on == here:
        card = _capacity(on)
    count = processes or recipe.training.processes or 1
    watch({"event": "phase", "name": "a step without numbers"})
    outline, task = _subject(recipe)
    memory = task.forecast(outline, recipe, processes=count, on=on)
    other = _CONTEXT if on == "accelerator" else resident_bytes()
    room = memory.peak if card is None else card - other
    if memory.peak > room:
        watch({"event": "phase", "name": "the same with other settings"})
    switches = _switches(recipe, outline, task, memory, on, count, room)
    return Plan(
        on=on,
        processes=count,
        parameters=_parameters(outline),
        memory=memory,
        other=other,
        card=card,
        switches=tuple(Switch(s.settings, s.peak + other) for s in switches),
    )


def card_bytes(text: str) -> int:
    """Read a size such as ``24GB`` or ``80GiB``; raises InputError for anything else."""
    found = re.fullmatch(r"\s*(\d+\.?\d*)\s*(?:([KMG])(I?)B?)?\s*", text.upper())
    if found is None or float(found[1]) == 0:
        raise InputError(
            "A card's memory is a number with a unit.",
            got=text or "nothing",
            remedy="For example --card 24GB.",
        )
    power = "_KMG".index(found[2] or "_")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


@dataclass(frozen=True)
class _Subject:
    """What is done with a recipe's model: see ``Task``, of which each stage of a method is one."""

    method: Procedure
    rows: Rows
    evaluated: Sequence[Encoded]
    prompt: int
    below: Sequence[Path]

    def forecast(self, outline: models.Outline, recipe: Recipe, **options: Any) -> Memory:
        """Return the memory of the stage that takes the most."""
        found = [
            forecast(
                outline,
                Task(
                    stage.objective,
                    stage.rows,
                    self.evaluated,
                    self.prompt,
                    self.method.copies,
                    self.below,
                ),
                recipe.model_copy(update={"training": stage.training}),
                **options,
            )
            for stage in self.method.stages(self.rows, recipe.training)
        ]
        return max(found, key=lambda memory: memory.peak)


def _subject(recipe: Recipe) -> tuple[models.Outline, _Subject]:
    """Return the recipe's model without weights, and what is done with it."""
    corpus, method = corpus_of(recipe.data), method_of(recipe)
    source = recipe.model
    below: Sequence[Path] = ()
    if earlier := sequence.chain(recipe):
        source, below = sequence.start(recipe, earlier)
    if source.recipe is not None:
        source = run.child_of(source, recipe).model
    outline = models.outline(source, texts_of(corpus))
    scorer = run.scorer_of(recipe, outline, corpus)
    prepared = prepare(outline.tokenizer, scorer.template, scorer.corpus).values()
    evaluated = [row for split in prepared for row in split.rows]
    prompt = max(len(ids) for split in prepared for ids in split.prompts)
    rows = run.rows_of(recipe, scorer, method)
    return outline, _Subject(method, rows, evaluated, prompt, below)


def _switches(
    recipe: Recipe,
    outline: models.Outline,
    task: _Subject,
    memory: Memory,
    on: Device,
    processes: int,
    room: int,
) -> Iterator[Switch]:
    """Yield switches until the run fits into ``room`` bytes, or there are none left."""
    queues = _candidates(recipe, on)
    while memory.peak > room:
        phase: Phase = "step" if memory.step == memory.peak else "evaluation"
        only = phase if queues[phase] else None
        queue = queues[phase] or queues["both"]
        if not queue:
            return
        settings = queue.pop(0)
        try:
            tried = override(recipe, settings)
            if tried.model != recipe.model:  # of a path: its tokenizer stays the same
                outline = models.outline(tried.model, ())
            count = max(processes, tried.training.processes or 1)
            found = task.forecast(outline, tried, processes=count, on=on, only=only)
        except InputError:  # not for this recipe: too few rows, full weights, ...
            continue
        if only == "step":
            found = replace(found, answers=memory.answers, generations=memory.generations)
        elif only == "evaluation":
            found = replace(memory, answers=found.answers, generations=found.generations)
        if found.peak < _WORTH * memory.peak:
            recipe, memory = tried, found
            yield Switch(settings, found.peak)


def _candidates(recipe: Recipe, on: Device) -> dict[str, list[tuple[str, ...]]]:
    """Return settings by what they lower, the cheapest in time first."""
    tokens, pieces = recipe.evaluation.batch_tokens, recipe.training.accumulate
    both: list[tuple[str, ...]] = (
        [("training.offload_optimizer=true",)] if on == "accelerator" else []
    )
    if recipe.model.path is not None:
        both += [(f"model.{s}",) for s in ("dtype=bfloat16", "quantise=8bit", "quantise=4bit")]
    both += [("training.parallel=fsdp2", f"training.processes={n}") for n in (2, 4, 8)]
    return {
        "evaluation": [(f"evaluation.batch_tokens={tokens // n}",) for n in (2, 4, 8, 16, 32)],
        "step": [
            *((f"training.accumulate={pieces * n}",) for n in (2, 4, 8)),
            ("training.gradient_checkpointing=true",),
        ],
        "both": both,
    }


def _parameters(outline: models.Outline) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in outline.build().parameters())


def _capacity(on: Device) -> int:
    if on == "accelerator":
        return int(torch.cuda.get_device_properties(0).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def words(found: Plan) -> str:
    """Return a plan in one line."""
    where = "an accelerator" if found.on == "accelerator" else "this machine's processor"
    line = f"memory: {amount(found.peak)} on {where}"
    if found.card is None:
        return line
    if found.fits:
        return f"{line}, of {amount(found.card)}"
    return f"{line}, which has {amount(found.card)}: it does not fit; letheon plan says what would"


def show(found: Plan, name: str, console: Console) -> None:
    """Print a plan as a table, and what makes it fit."""
    memory, place = found.memory, "accelerator" if found.on == "accelerator" else "CPU"
    many = f" in each of {found.processes} processes" if found.processes > 1 else ""
    console.print(f"{name}, {place}{many}", style="bold")
    rows, tokens = memory.largest
    lines = [
        ("weights", memory.weights, f"{found.parameters:,} parameters"),
        ("adapter", memory.adapter, ""),
        ("optimizer", memory.optimizer, "two averages of what trains"),
        ("gradients", memory.gradients, ""),
        ("activations", memory.activations, f"largest piece: {rows} rows of {tokens} tokens"),
        ("workspace", memory.workspace, "what a step takes and gives back"),
        ("training step", memory.step, "the sum"),
        ("scoring answers", memory.answers, "evaluation.batch_tokens decides"),
        ("generating", memory.generations, "with merged weights and a full cache"),
    ]
    words = "context and rounding, an allowance" if place != "CPU" else "Python and its libraries"
    lines += [("beside tensors", found.other, words), ("peak", found.peak, "")]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for label, size, note in lines:
        bold = "bold" if label in ("training step", "peak") else None
        table.add_row(label, amount(size), note, style=bold)
    console.print(table)
    if found.card is not None:
        _show_fit(found, found.card, console)


def _show_fit(found: Plan, card: int, console: Console) -> None:
    if found.fits:
        console.print(f"fits {amount(card)}", style="green")
        return
    console.print(f"does not fit {amount(card)}", style="red")
    for switch in found.switches:
        settings = " ".join(f"--set {s}" for s in switch.settings)
        mark = ", fits" if switch.peak <= card else ""
        console.print(f"  with {settings}: {amount(switch.peak)}{mark}", soft_wrap=True)
    if not found.switches or found.switches[-1].peak > card:
        console.print("  no further switch helps: a larger card, or shorter rows")


def amount(size: float) -> str:
    """Write bytes for people, in units of a thousand."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
