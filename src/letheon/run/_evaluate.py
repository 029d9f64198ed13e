"""A checkpoint is scored, a recipe is checked, and nothing is trained."""

from __future__ import annotations

__all__ = ["evaluate", "validate"]

import time
from pathlib import Path

from letheon import models, processes, recall, sequence
from letheon.folder import RunFolder
from letheon.outputs import finish, write_records, write_texts
from letheon.parts import corpus_of
from letheon.recipe import ModelSource, Recipe, Training
from letheon.run._steps import (
    Watch,
    begin,
    checked,
    child_of,
    made_or_loaded,
    rows_of,
    scorer_of,
    to_score,
)
from letheon.run._train import named
from letheon.run._unlearn import Start, identity_of


def evaluate(
    recipe: Recipe,
    model: str,
    out: Path,
    *,
    home: Path | None = None,
    watch: Watch = lambda event: None,
) -> RunFolder:
    """Score the checkpoint ``model`` on the recipe's data, against its gold model if it has one."""
    home = home or out.parent
    watch = processes.only_main(watch)
    corpus, _ = checked(recipe, recipe.kind)
    folder = RunFolder(out)
    folder.check_free()
    loaded = to_score(ModelSource(path=model))
    identity = identity_of(recipe, corpus, loaded.checksum)
    if processes.on_main(lambda: folder.finished(identity)):
        return folder
    scorer = scorer_of(recipe, loaded, corpus)
    scorer.check_lengths(loaded.model)
    known = named(recipe.gold.scoring, recipe, corpus, home, watch)
    gold = known.records("scoring") if known else None
    begin(folder, identity, recipe, corpus, loaded.checksum)
    began = time.perf_counter()
    records, texts = scorer.records(loaded.model, "scoring", watch)

    def write() -> None:
        write_records(folder, RunFolder.EXAMPLES, records)
        write_texts(folder, texts)
        payload = scorer.scores(records, gold)
        finish(folder, recipe, payload, "method", time.perf_counter() - began)

    processes.on_main(write)
    return folder


def validate(recipe: Recipe) -> list[str]:
    """Check a recipe without training or writing; returns what was checked, one line each.

    Raises what ``train`` or ``unlearn`` would raise before their first step.
    """
    corpus, method = checked(recipe, recipe.kind)
    own = f", and {recipe.data.own_words} the model's own words" if recipe.data.own_words else ""
    lines = [
        f"data: {corpus.name} {corpus.version}, {len(corpus.forget)} forget and "
        f"{len(corpus.retain)} retain rows{own}",
        method.words,
        f"training: {_training(recipe.training)}",
    ]
    past = recall.remembered(sequence.chain(recipe), corpus_of)
    recall.check_apart(past, corpus)
    told = {each.request.name: each.reason or f"{len(each.rows)} rows are there" for each in past}
    lines += [f"after: {name}, {words}" for name, words in told.items()]
    sources = {"model": recipe.model, "gold.selection": recipe.gold.selection}
    sources["gold.scoring"] = recipe.gold.scoring
    for name, source in sources.items():
        if source is not None and source.recipe is not None:
            child = child_of(source, recipe)
            lines.append(f"{name}: made by the recipe {child.name}, seed {child.seed}")
            source = child.model
        if source is not None and name == "model":
            loaded = made_or_loaded(recipe.model_copy(update={"model": source}), corpus)
            start = Start.of(recipe, source, past)
            if past:
                loaded = models.load(start.source)
            scorer = scorer_of(recipe, loaded, corpus)
            model = start.model(loaded)
            rows = rows_of(recipe, scorer, method)
            method.check(rows, recipe.training, model)
            scorer.check_lengths(model)
            scorer.check_rows(model, rows.preferred)
            count = sum(p.numel() for p in model.parameters())
            lines.append(f"{name}: {model.config.model_type}, {count:,} parameters")
    return lines


def _training(training: Training) -> str:
    """Say what the loop will do: how long, how fast, by which scores."""
    kept = f" and {training.retain_batch_size} to keep" if training.retain_batch_size else ""
    length = f"{training.steps} steps" if training.steps else f"{training.epochs:g} epochs"
    words = [f"{length} of {training.batch_size} rows{kept}", f"learning rate {training.lr:g}"]
    for key, rule in (("ends where", training.stop_at), ("ends unless", training.stop_below)):
        if rule is not None:
            side = "at least" if rule.direction == "up" else "at most"
            words.append(f"{key} {rule.score} is {side} {rule.value:g}")
    if training.select is not None:
        words.append(f"keeps the step with the best {training.select.score}")
    return "; ".join(words)
