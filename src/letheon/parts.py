"""Recipe parts -> objects: the corpus, the objective, the adapted model."""

from __future__ import annotations

__all__ = ["adapt", "corpus_of", "encode", "longest_piece", "objective_of", "texts_of"]

import inspect
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

from peft.utils.error import NoMatchingPeftModuleError
from pydantic import TypeAdapter, ValidationError

from letheon import registry
from letheon.adapters import BoundedLoraConfig, stack
from letheon.adapters.quantised import is_quantised
from letheon.adapters.targets import adaptable_layers
from letheon.data.example import Corpus, Example
from letheon.data.files import corpus_from_files
from letheon.data.memory_rows import PythonRows
from letheon.data.template import Encoded, Template
from letheon.errors import ModelError, RecipeError, nearest
from letheon.objectives.contract import Objective
from letheon.recipe import Adapter, Choice, DataSource


def corpus_of(data: DataSource, rows: Mapping[str, PythonRows] = MappingProxyType({})) -> Corpus:
    """Load a benchmark's corpus or the user's own files, or take ``rows`` in a file's place."""
    if data.forget is not None:
        return corpus_from_files(
            forget=rows.get("forget", data.forget),
            retain=rows.get("retain", data.retain),
            unseen=rows.get("unseen", data.unseen),
            columns=data.columns,
        )
    assert data.benchmark is not None
    load = registry.load("letheon.benchmarks", data.benchmark).load
    params = dict(data.params) | ({"path": data.path} if data.path is not None else {})
    valid = inspect.signature(load).parameters
    kinds = get_type_hints(load)
    for key in params:
        if key not in valid:
            raise RecipeError(
                f"Unknown parameter of the benchmark {data.benchmark}.",
                got=key,
                remedy=nearest(key, valid),
            )
        params[key] = _typed(params[key], kinds[key], f"data.params.{key}")
    corpus: Corpus = load(**params)
    return corpus


def longest_piece(data: DataSource, positions: int | None) -> int | None:
    """Return the tokens of the longest piece of a row; None where long rows are not split.

    Raises RecipeError when neither the recipe nor the model, with so many ``positions``, says it.
    """
    if data.long_rows != "split":
        return None
    limits = [n for n in (data.max_tokens, positions) if n is not None]
    if not limits:
        raise RecipeError(
            "Rows are split at the model's context, and this model does not say how long it is.",
            got="data.long_rows split without data.max_tokens",
            remedy="Set data.max_tokens, for example to 2048.",
        )
    return min(limits)


def _typed(value: Any, kind: Any, key: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise RecipeError(
            f"{error.errors()[0]['msg']}.", got=f"{key} = {value!r}", remedy="Mend that key."
        ) from None


def objective_of(choice: Choice) -> Objective:
    """Make the objective a ``{name, params}`` choice means; raises as ``registry.make`` does."""
    objective: Objective = registry.make("letheon.objectives", choice.name, choice.params)
    return objective


def encode(examples: Iterable[Example], template: Template, tokenizer: Any) -> list[Encoded]:
    """Return the token ids of examples with their answers, to train on."""
    return [template.row(tokenizer, e) for e in examples]


def texts_of(corpus: Corpus) -> list[str]:
    """Return every question with its answer once: what a vocabulary is trained on."""
    seen: dict[str, None] = {}
    every: list[Example] = [*corpus.forgotten, *corpus.forget, *corpus.retain, *corpus.background]
    for example in [*every, *(e for split in corpus.evaluation.values() for e in split)]:
        asked = f"Question: {example.question}\nAnswer: " if example.question else ""
        seen[asked + example.answer] = None
    return list(seen)


def adapt(
    model: Any,
    adapter: Adapter | None,
    *,
    seed: int | None,
    below: Sequence[Path] = (),
    numbers: bool = True,
) -> Any:
    """Put the recipe's adapter on ``model``; without one all its parameters train.

    ``below``: folders of adapters that are put on first and stay as they are; of these, and of
    these alone, ``numbers`` says whether they are read.

    Raises ModelError for settings that do not suit the model.
    """
    if adapter is None:
        if any(is_quantised(layer) for layer in model.modules()):
            raise ModelError(
                "Quantised weights stay fixed: without an adapter nothing of them would train.",
                got="a quantised model and no adapter",
                remedy="Add an adapter to the recipe.",
            )
        return model
    if adapter.start != "zero" and any(is_quantised(layer) for layer in model.modules()):
        raise ModelError(
            "An informed start goes by gradients of the weights, which quantised ones have not.",
            got=f"adapter.start {adapter.start} and a quantised model",
            remedy="Set adapter.start to zero, or load the model without quantising it.",
        )
    config = BoundedLoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,
        bound=adapter.bound,
        omega=adapter.omega,
        scale=adapter.scale,
        target_modules=adapter.target_modules,
        attention=adapter.attention,
        start=adapter.start,
        seed=seed,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5 by a name that it deprecates
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        try:
            return stack.on_top(stack.lay(model, below, numbers=numbers), config)
        except NoMatchingPeftModuleError:
            names = sorted({re.sub(r"\.\d+(?=\.)", ".*", name) for name in adaptable_layers(model)})
            raise ModelError(
                "adapter.target_modules names layers of the model.",
                got=f"{', '.join(adapter.target_modules or ())}; layers {', '.join(names)}",
                remedy="Name ends of these, for example the last part.",
            ) from None
