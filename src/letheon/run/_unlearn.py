"""A model is made to forget, measured and judged."""

from __future__ import annotations

__all__ = ["Start", "identity_of", "rehearse", "unlearn"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from letheon import models, own_words, preferred, processes, recall, sequence
from letheon.data.example import Corpus, Example
from letheon.errors import MetricError
from letheon.folder import RunFolder
from letheon.given import NOTHING, Given
from letheon.metrics.records import Records
from letheon.outputs import ended, finish, save, write_records, write_texts
from letheon.parts import adapt, corpus_of, encode
from letheon.procedures.contract import Procedure, Setting
from letheon.recipe import Adapter, ModelSource, Recipe
from letheon.run._steps import (
    Watch,
    begin,
    checked,
    child_of,
    fit,
    rows_of,
    scorer_of,
    to_save,
    to_score,
)
from letheon.run._train import Known, named
from letheon.scoring import Scorer, asks
from letheon.training import loop
from letheon.training.informed import inform

_NO_GATE = (
    "the gate compares with two models trained without the forget rows, which are not there: "
    "whether the model is now like one that never saw them cannot be said. Give gold.selection and "
    "gold.scoring for a verdict."
)


@dataclass(frozen=True)
class Start:
    """What forgets: a checkpoint, adapters of earlier requests that stay on it, and a new one."""

    source: ModelSource
    below: Sequence[Path]
    adapter: Adapter | None
    seed: int

    @classmethod
    def of(cls, recipe: Recipe, target: ModelSource, past: Sequence[recall.Past]) -> Start:
        """Return what the recipe's run starts from: ``target``, or what the ``past`` left.

        Raises RecipeError when the target is not the model that the past began with.
        """
        if not past:
            return cls(target, (), recipe.adapter, recipe.seed)
        earlier = [each.request for each in past]
        place = str(target.path)
        sequence.check_origin(earlier, place, models.checksum(Path(place)))
        source, below = sequence.start(recipe, earlier)
        return cls(source, below, recipe.adapter, sequence.seed_of(recipe, earlier))

    def model(self, loaded: models.Loaded) -> Any:
        """Return the checkpoint with its adapters."""
        return adapt(loaded.model, self.adapter, seed=self.seed, below=self.below)


def unlearn(
    recipe: Recipe,
    out: Path,
    *,
    home: Path | None = None,
    watch: Watch = lambda event: None,
    given: Given = NOTHING,
) -> RunFolder:
    """Make the recipe's model forget; writes adapter, merged checkpoint, records and scores.

    ``given`` objects take the place of what the recipe names; a model among them is changed.

    Models named by a recipe are trained first, into ``home`` (default: beside ``out``), when they
    are not there yet. With a gold model for scoring and another for selection the gate gives its
    verdict. Raises as ``train`` does; of wrong input nothing is in ``out``.
    """
    home = home or out.parent
    watch = processes.only_main(watch)
    corpus, method = checked(recipe, "unlearn", given)
    folder = RunFolder(out)
    folder.check_free()
    past = recall.remembered(sequence.chain(recipe), corpus_of)
    recall.check_apart(past, corpus)
    target = named(recipe.model, recipe, corpus, home, watch)
    assert target is not None
    start = Start.of(recipe, target.source, past)
    loaded = given.model or models.load(start.source)
    # What forgets is the target before its first step: measured then, it needs no second copy.
    alone = loaded if start.source == recipe.model and processes.count() == 1 else given.model
    if alone is not None:
        target = named(recipe.model, recipe, corpus, home, watch, alone) or target
    identity = identity_of(recipe, corpus, loaded.checksum)
    if processes.on_main(lambda: folder.finished(identity)):
        return folder
    model = start.model(loaded)
    scorer = scorer_of(recipe, loaded, corpus)
    if recipe.data.own_words is not None:
        scorer = _with_own_words(recipe, model, scorer, folder)
        corpus = scorer.corpus
        target = named(recipe.model, recipe, corpus, home, watch, alone) or target
    rows, other = spoken(recipe, model, scorer, method, folder)
    selection = named(recipe.gold.selection, recipe, corpus, home, watch)
    scoring = named(recipe.gold.scoring, recipe, corpus, home, watch)
    probe = _probe(scorer, target, selection, recipe, model)
    known = {"target": target, "gold": scoring, "second_gold": selection}
    references = {name: each.records("scoring") for name, each in known.items() if each}
    if recipe.evaluation.metrics is not None:
        scorer.scores(references["target"], references.get("gold"))
    gold_past = _recalled(scorer, past, scoring and to_score(scoring.source).model, watch)
    begin(folder, identity, recipe, corpus, loaded.checksum, references, other, past, given)
    if other:
        watch(preferred.note(other))
    if recipe.adapter is not None:
        file = folder.at(RunFolder.CHECKPOINTS) / "start.safetensors"
        inform(model, recipe.adapter, rows, seed=start.seed, file=file, watch=watch)
    outcome, seconds = fit(recipe, model, method, rows, folder, probe, watch)
    records, texts = scorer.records(model, "scoring", watch)
    own_past = _recalled(scorer, past, model, watch)
    model = to_save(model, lambda: start.model(models.load(start.source)))

    def write() -> None:
        write_records(folder, RunFolder.EXAMPLES, records)
        write_texts(folder, texts)
        for name in ("target", "gold"):
            if (each := known[name]) and (told := each.texts()):
                write_texts(folder, told, f"reference/{name}")
        save(model, loaded.tokenizer, recipe, folder)
        oracle = selection is not None and recipe.gold.selection == recipe.gold.scoring
        payload = scorer.scores(records, references.get("gold")) | {"oracle": oracle}
        before = scorer.scores(references["target"], references.get("gold"))["scores"]
        payload |= {"before": before, "ended": ended(recipe.training, outcome)}
        if len(references) == len(known):
            payload |= _gate(scorer, records, references, oracle, payload["skipped"])
        else:
            payload["skipped"].append({"name": "gate", "reason": _NO_GATE})
        for place, columns in own_past.items():
            write_records(folder, f"{place}.parquet", columns)
        for place, columns in gold_past.items():
            write_records(folder, f"{place}-gold.parquet", columns)
        if past:
            gold = references.get("gold")
            payload["sequence"] = recall.told(
                past,
                folder,
                how=recipe.after.how if recipe.after else "",
                records=records,
                gold=gold,
                found={k: (v, gold_past.get(k)) for k, v in own_past.items()},
                utility={
                    "target": scorer.scores(references["target"], None)["scores"],
                    recipe.name: payload["scores"],
                },
            )
        seeds = {name: each.seed for name, each in known.items() if each}
        finish(folder, recipe, payload | {"reference_seeds": seeds}, "method", seconds)

    processes.on_main(write)
    return folder


def rehearse(recipe: Recipe, *, home: Path, watch: Watch) -> loop.Outcome:
    """Unlearn without writing a run folder: for searches that need only the probe's scores."""
    corpus, method = checked(recipe, "unlearn")
    target = named(recipe.model, recipe, corpus, home, watch)
    selection = named(recipe.gold.selection, recipe, corpus, home, watch)
    assert target is not None
    start = Start.of(recipe, target.source, recall.remembered(sequence.chain(recipe), corpus_of))
    loaded = models.load(start.source)
    scorer = scorer_of(recipe, loaded, corpus)
    model = start.model(loaded)
    if recipe.data.own_words is not None:
        scorer = _with_own_words(recipe, model, scorer, None)
        target = named(recipe.model, recipe, scorer.corpus, home, watch) or target
    rows, _ = spoken(recipe, model, scorer, method, None)
    if recipe.adapter is not None:
        inform(model, recipe.adapter, rows, seed=start.seed, watch=watch)
    setting = Setting(
        rows=rows,
        training=recipe.training,
        seed=recipe.seed,
        probe=_probe(scorer, target, selection, recipe, model),
        watch=watch,
    )
    return method.run(model, setting)


def spoken(
    recipe: Recipe, model: Any, scorer: Scorer, method: Procedure, folder: RunFolder | None
) -> tuple[loop.Rows, Sequence[Example]]:
    """Check the run's rows, let ``model`` speak where it must, and return them with what it said.

    What ``folder`` has of an earlier start is not said again.
    """
    rows = rows_of(recipe, scorer, method)
    method.check(rows, recipe.training, model)
    scorer.check_lengths(model)
    forget = scorer.corpus.forget
    other = preferred.kept(folder, forget) if folder and method.needs.preferred else None
    if other is None:
        other = preferred.made(method, forget, scorer.speaker(model), recipe.seed)
    rows = replace(rows, preferred=encode(other, scorer.template, scorer.tokenizer))
    scorer.check_rows(model, rows.preferred)
    return rows, other


def _with_own_words(recipe: Recipe, model: Any, scorer: Scorer, folder: RunFolder | None) -> Scorer:
    """Return the scorer of a corpus that retains what ``model``, still untouched, says itself."""
    corpus, count = scorer.corpus, recipe.data.own_words
    assert count is not None
    rows = own_words.kept(folder) if folder else None
    if rows is None:
        rows = own_words.made(scorer.asks_itself(model), corpus.forget, count, recipe.seed)
    evaluation = {**corpus.evaluation, "retain": rows}
    return scorer.on(replace(corpus, retain=rows, evaluation=evaluation))


def identity_of(recipe: Recipe, corpus: Corpus, checksum: str) -> str:
    """Name the run: gold models decide its scores, and the recipe's hash leaves their paths out."""
    marks = {**corpus.checksums, "model": checksum}
    if recipe.after is not None:
        marks["after"] = RunFolder(recipe.after.run).identity()
    for name in ("selection", "scoring"):
        source: ModelSource | None = getattr(recipe.gold, name)
        if source is not None:
            marks[f"gold.{name}"] = (
                child_of(source, recipe).fingerprint(corpus.checksums)
                if source.recipe is not None
                else models.checksum(Path(str(source.path))) or f"{source.path}"
            )
    return recipe.fingerprint(marks)


def _probe(
    scorer: Scorer, target: Known, selection: Known | None, recipe: Recipe, model: Any
) -> loop.Probe:
    """Return the probe; ``model`` is the one that will forget, before its first step."""
    gold = selection.records("validation") if selection else None
    known = scorer.known(model) if asks(recipe.training, "swap_gap") else None
    return scorer.probe(target.records("validation"), gold, recipe.training, known=known)


def _gate(
    scorer: Scorer,
    records: Records,
    references: Mapping[str, Records],
    oracle: bool,
    skipped: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the verdict, or why the data allow none."""
    target, gold, second = (references[name] for name in ("target", "gold", "second_gold"))
    try:
        return {"gate": scorer.verdict(records, target, gold, second, oracle=oracle)}
    except MetricError as error:
        return {"skipped": [*skipped, {"name": "gate", "reason": str(error)}]}


def _recalled(
    scorer: Scorer, past: Sequence[recall.Past], model: Any, watch: Watch
) -> dict[str, Records]:
    """Return what ``model`` says of the rows of earlier requests, by place; nothing of no model."""
    if model is None:
        return {}
    return {
        each.place: scorer.on(replace(scorer.corpus, evaluation={"forget": each.rows})).records(
            model, "scoring", watch
        )[0]
        for each in past
        if each.rows
    }
