"""The loop: rows -> one forward pass -> objective -> step -> diagnostics -> probe.

It trains targets and gold models (objective ``finetune``) and unlearns; there is no other loop.
"""

from __future__ import annotations

__all__ = [
    "Outcome",
    "Piece",
    "Rows",
    "accelerator_for",
    "check",
    "check_model",
    "pairing_of",
    "pieces",
    "run",
    "steps_of",
    "terms",
]

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from letheon import processes, registry
from letheon.adapters import weight_change
from letheon.data.batch import collate
from letheon.data.template import Encoded
from letheon.errors import DivergedError, InputError
from letheon.objectives.contract import LossTerms, Needs, Objective, State, Unit, Views
from letheon.recipe import Training
from letheon.training.balance import Balanced, balanced
from letheon.training.checkpoint import (
    Best,
    Checkpoint,
    load_trained,
    optimizer_state,
    scaler_state,
    trained_state,
)
from letheon.training.forward import (
    Untouched,
    answer_views,
    by_side,
    has_adapter,
    layer_number,
)
from letheon.training.offload import OffloadedAdamW
from letheon.training.pairing import Pairing, shards
from letheon.training.parallel import is_sharded, place, whole, wrap
from letheon.training.recompute import recomputing
from letheon.training.rules import due, learning_rate, rank, stalled, stop_reason
from letheon.training.stabilise import Stabilisers
from letheon.training.two_rates import TwoRates, backward

# Row numbers of the forget and of the retain side.
Piece = tuple[list[int], list[int]]
Probe = Callable[[Any], Mapping[str, float]]
Watch = Callable[[dict[str, Any]], None]

_NOT_OURS = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


@dataclass(frozen=True)
class Rows:
    """Encoded rows; what an objective does not need may be empty.

    ``preferred`` has another answer to each question of ``forget``, in its order.
    """

    forget: list[Encoded]
    retain: list[Encoded]
    pad_id: int
    preferred: list[Encoded] = field(default_factory=list)

    def sides(self, needs: Needs, piece: Piece) -> dict[str, list[Encoded]]:
        """Return a piece's rows of every side that an objective needs, in the batch's order."""
        forget, retain = piece
        found = {"forget": [self.forget[i] for i in forget] if needs.forget else []}
        found["preferred"] = [self.preferred[i] for i in forget] if needs.preferred else []
        found["retain"] = [self.retain[i] for i in retain] if needs.retain else []
        return {side: rows for side, rows in found.items() if getattr(needs, side)}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``steps`` done, why, and the ``kept`` step whose parameters stayed."""

    steps: int
    reason: str
    kept: int
    scores: Mapping[str, float]


def run(
    model: Any,
    objective: Objective,
    rows: Rows,
    training: Training,
    *,
    seed: int = 0,
    probe: Probe | None = None,
    watch: Watch = lambda event: None,
    checkpoint: Path | None = None,
    accelerator: Accelerator | None = None,
) -> Outcome:
    """Train ``model`` in place under ``objective`` and return how it ended.

    ``model`` is a causal language model, with a PEFT adapter (only the adapter trains) or without
    (every parameter that requires a gradient trains). ``probe(model)`` gives scores to stop and
    select by; ``watch`` receives one event a step (see docs/design/0001-contracts.md);
    ``checkpoint`` names the file a killed run resumes from.

    Of several processes each calls this with the same arguments: each trains on its share of a
    step's rows and runs the probe, whose scores the main process decides; that one alone watches
    and writes checkpoints. Under ``parallel: fsdp2`` the model is left sharded.

    Raises DivergedError when a loss or gradient is not finite, naming step and term (the last
    good checkpoint stays), InputError when the rows do not suit the objective, the settings do not
    suit the model, or there is another number of processes than was asked for.
    """
    accelerator = accelerator or accelerator_for(training)
    watch = processes.only_main(watch)
    with recomputing(model, training):
        return _run(model, objective, rows, training, seed, probe, watch, checkpoint, accelerator)


def _run(
    model: Any,
    objective: Objective,
    rows: Rows,
    training: Training,
    seed: int,
    probe: Probe | None,
    watch: Watch,
    checkpoint: Path | None,
    accelerator: Accelerator,
) -> Outcome:
    pairing = pairing_of(objective, rows, training, accelerator.num_processes, seed)
    steps = steps_of(pairing, training)
    objective = balanced(objective, training.balance)

    untouched = Untouched(model, objective.needs, marked=checkpoint is not None)
    for each in untouched.models:
        place(each, training, accelerator)
    with accelerator.autocast():  # as the model it is compared with: their roundings cancel
        untouched.cache(
            {"forget": rows.forget, "preferred": rows.preferred},
            pad_id=rows.pad_id,
            # As few at a time as in a step, which is to be the peak of the run's memory.
            batch_size=max(1, pairing.forget // (training.accumulate * accelerator.num_processes)),
            folder=checkpoint and checkpoint.parent,
        )
    if untouched.holds_copy:
        watch({"event": "note", "text": "the objective needs a second copy of the full model"})
    if training.parallel == "fsdp2" and not is_sharded(model):
        watch({"event": "note", "text": "one process alone: nothing is sharded"})

    _restart_peak()
    optimizer = _optimizer([p for p in model.parameters() if p.requires_grad], training)
    two = optimizer if isinstance(optimizer, TwoRates) else None
    stabilisers = Stabilisers(model, training)
    start, state, best = 0, objective.init(seed), None
    if checkpoint and processes.from_main(checkpoint.is_file()):
        saved = Checkpoint.load(checkpoint)
        saved.restore(model, optimizer, accelerator.scaler)
        start, state, best = saved.step, saved.state, saved.best
    watch({"event": "resume", "step": start, "steps": steps})
    wrapped = wrap(model, accelerator)
    optimizer = accelerator.prepare_optimizer(
        optimizer, device_placement=not training.offload_optimizer
    )
    optimizer.zero_grad()

    reason = "steps"
    for step in range(start, steps):
        began = time.perf_counter()
        lr = learning_rate(training, step, steps)
        for group in optimizer.param_groups:
            group["lr"] = lr

        wrapped.train()
        first = accelerator.process_index * training.accumulate
        every = pieces(rows, pairing.step(step), training.accumulate * accelerator.num_processes)
        own = every[first : first + training.accumulate]
        counts = _global_counts(rows, objective.needs, pairing.step(step))
        shares: dict[str, torch.Tensor] = {}
        step_terms = partial(terms, wrapped, untouched, objective, rows, accelerator=accelerator)
        if isinstance(objective, Balanced) and objective.due(step):
            passes = [partial(step_terms, piece) for piece in own]
            state, lengths = objective.measured(state, wrapped, passes, counts, accelerator)
            watch({"event": "balance", "step": step + 1, **lengths})
        for k, piece in enumerate(own):
            # of two gradients DDP would average the first one only
            averaged = two is None and k == len(own) - 1
            with nullcontext() if averaged else accelerator.no_sync(wrapped):
                found = step_terms(piece, state)
                backward(found, counts, accelerator, two)
            for name, share in found.shares(counts).items():
                shares[name] = shares.get(name, torch.zeros_like(share)) + share
        penalty = stabilisers.penalise(model, accelerator)
        values = _global_values(shares, accelerator, step)
        norms = _clip(model, two, training.max_grad_norm, accelerator, step)
        optimizer.step()
        stabilisers.project(model)
        optimizer.zero_grad()  # not at the next step: a probe has the gradients' memory
        state = objective.update(state, values)

        done = step + 1
        seconds = time.perf_counter() - began
        watch(_step_event(done, values, penalty, norms, lr, counts, seconds))
        if has_adapter(model) and (done % training.weights_every == 0 or done == steps):
            watch({"event": "weights", "step": done, "matrices": weight_change(model)})
        stop = None
        looked = due(done, training.probe_every, steps) and done >= min(training.probe_from, steps)
        if probe is not None and looked:
            scores = processes.from_main(dict(probe(model)))
            key = rank(training.select, scores)
            better = training.select is not None and (best is None or key > best.rank)
            if better:
                best = Best(key, done, scores, trained_state(model))
            watch({"event": "probe", "step": done, "scores": scores, "best": better})
            stop = stop_reason(training.stop_at, training.stop_below, scores)
            stop = stop or stalled(training, best.step if best else done, done)
        if checkpoint and (stop or due(done, training.checkpoint_every, steps)):
            now = Checkpoint(done, trained_state(model), optimizer_state(optimizer), state, best)
            now.scaler = scaler_state(accelerator.scaler)
            processes.on_main(partial(now.save, checkpoint))
        if stop:
            reason, steps = stop, done
            break

    if best is not None:
        load_trained(model, best.params)
    watch({"event": "stop", "step": steps, "reason": reason})
    return Outcome(steps, reason, best.step if best else steps, best.scores if best else {})


def check(objective: Objective, rows: Rows, training: Training, model: Any) -> None:
    """Raise InputError when ``run`` would refuse these rows or settings, or them for ``model``."""
    pairing_of(objective, rows, training, accelerator_for(training).num_processes, 0)
    balanced(objective, training.balance)
    check_model(objective.needs, model, training)
    _check_sides(objective.needs, training)


def check_model(needs: Needs, model: Any, training: Training) -> None:
    """Raise InputError when ``run`` would refuse these settings for ``model``, weights or none."""
    for layer in needs.hidden:
        layer_number(layer, model.config.get_text_config().num_hidden_layers)
    _optimizer([torch.zeros(1)], training)
    Stabilisers(model, training)
    with recomputing(model, training):
        pass


def _check_sides(needs: Needs, training: Training) -> None:
    if training.forget_lr is not None and not (needs.forget_rows and needs.retain):
        raise InputError(
            "training.forget_lr parts the forget side of a loss from the retain side.",
            got="an objective with one side",
            remedy="Set training.lr alone, or choose an objective with both.",
        )


def pairing_of(
    objective: Objective, rows: Rows, training: Training, n_processes: int, seed: int
) -> Pairing:
    """Return which rows each step sees; raises InputError when they do not suit the objective."""
    needs = objective.needs
    for side, wanted, have in (
        ("forget", needs.forget_rows, rows.forget),
        ("retain", needs.retain, rows.retain),
        ("preferred", needs.preferred, rows.preferred),
    ):
        if wanted and not have:
            raise InputError(
                f"The objective {type(objective).__name__} needs {side} rows.",
                got="none",
                remedy=f"Give data with a {side} side, or another objective.",
            )
    if needs.preferred and len(rows.preferred) != len(rows.forget):
        raise InputError(
            "There is one preferred answer to each forget question.",
            got=f"{len(rows.preferred)} for {len(rows.forget)} questions",
            remedy="Give the loop as many rows of both.",
        )
    pairing = Pairing(
        n_forget=len(rows.forget),
        n_retain=len(rows.retain),
        forget=training.batch_size if needs.forget_rows else 0,
        retain=(training.retain_batch_size or training.batch_size) if needs.retain else 0,
        seed=seed,
    )
    n_pieces = training.accumulate * n_processes
    fewest = min(n for n in (pairing.forget, pairing.retain) if n)
    if n_pieces > fewest:
        raise InputError(
            "A step's rows must reach every process and every accumulated piece.",
            got=f"{fewest} rows for {n_pieces} pieces",
            remedy="Raise training.batch_size or lower training.accumulate.",
        )
    return pairing


def steps_of(pairing: Pairing, training: Training) -> int:
    """Return how many steps a run has."""
    return training.steps or pairing.steps(training.epochs or 1)


def pieces(rows: Rows, step: Piece, n: int) -> list[Piece]:
    """Cut a step's forget and retain rows into the ``n`` pieces that are run at one time each."""
    forget = shards(step[0], lambda i: len(rows.forget[i].ids), n)
    retain = shards(step[1], lambda i: len(rows.retain[i].ids), n)
    return list(zip(forget, retain, strict=True))


def terms(
    model: Any,
    untouched: Untouched,
    objective: Objective,
    rows: Rows,
    piece: Piece,
    state: State,
    accelerator: Accelerator,
) -> LossTerms:
    """Run ``model`` once over a piece's rows and return the objective's terms."""
    needs = objective.needs
    found = rows.sides(needs, piece)
    chosen = [row for side in found.values() for row in side]
    batch = collate(chosen, pad_id=rows.pad_id).to(accelerator.device)
    sizes = {side: len(each) for side, each in found.items()}
    with accelerator.autocast():
        reference = untouched.reference(batch, sizes, piece[0])
        views = answer_views(model, batch, hidden=needs.hidden)
    return objective.loss(Views(**by_side(views, sizes)), reference, state)


def accelerator_for(training: Training) -> Accelerator:
    """Return accelerate's view of this process, its device and precision.

    Raises InputError for a precision the machine lacks or a launcher that is not understood.
    """
    processes.join(training.processes)
    # accelerate keeps the precision of a process's first run, and refuses a second one of another:
    # a target trained in bf16 could not be unlearned in fp32.
    AcceleratorState._reset_state()
    try:
        accelerator = Accelerator(mixed_precision=training.mixed_precision)
    except ValueError as error:
        raise InputError(
            "This machine must support the mixed precision.",
            got=f"training.mixed_precision {training.mixed_precision} ({error})",
            remedy="Choose bf16 or no.",
        ) from None
    if accelerator.distributed_type in _NOT_OURS:
        raise InputError(
            "training.parallel says how a model is spread over processes, not accelerate.",
            got=f"accelerate set to {accelerator.distributed_type.value}",
            remedy="Start the run with torchrun.",
        )
    return accelerator


def _optimizer(params: list[torch.Tensor], training: Training) -> torch.optim.Optimizer:
    if training.forget_lr is not None:
        rate = {"lr": training.forget_lr, "forget_lr": None}
        plain = training.model_copy(update={"forget_lr": None})
        # The weights decay once, with the retain side's step.
        forget = training.model_copy(update=rate | {"weight_decay": 0.0})
        return TwoRates(_optimizer(params, forget), _optimizer(params, plain))
    choice = training.optimizer
    make = OffloadedAdamW
    if not training.offload_optimizer:
        make = registry.make("letheon.optimizers", choice.name, choice.params).make
    optimizer: torch.optim.Optimizer = make(
        params,
        lr=training.lr,
        betas=training.betas,
        weight_decay=training.weight_decay,
    )
    return optimizer


def _global_counts(rows: Rows, needs: Needs, step: Piece) -> dict[Unit, int]:
    # Every process knows the whole step, so global counts need no communication.
    sides = rows.sides(needs, step)
    tokens = {side: sum(sum(row.answer) for row in each) for side, each in sides.items()}
    return {
        "forget_token": tokens.get("forget", 0),
        "forget_example": len(step[0]),
        "retain_token": tokens.get("retain", 0),
        "retain_example": len(step[1]),
        "preferred_token": tokens.get("preferred", 0),
    }


def _global_values(
    shares: dict[str, torch.Tensor], accelerator: Accelerator, step: int
) -> dict[str, float]:
    values = {k: float(accelerator.reduce(v, "sum")) for k, v in shares.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss must stay finite; at step {step + 1} the term '{name}' does not.",
                got=value,
                remedy="Lower training.lr or the forget weight, or use a bounded adapter; the last "
                "checkpoint is kept.",
            )
    return values


def _clip(
    model: Any, two: TwoRates | None, limit: float | None, accelerator: Accelerator, step: int
) -> dict[str, float]:
    """Clip the gradient; return its norm before that, and each side's where there are two."""
    if two is not None:
        norms = two.gather(accelerator, limit)
    else:
        trained = [p for p in model.parameters() if p.requires_grad]
        norms = {"both": float(whole(accelerator.clip_grad_norm_(trained, limit or math.inf)))}
    if not math.isfinite(norms["both"]) and accelerator.scaler is None:
        raise DivergedError(
            f"The gradient must stay finite; at step {step + 1} its norm does not.",
            got=norms["both"],
            remedy="Lower training.lr, set training.max_grad_norm, or use a bounded adapter; the "
            "last checkpoint is kept.",
        )
    return norms


def _step_event(
    step: int,
    values: Mapping[str, float],
    penalty: float | None,
    norms: Mapping[str, float],
    lr: float,
    counts: Mapping[Unit, int],
    seconds: float,
) -> dict[str, Any]:
    tokens = sum(n for unit, n in counts.items() if unit.endswith("_token"))
    return {
        "event": "step",
        "step": step,
        "terms": dict(values),
        **({} if penalty is None else {"penalty": penalty}),
        "grad_norm": norms["both"],
        **{f"{side}_grad_norm": norm for side, norm in norms.items() if side != "both"},
        "lr": lr,
        "answer_tokens_per_second": round(tokens / seconds, 1),
        "peak_bytes": _peak_bytes(),
    }


def _restart_peak() -> None:
    """Count an accelerator's memory from here: an earlier run in this process is not this one's."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_bytes() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return processes.resident_bytes()
