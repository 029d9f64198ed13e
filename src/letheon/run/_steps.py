"""What a training and an unlearning run have in common, in the order in which it happens."""

from __future__ import annotations

__all__ = [
    "Watch",
    "begin",
    "checked",
    "child_of",
    "fit",
    "made_or_loaded",
    "rows_of",
    "scorer_of",
    "to_save",
    "to_score",
]

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from letheon import models, own_words, preferred, processes, recall, sequence
from letheon import recipe as recipes
from letheon.adapters.arithmetic import gains, set_gain
from letheon.data.batch import pad_id
from letheon.data.example import Corpus, Example
from letheon.data.template import Template
from letheon.errors import DataError, RecipeError
from letheon.folder import RunFolder
from letheon.given import NOTHING, Given
from letheon.metrics.records import Records
from letheon.outputs import describe, write_records
from letheon.parts import adapt, corpus_of, encode, longest_piece, texts_of
from letheon.procedures.contract import CommonLoop, Procedure, Setting, method_of
from letheon.recipe import ModelSource, Recipe
from letheon.scoring import Scorer, check_metrics, check_rules
from letheon.training import loop
from letheon.training.checkpoint import load_trained, trained_state
from letheon.training.forward import has_adapter
from letheon.training.parallel import is_sharded

Watch = Callable[[dict[str, Any]], None]


def checked(recipe: Recipe, kind: str, given: Given = NOTHING) -> tuple[Corpus, Procedure]:
    """Check what needs no model; return the corpus and what is done with it."""
    if recipe.kind != kind:
        raise RecipeError(
            f"letheon {kind} runs recipes of kind {kind}.",
            got=f"{recipe.name} of kind {recipe.kind}",
            remedy=f"Run letheon {recipe.kind} with it, or give another recipe.",
        )
    processes.join(recipe.training.processes)
    Template(recipe.template)
    check_metrics(recipe.evaluation)
    check_rules(recipe.training, recipe.gold.selection is not None)
    method = CommonLoop(given.objective) if given.objective else method_of(recipe)
    for source in (recipe.model, recipe.gold.selection, recipe.gold.scoring):
        if source is not None and source.recipe is not None:
            child = child_of(source, recipe)
            if source is recipe.model and child.model.make is not None:
                # Before the target is trained for it.
                skeleton = adapt(models.skeleton(child.model.make), recipe.adapter, seed=None)
                loop.check_model(method.needs, skeleton, recipe.training)
    return corpus_of(recipe.data, given.rows), method


def child_of(source: ModelSource, parent: Recipe) -> Recipe:
    """The training recipe of a model, on the parent's data."""
    child = recipes.load(str(source.recipe))
    if child.kind != "train":
        raise RecipeError(
            "A model is named by a recipe of kind train.",
            got=f"{source.recipe} of kind {child.kind}",
            remedy="Name the recipe of a target or gold model.",
        )
    lengths = (parent.evaluation.max_new_tokens, child.evaluation.max_new_tokens)
    if parent.kind == "unlearn" and lengths[0] != lengths[1]:
        raise RecipeError(
            "Generations are compared at one length: evaluation.max_new_tokens is that of the "
            "recipes of target and gold.",
            got=f"{lengths[0]} in {parent.name}, {lengths[1]} in {child.name}",
            remedy="Set the same number in all of them.",
        )
    changed: dict[str, Any] = {"data": parent.data, "template": parent.template}
    if source.seed is not None:
        changed["seed"] = source.seed
    return child.model_copy(update=changed)


def made_or_loaded(recipe: Recipe, corpus: Corpus) -> models.Loaded:
    if recipe.model.make is None:
        return models.load(recipe.model)
    return models.make(recipe.model.make, texts_of(corpus), seed=recipe.seed)


def to_score(source: ModelSource) -> models.Loaded:
    """Load a model that is only evaluated, where this process computes: the loop places others."""
    loaded = models.load(source)
    loaded.model.to(processes.device())
    return loaded


def scorer_of(recipe: Recipe, loaded: models.Loaded | models.Outline, corpus: Corpus) -> Scorer:
    """Return what scores the recipe's models, which share tokenizer and context, on ``corpus``."""
    template = Template(recipe.template, eos=corpus.eos)
    longest = longest_piece(recipe.data, loaded.positions)
    return Scorer(loaded.tokenizer, template, corpus, recipe.evaluation, longest).on(corpus)


def rows_of(recipe: Recipe, scorer: Scorer, method: Procedure) -> loop.Rows:
    """Encode the rows that a run trains on; a ``train`` run has one side.

    Where the method has the untouched model speak, nobody does yet: the preferred rows are
    enough to check or count, and a run puts its own in their place.
    """
    corpus, tokenizer = scorer.corpus, scorer.tokenizer
    # Before the model has said what it retains: enough to check or count.
    standing_in = corpus.forget if recipe.data.own_words is not None else ()
    forget, retain = corpus.forget, corpus.retain or standing_in
    if recipe.kind == "train":
        roles: list[str] = list(recipe.train_on)
        if "forget" in roles:  # a target has seen what earlier requests forgot
            roles.insert(roles.index("forget"), "forgotten")
        forget, retain = (), tuple(e for role in roles for e in getattr(corpus, role))
    encoded = encode(forget, scorer.template, tokenizer)
    if recipe.training.forget_tokens == "facts" and method.needs.forget:
        unmarked = sum(not any(row.facts) for row in encoded)
        if unmarked:
            raise DataError(
                "With training.forget_tokens facts every forget row has a marked fact.",
                got=f"{unmarked} of {len(encoded)} rows of {corpus.name} without one",
                remedy="Set training.forget_tokens to answer.",
            )
        encoded = [row.only_facts() for row in encoded]
    kept = encode(retain, scorer.template, tokenizer)
    other = preferred.made(method, forget, preferred.unsaid, recipe.seed)
    return loop.Rows(encoded, kept, pad_id(tokenizer), encode(other, scorer.template, tokenizer))


def begin(
    folder: RunFolder,
    identity: str,
    recipe: Recipe,
    corpus: Corpus,
    checksum: str,
    references: Mapping[str, Records] = MappingProxyType({}),
    other: Sequence[Example] = (),
    past: Sequence[recall.Past] = (),
    given: Given = NOTHING,
) -> None:
    link = sequence.link(folder, [each.request for each in past])

    def write() -> None:
        resumed = folder.claim(identity)
        folder.write_text(RunFolder.RECIPE, recipes.dump(recipe, beside=folder.path))
        folder.write_json(RunFolder.ENVIRONMENT, describe(recipe, corpus, checksum) | link)
        for name, reference in references.items():
            write_records(folder, f"reference/{name}.parquet", reference)
        if other:
            preferred.write(folder, other)
        given.write(folder)
        if recipe.data.own_words is not None:
            own_words.write(folder, corpus.retain)
        if other and not resumed:
            folder.append_progress(preferred.note(other))

    processes.on_main(write)


def fit(
    recipe: Recipe,
    model: Any,
    method: Procedure,
    rows: loop.Rows,
    folder: RunFolder,
    probe: loop.Probe | None,
    watch: Watch,
) -> tuple[loop.Outcome, float]:
    """Run the method; returns how it ended, and its seconds over all resumes."""
    began = time.perf_counter()

    def note(event: dict[str, Any]) -> None:
        if not processes.is_main():
            return
        if event["event"] == "resume":
            folder.truncate_progress(event["step"])
            folder.append_progress({"event": "plan", "steps": event["steps"]})
        else:
            folder.append_progress(event)
        watch(event)

    setting = Setting(
        rows=rows,
        training=recipe.training,
        seed=recipe.seed,
        probe=probe,
        watch=note,
        folder=folder.at(RunFolder.CHECKPOINTS),
    )
    outcome = method.run(model, setting)
    seconds = time.perf_counter() - began
    note({"event": "phase", "name": "training", "seconds": round(seconds, 2)})
    note({"event": "kept", "step": outcome.kept, "scores": dict(outcome.scores)})
    parts = (e["seconds"] for e in folder.progress() if e.get("name") == "training")
    return outcome, float(sum(parts))


def to_save(model: Any, again: Callable[[], Any]) -> Any:
    """Return the trained model as it is saved: a sharded one whole, on the main process only.

    ``again`` makes the model as it was before training, in the main process's own memory.
    """
    if not is_sharded(model):
        return model
    trained = trained_state(model)
    if not processes.is_main():
        return None
    fresh = again()
    load_trained(fresh, trained)
    if has_adapter(model):
        set_gain(fresh, gains(model)["default"])
    return fresh
