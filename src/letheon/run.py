"""The composition root: a recipe -> corpus, models, objective, loop, scores -> a run folder.

``train`` makes a target or gold model, ``unlearn`` makes a model forget, ``validate`` checks all
that can be checked without training. Each is resumable: the same recipe in the same folder goes
on where it was killed, and a finished run is returned as it is.

Of several processes each calls the same function with the same arguments. Each trains on its share
of the rows and evaluates on all of them, since a sharded model needs every process for every
forward pass; the main one alone writes, and what it decides or fails of holds for all.
"""

from __future__ import annotations

__all__ = [
    "child_of",
    "evaluate",
    "gold_limit",
    "prepare",
    "rehearse",
    "rows_of",
    "scorer_of",
    "train",
    "unlearn",
    "validate",
]

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from letheon import models, own_words, preferred, processes, recall, sequence
from letheon import recipe as recipes
from letheon.adapters.arithmetic import gains, set_gain
from letheon.data.batch import pad_id
from letheon.data.example import Corpus, Example
from letheon.data.template import Template
from letheon.errors import DataError, MetricError, RecipeError
from letheon.evaluation.records import Texts
from letheon.folder import RunFolder
from letheon.given import NOTHING, Given
from letheon.metrics.records import Records, read
from letheon.outputs import describe, ended, finish, save, write_records, write_texts
from letheon.parts import adapt, corpus_of, encode, longest_piece, texts_of
from letheon.procedures.contract import CommonLoop, Procedure, Setting, method_of
from letheon.recipe import Adapter, ModelSource, Recipe
from letheon.scoring import Scorer, asks, check_metrics, check_rules, distance_limit
from letheon.training import loop
from letheon.training.checkpoint import load_trained, trained_state
from letheon.training.forward import has_adapter
from letheon.training.informed import inform
from letheon.training.parallel import is_sharded

# Where a trained model keeps its records, by paraphrase set.
_RECORDS = {"validation": "validation.parquet", "scoring": RunFolder.EXAMPLES}

_NO_GATE = (
    "It compares with two models trained without the forget rows, which are not there: whether "
    "the model is now like one that never saw them cannot be said. Give gold.selection and "
    "gold.scoring for a verdict."
)

Watch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class _Known:
    """A model that is compared with: its checkpoint, its records by paraphrase set, its seed.

    ``texts``: what it answered when its records for scoring were made; nothing of a model that a
    recipe trained, which has them in its own run folder.
    """

    source: ModelSource
    records: Callable[[str], Records]
    seed: int | None
    texts: Callable[[], Sequence[Texts]] = tuple


@dataclass(frozen=True)
class _Start:
    """What forgets: a checkpoint, adapters of earlier requests that stay on it, and a new one."""

    source: ModelSource
    below: Sequence[Path]
    adapter: Adapter | None
    seed: int

    @classmethod
    def of(cls, recipe: Recipe, target: ModelSource, past: Sequence[recall.Past]) -> _Start:
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


def train(recipe: Recipe, out: Path, *, watch: Watch = lambda event: None) -> RunFolder:
    """Train the model of a ``train`` recipe; writes ``merged/``, records and scores into ``out``.

    Raises RecipeError, DataError, ModelError, FolderError for wrong input before anything is
    written, DivergedError or StorageError at run time.
    """
    watch = processes.only_main(watch)
    corpus, method = _checked(recipe, "train")
    folder = RunFolder(out)
    folder.check_free()
    loaded = _made_or_loaded(recipe, corpus)
    identity = recipe.fingerprint({**corpus.checksums, "model": loaded.checksum})
    if processes.on_main(lambda: folder.finished(identity)):
        return folder
    scorer = scorer_of(recipe, loaded, corpus)
    rows = rows_of(recipe, scorer, method)
    method.check(rows, recipe.training, loaded.model)
    scorer.check_lengths(loaded.model)
    _begin(folder, identity, recipe, corpus, loaded.checksum)
    _, seconds = _fit(recipe, loaded.model, method, rows, folder, None, watch)
    records, texts = scorer.records(loaded.model, "scoring", watch)
    validation, _ = scorer.records(loaded.model, "validation", watch, spoken=records)
    model = _to_save(loaded.model, lambda: _made_or_loaded(recipe, corpus).model)
    role = "target" if "forget" in recipe.train_on else "gold"

    def write() -> None:
        write_records(folder, _RECORDS["scoring"], records)
        write_records(folder, _RECORDS["validation"], validation)
        write_texts(folder, texts)
        with folder.replacing(RunFolder.MERGED) as fresh:
            models.save(model, loaded.tokenizer, fresh)
        finish(folder, recipe, scorer.scores(records, None), role, seconds)

    processes.on_main(write)
    return folder


def prepare(recipe: Recipe, which: str, *, home: Path, watch: Watch = lambda event: None) -> None:
    """Train the model that a recipe names by a recipe, unless it is in ``home`` already.

    ``which``: ``model``, ``selection`` or ``scoring``.
    """
    source = recipe.model if which == "model" else getattr(recipe.gold, which)
    _known(source, recipe, corpus_of(recipe.data), home, watch)


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
    corpus, method = _checked(recipe, "unlearn", given)
    folder = RunFolder(out)
    folder.check_free()
    past = recall.remembered(sequence.chain(recipe), corpus_of)
    recall.check_apart(past, corpus)
    target = _known(recipe.model, recipe, corpus, home, watch, given.model)
    assert target is not None
    start = _Start.of(recipe, target.source, past)
    loaded = given.model or models.load(start.source)
    identity = _identity(recipe, corpus, loaded.checksum)
    if processes.on_main(lambda: folder.finished(identity)):
        return folder
    model = start.model(loaded)
    scorer = scorer_of(recipe, loaded, corpus)
    if recipe.data.own_words is not None:
        scorer = _with_own_words(recipe, model, scorer, folder)
        corpus = scorer.corpus
        target = _known(recipe.model, recipe, corpus, home, watch, given.model) or target
    rows, other = _spoken(recipe, model, scorer, method, folder)
    selection = _known(recipe.gold.selection, recipe, corpus, home, watch)
    scoring = _known(recipe.gold.scoring, recipe, corpus, home, watch)
    probe = _probe(scorer, target, selection, recipe, model)
    known = {"target": target, "gold": scoring, "second_gold": selection}
    references = {name: each.records("scoring") for name, each in known.items() if each}
    if recipe.evaluation.metrics is not None:
        scorer.scores(references["target"], references.get("gold"))
    gold_past = _recalled(scorer, past, scoring and _to_score(scoring.source).model, watch)
    _begin(folder, identity, recipe, corpus, loaded.checksum, references, other, past, given)
    if other:
        watch(preferred.note(other))
    if recipe.adapter is not None:
        file = folder.at(RunFolder.CHECKPOINTS) / "start.safetensors"
        inform(model, recipe.adapter, rows, seed=start.seed, file=file, watch=watch)
    outcome, seconds = _fit(recipe, model, method, rows, folder, probe, watch)
    records, texts = scorer.records(model, "scoring", watch)
    own_past = _recalled(scorer, past, model, watch)
    model = _to_save(model, lambda: start.model(models.load(start.source)))

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
    corpus, method = _checked(recipe, "unlearn")
    target = _known(recipe.model, recipe, corpus, home, watch)
    selection = _known(recipe.gold.selection, recipe, corpus, home, watch)
    assert target is not None
    start = _Start.of(recipe, target.source, recall.remembered(sequence.chain(recipe), corpus_of))
    loaded = models.load(start.source)
    scorer = scorer_of(recipe, loaded, corpus)
    model = start.model(loaded)
    if recipe.data.own_words is not None:
        scorer = _with_own_words(recipe, model, scorer, None)
        target = _known(recipe.model, recipe, scorer.corpus, home, watch) or target
    rows, _ = _spoken(recipe, model, scorer, method, None)
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


def gold_limit(recipe: Recipe, *, home: Path, watch: Watch = lambda event: None) -> float:
    """Return the largest gold distance that a probe may show to pass, from the two gold models.

    Raises RecipeError unless the recipe has both, MetricError where the data allow no distance.
    """
    corpus, _ = _checked(recipe, "unlearn")
    gold = _known(recipe.gold.selection, recipe, corpus, home, watch)
    second = _known(recipe.gold.scoring, recipe, corpus, home, watch)
    if gold is None or second is None:
        raise RecipeError(
            "A limit needs two gold models.",
            got=f"{recipe.name} without one of them",
            remedy="Name gold.selection and gold.scoring.",
        )
    return distance_limit(gold.records("validation"), second.records("validation"))


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
    corpus, _ = _checked(recipe, recipe.kind)
    folder = RunFolder(out)
    folder.check_free()
    loaded = _to_score(ModelSource(path=model))
    identity = _identity(recipe, corpus, loaded.checksum)
    if processes.on_main(lambda: folder.finished(identity)):
        return folder
    scorer = scorer_of(recipe, loaded, corpus)
    scorer.check_lengths(loaded.model)
    known = _known(recipe.gold.scoring, recipe, corpus, home, watch)
    gold = known.records("scoring") if known else None
    _begin(folder, identity, recipe, corpus, loaded.checksum)
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
    corpus, method = _checked(recipe, recipe.kind)
    lines = [
        f"data: {corpus.name} {corpus.version}, {len(corpus.forget)} forget and "
        f"{len(corpus.retain)} retain rows",
        method.words,
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
            loaded = _made_or_loaded(recipe.model_copy(update={"model": source}), corpus)
            start = _Start.of(recipe, source, past)
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


def _checked(recipe: Recipe, kind: str, given: Given = NOTHING) -> tuple[Corpus, Procedure]:
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


def _known(
    source: ModelSource | None,
    recipe: Recipe,
    corpus: Corpus,
    home: Path,
    watch: Watch,
    given: models.Loaded | None = None,
) -> _Known | None:
    if source is None:
        return None
    if source.recipe is None:

        @cache
        def evaluated(which: str) -> tuple[Records, Sequence[Texts]]:
            loaded = given or _to_score(source)
            return scorer_of(recipe, loaded, corpus).records(loaded.model, which, watch)

        return _Known(
            source, lambda which: evaluated(which)[0], None, lambda: evaluated("scoring")[1]
        )
    child = child_of(source, recipe)
    place = home / f"{child.name}-{child.fingerprint(corpus.checksums)[:10]}"
    if not RunFolder(place).at(RunFolder.MANIFEST).is_file():
        watch({"event": "phase", "name": f"train {child.name}, seed {child.seed}"})
    folder = train(child, place, watch=watch)
    merged = ModelSource(path=str(folder.at(RunFolder.MERGED)))
    return _Known(merged, lambda which: read(folder.at(_RECORDS[which])), child.seed)


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


def _identity(recipe: Recipe, corpus: Corpus, checksum: str) -> str:
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


def _with_own_words(recipe: Recipe, model: Any, scorer: Scorer, folder: RunFolder | None) -> Scorer:
    """Return the scorer of a corpus that retains what ``model``, still untouched, says itself."""
    corpus, count = scorer.corpus, recipe.data.own_words
    assert count is not None
    rows = own_words.kept(folder) if folder else None
    if rows is None:
        rows = own_words.made(scorer.asks_itself(model), corpus.forget, count, recipe.seed)
    evaluation = {**corpus.evaluation, "retain": rows}
    return replace(scorer, corpus=replace(corpus, retain=rows, evaluation=evaluation))


def _probe(
    scorer: Scorer, target: _Known, selection: _Known | None, recipe: Recipe, model: Any
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


def _made_or_loaded(recipe: Recipe, corpus: Corpus) -> models.Loaded:
    if recipe.model.make is None:
        return models.load(recipe.model)
    return models.make(recipe.model.make, texts_of(corpus), seed=recipe.seed)


def _to_score(source: ModelSource) -> models.Loaded:
    """Load a model that is only evaluated, where this process computes: the loop places others."""
    loaded = models.load(source)
    loaded.model.to(processes.device())
    return loaded


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


def _spoken(
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


def _begin(
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


def _to_save(model: Any, again: Callable[[], Any]) -> Any:
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


def _fit(
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
