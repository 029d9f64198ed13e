"""Task vector (Ilharco et al. 2023, arXiv 2212.04089): learn what is to be forgotten, subtract it.

``W_ft``: the model fine-tuned on the forget rows, ``L = NLL_mean(forget)``; then

    W' = W - beta (W_ft - W)

with ``beta`` searched over a grid by the probe, as the paper does on validation data. Of an adapter
``W_ft - W = s phi(omega B A)``: the arithmetic stays outside ``phi`` (the adapter's ``gain``
becomes ``-beta``), so it is exact for every bound. Deviations: fewer betas by default than the
paper's 0 to 1 in steps of 0.05, since each costs a probe; of an adapter the vector has its rank.
"""

from __future__ import annotations

__all__ = ["PROCEDURE", "TaskVector"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from letheon import processes
from letheon.adapters.arithmetic import set_gain
from letheon.errors import RecipeError
from letheon.objectives.finetune import FineTune
from letheon.procedures.contract import Procedure, Setting, Stage
from letheon.recipe import Training
from letheon.training import loop
from letheon.training.checkpoint import load_trained, trained_state
from letheon.training.forward import has_adapter
from letheon.training.rules import rank


@dataclass(frozen=True, kw_only=True)
class TaskVector(Procedure):
    """``betas``: how much of the vector is subtracted, tried in turn; one alone is just taken.

    ``training`` says how the forget rows are learned (its ``batch_size`` rows a step; nothing is
    probed meanwhile), its ``select`` which beta is kept. Retain rows are not used.
    """

    betas: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (
        0.1,
        0.2,
        0.4,
        0.6,
        0.8,
        1.0,
    )
    copies = 2

    def stages(self, rows: loop.Rows, training: Training) -> Sequence[Stage]:
        """Return the one training: the forget rows are what is learned."""
        changes = {"select": None, "probe_every": None, "probe_from": 1, "retain_batch_size": None}
        learned = replace(rows, forget=[], retain=rows.forget, preferred=[])
        return [Stage(FineTune(), learned, training.model_copy(update=changes))]

    def check(self, rows: loop.Rows, training: Training, model: Any) -> None:
        """Raise InputError for settings that say nothing of how beta is chosen, or of steps."""
        super().check(rows, training, model)
        if len(self.betas) > 1 and training.select is None:
            raise RecipeError(
                "task_vector chooses among its betas by training.select.",
                got=f"{len(self.betas)} betas and no training.select",
                remedy="Set training.select, or procedure.params.betas to one number.",
            )
        idle = [name for name in ("stop_at", "stop_below") if getattr(training, name) is not None]
        if idle:
            raise RecipeError(
                "task_vector is probed when its training is over: no rule can stop that.",
                got=", ".join(f"training.{name}" for name in idle),
                remedy="Leave it out; training.steps is the length.",
            )

    def run(self, model: Any, setting: Setting) -> loop.Outcome:
        """Learn the forget rows, then subtract what was learned."""
        start = None if has_adapter(model) else trained_state(model)
        (stage,) = self.stages(setting.rows, setting.training)
        learned = setting.train(model, stage, ends=False)
        subtract = _subtraction(model, start)
        beta, kept, scores = self._search(model, subtract, setting, learned.steps)
        subtract(beta)
        reason = f"beta {beta:g}"
        setting.watch({"event": "stop", "step": learned.steps, "reason": reason})
        return loop.Outcome(learned.steps, reason, kept, scores)

    def _search(
        self, model: Any, subtract: Callable[[float], None], setting: Setting, steps: int
    ) -> tuple[float, int, dict[str, float]]:
        """Return the best beta, the number of its probe counted on from the steps, its scores."""
        if len(self.betas) == 1 or setting.probe is None:
            return self.betas[0], steps, {}
        best: tuple[tuple[int, float], float, int, dict[str, float]] | None = None
        for number, beta in enumerate(self.betas, start=steps + 1):
            subtract(beta)
            scores = processes.from_main(dict(setting.probe(model)))
            found = (rank(setting.training.select, scores), beta, number, scores)
            better = best is None or found[0] > best[0]
            best = found if best is None or better else best
            event = {"event": "probe", "step": number, "beta": beta, "scores": scores}
            setting.watch(event | {"best": better})
        assert best is not None
        return best[1:]


def _subtraction(model: Any, start: dict[str, Any] | None) -> Callable[[float], None]:
    """Return what puts ``W - beta (W_ft - W)`` into the model, ``W_ft`` being what it holds now."""
    if start is None:
        return lambda beta: set_gain(model, -beta)
    tuned = trained_state(model)

    def subtract(beta: float) -> None:
        # One parameter at a time: the difference of them all would be a copy more.
        for name, before in start.items():
            load_trained(model, {name: before - beta * (tuned[name] - before)})

    return subtract


PROCEDURE = TaskVector
