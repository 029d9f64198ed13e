"""What a procedure is: what stands in the loop's place, made of trainings in the common loop.

A recipe names an objective, which is one training (``CommonLoop``), or a procedure, a file of this
folder. To whoever runs, plans or checks a recipe both are the same thing.
"""

from __future__ import annotations

__all__ = ["CommonLoop", "Procedure", "Setting", "Stage", "method_of"]

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from letheon import registry
from letheon.data.example import Example
from letheon.objectives.contract import Answers, Needs, Objective
from letheon.recipe import Recipe, Training
from letheon.training import loop


def _silent(event: dict[str, Any]) -> None:
    del event


@dataclass(frozen=True)
class Stage:
    """One training in the common loop: its objective, the rows it sees, its settings."""

    objective: Objective
    rows: loop.Rows
    training: Training


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a run gives a procedure.

    ``probe(model)`` gives scores to choose by and ``watch`` receives events, as in ``loop.run``;
    ``folder`` is where checkpoints of a run that may be killed go.
    """

    rows: loop.Rows
    training: Training
    seed: int = 0
    probe: loop.Probe | None = None
    watch: loop.Watch = _silent
    folder: Path | None = None

    def train(
        self,
        model: Any,
        stage: Stage,
        *,
        probe: loop.Probe | None = None,
        name: str = "last",
        after: int = 0,
        ends: bool = True,
    ) -> loop.Outcome:
        """Train ``model`` in place as ``stage`` says, from its checkpoint ``name`` where there is.

        ``after``: steps of the run's earlier stages, which the events' steps are counted from;
        ``ends``: whether the run ends with this stage.
        """

        def watch(event: dict[str, Any]) -> None:
            if event["event"] == "stop" and not ends:
                return
            self.watch({k: v + after if k in ("step", "steps") else v for k, v in event.items()})

        return loop.run(
            model,
            stage.objective,
            stage.rows,
            stage.training,
            seed=self.seed,
            probe=probe,
            watch=watch,
            checkpoint=self.folder and self.folder / f"{name}.pt",
        )


class Procedure(ABC):
    """Subclasses are frozen dataclasses of their hyper-parameters; ``PROCEDURE`` names the class.

    ``copies``: how many copies of the parameters that train it holds in CPU memory, of a model
    without adapter.
    """

    copies: int = 0

    @property
    def words(self) -> str:
        """What a recipe chose, for people."""
        return f"procedure: {self}"

    @property
    def needs(self) -> Needs:
        """Which rows a run must prepare: ``preferred`` asks for other answers."""
        return Needs()

    def prepare(
        self, examples: Sequence[Example], answers: Answers, seed: int
    ) -> Sequence[Example] | None:
        """Return the preferred answers, as ``Objective.prepare``; asked for where needed."""
        del examples, answers, seed
        return None

    @abstractmethod
    def stages(self, rows: loop.Rows, training: Training) -> Sequence[Stage]:
        """Return the trainings that it consists of: they are checked and planned beforehand."""

    def check(self, rows: loop.Rows, training: Training, model: Any) -> None:
        """Raise InputError when ``run`` would refuse these rows or settings, or ``model``."""
        for stage in self.stages(rows, training):
            loop.check(stage.objective, stage.rows, stage.training, model)

    @abstractmethod
    def run(self, model: Any, setting: Setting) -> loop.Outcome:
        """Change ``model`` in place and return how it ended; raises as ``loop.run`` does.

        Of several processes each calls it; a killed run calls it again and goes on from the
        checkpoints in the setting's folder.
        """


@dataclass(frozen=True)
class CommonLoop(Procedure):
    """An objective in the common loop: the one training that most methods are."""

    objective: Objective

    @property
    def words(self) -> str:
        """What a recipe chose, for people."""
        return f"objective: {self.objective}"

    @property
    def needs(self) -> Needs:
        """The objective's own."""
        return self.objective.needs

    def prepare(
        self, examples: Sequence[Example], answers: Answers, seed: int
    ) -> Sequence[Example] | None:
        """Return what the objective prefers."""
        return self.objective.prepare(examples, answers, seed)

    def stages(self, rows: loop.Rows, training: Training) -> Sequence[Stage]:
        """Return the one training."""
        return [Stage(self.objective, rows, training)]

    def run(self, model: Any, setting: Setting) -> loop.Outcome:
        """Train ``model`` under the objective."""
        (stage,) = self.stages(setting.rows, setting.training)
        return setting.train(model, stage, probe=setting.probe)


def method_of(recipe: Recipe) -> Procedure:
    """Make what the recipe names, a procedure or an objective; raises as ``registry.make`` does."""
    if recipe.procedure is None:
        choice = recipe.objective
        return CommonLoop(registry.make("letheon.objectives", choice.name, choice.params))
    found: Procedure = registry.make(
        "letheon.procedures", recipe.procedure.name, recipe.procedure.params
    )
    return found
