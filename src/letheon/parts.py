"""Recipe parts -> objects: the corpus, the objective, the adapted model."""

from __future__ import annotations

__all__ = ["adapt", "corpus_of", "objective_of"]

import dataclasses
import inspect
import warnings
from typing import Any, Literal

from peft import get_peft_model
from pydantic import TypeAdapter, ValidationError

from letheon import registry
from letheon.adapters import BoundedLoraConfig
from letheon.data.example import Corpus
from letheon.data.files import corpus_from_files
from letheon.errors import RecipeError, nearest
from letheon.objectives.contract import Objective
from letheon.recipe import Adapter, Choice, DataSource

_COLUMNS: tuple[Literal["question", "answer", "unit"], ...] = ("question", "answer", "unit")


def corpus_of(data: DataSource) -> Corpus:
    """Load a benchmark's corpus or the user's own files."""
    if data.forget is not None and data.retain is not None:
        names = {name: data.columns.get(name, name) for name in _COLUMNS}
        return corpus_from_files(
            forget=data.forget,
            retain=data.retain,
            question=names["question"],
            answer=names["answer"],
            unit=names["unit"],
        )
    assert data.benchmark is not None
    load = registry.load("letheon.benchmarks", data.benchmark).load
    params = dict(data.params) | ({"path": data.path} if data.path is not None else {})
    valid = inspect.signature(load).parameters
    for key in params:
        if key not in valid:
            raise RecipeError(
                f"Unknown parameter of the benchmark {data.benchmark}.",
                got=key,
                remedy=nearest(key, valid),
            )
    corpus: Corpus = load(**params)
    return corpus


def objective_of(choice: Choice) -> Objective:
    """Make the objective a ``{name, params}`` choice means, its params checked by its class.

    Raises RecipeError for an unknown name or field, or a value of the wrong kind.
    """
    module = registry.load("letheon.objectives", choice.name)
    kind: type[Objective] = module.OBJECTIVE
    valid = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in choice.params:
        if key not in valid:
            raise RecipeError(
                f"Unknown parameter of {choice.name}.", got=key, remedy=nearest(key, valid)
            )
    try:
        return TypeAdapter(kind).validate_python(choice.params)
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(
            f"{choice.name}: {first['msg']}.",
            got=f"{first['loc'][-1]} = {first['input']!r}",
            remedy="Mend objective.params.",
        ) from None


def adapt(model: Any, adapter: Adapter | None, *, seed: int) -> Any:
    """Put the recipe's adapter on ``model``; without one all its parameters train."""
    if adapter is None:
        return model
    config = BoundedLoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,
        bound=adapter.bound,
        omega=adapter.omega,
        scale=adapter.scale,
        target_modules=adapter.target_modules,
        attention=adapter.attention,
        seed=seed,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5 by a name that it deprecates
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        return get_peft_model(model, config)
