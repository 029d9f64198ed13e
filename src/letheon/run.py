"""The composition root: a recipe -> corpus, models, objective, loop, scores -> a run folder.

``train`` makes a target or gold model, ``unlearn`` makes a model forget, ``validate`` checks all
that can be checked without training. Each is resumable: the same recipe in the same folder goes
on where it was killed, and a finished run is returned as it is.
"""

from __future__ import annotations

__all__ = ["evaluate", "merge", "prepare", "rehearse", "train", "unlearn", "validate"]

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from peft import PeftModel

from letheon import models
from letheon import recipe as recipes
from letheon.adapters import BoundedLoraConfig
from letheon.data.batch import pad_id
from letheon.data.example import Corpus, Example
from letheon.data.template import Encoded, Template
from letheon.errors import FolderError
from letheon.evaluation.records import Texts
from letheon.folder import RunFolder, environment, replacing
from letheon.metrics.records import Records, read, write
from letheon.objectives.contract import Objective
from letheon.parts import adapt, corpus_of, objective_of
from letheon.recipe import ModelSource, Recipe
from letheon.scoring import SETS, Scorer
from letheon.training import loop

# Where a trained model keeps its records, by paraphrase set.
_RECORDS = {"validation": "validation.parquet", "scoring": RunFolder.EXAMPLES}

Watch = Callable[[dict[str, Any]], None]


class _Known(NamedTuple):
    """A model that is compared with: its checkpoint, its records by paraphrase set, its seed."""

    source: ModelSource
    records: Mapping[str, Records]
    seed: int | None


def train(recipe: Recipe, out: Path, *, watch: Watch = lambda event: None) -> RunFolder:
    """Train the model of a ``train`` recipe; writes ``merged/``, records and scores into ``out``.

    Raises RecipeError, DataError, ModelError, FolderError for wrong input before anything is
    written, DivergedError or StorageError at run time.
    """
    corpus = corpus_of(recipe.data)
    folder = RunFolder(out)
    objective = objective_of(recipe.objective)
    loaded = _made_or_loaded(recipe, corpus)
    rows = _training_rows(recipe, corpus, loaded.tokenizer)
    if _begin(folder, recipe, corpus, loaded.checksum):
        return folder
    seconds = _fit(recipe, loaded.model, objective, rows, folder, None, watch)
    with folder.replacing(RunFolder.MERGED) as fresh:
        models.save(loaded.model, loaded.tokenizer, fresh)
    scorer = _scorer(recipe, loaded, corpus)
    for which in SETS:
        records, texts = scorer.records(loaded.model, which, watch)
        _write(folder, _RECORDS[which], records)
    _write_texts(folder, texts)
    role = "target" if "forget" in recipe.train_on else "gold"
    _finish(folder, recipe, scorer.scores(records, None), role, seconds)
    return folder


def prepare(recipe: Recipe, which: str, *, home: Path, watch: Watch = lambda event: None) -> None:
    """Train the model that a recipe names by a recipe, unless it is in ``home`` already.

    ``which``: ``model``, ``selection`` or ``scoring``.
    """
    source = recipe.model if which == "model" else getattr(recipe.gold, which)
    _known(source, recipe, corpus_of(recipe.data), home, watch)


def unlearn(
    recipe: Recipe, out: Path, *, home: Path | None = None, watch: Watch = lambda event: None
) -> RunFolder:
    """Make the recipe's model forget; writes adapter, merged checkpoint, records and scores.

    Models named by a recipe are trained first, into ``home`` (default: beside ``out``), when they
    are not there yet. With a gold model for scoring and another for selection the gate gives its
    verdict.
    """
    home = home or out.parent
    corpus = corpus_of(recipe.data)
    objective = objective_of(recipe.objective)
    target = _known(recipe.model, recipe, corpus, home, watch)
    selection = _known(recipe.gold.selection, recipe, corpus, home, watch)
    scoring = _known(recipe.gold.scoring, recipe, corpus, home, watch)
    assert target is not None

    folder = RunFolder(out)
    loaded = models.load(target.source)
    model = adapt(loaded.model, recipe.adapter, seed=recipe.seed)
    scorer = _scorer(recipe, loaded, corpus)
    rows = _unlearning_rows(recipe, corpus, loaded.tokenizer)
    if _begin(folder, recipe, corpus, loaded.checksum):
        return folder
    probe = scorer.probe(
        target.records["validation"], selection.records["validation"] if selection else None
    )
    seconds = _fit(recipe, model, objective, rows, folder, probe, watch)

    records, texts = scorer.records(model, "scoring", watch)
    _write(folder, RunFolder.EXAMPLES, records)
    _write_texts(folder, texts)
    _save(model, loaded.tokenizer, recipe, folder)
    before = target.records["scoring"]
    gold = scoring.records["scoring"] if scoring else None
    second = selection.records["scoring"] if selection else None
    known = {"target": target, "gold": scoring, "second_gold": selection}
    for name, reference in known.items():
        if reference is not None:
            _write(folder, f"reference/{name}.parquet", reference.records["scoring"])
    oracle = selection is not None and recipe.gold.selection == recipe.gold.scoring
    payload = scorer.scores(records, gold) | {"oracle": oracle}
    if gold is not None and second is not None:
        payload["gate"] = scorer.verdict(records, before, gold, second, oracle=oracle)
    seeds = {name: reference.seed for name, reference in known.items() if reference}
    _finish(folder, recipe, payload | {"reference_seeds": seeds}, "method", seconds)
    return folder


def rehearse(recipe: Recipe, *, home: Path, watch: Watch) -> loop.Outcome:
    """Unlearn without writing a run folder: for searches that need only the probe's scores."""
    corpus = corpus_of(recipe.data)
    target = _known(recipe.model, recipe, corpus, home, watch)
    selection = _known(recipe.gold.selection, recipe, corpus, home, watch)
    assert target is not None
    loaded = models.load(target.source)
    model = adapt(loaded.model, recipe.adapter, seed=recipe.seed)
    return loop.run(
        model,
        objective_of(recipe.objective),
        _unlearning_rows(recipe, corpus, loaded.tokenizer),
        recipe.training,
        seed=recipe.seed,
        probe=_scorer(recipe, loaded, corpus).probe(
            target.records["validation"], selection.records["validation"] if selection else None
        ),
        watch=watch,
    )


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
    corpus = corpus_of(recipe.data)
    known = _known(recipe.gold.scoring, recipe, corpus, home, watch)
    loaded = models.load(ModelSource(path=model))
    folder = RunFolder(out)
    if _begin(folder, recipe, corpus, loaded.checksum):
        return folder
    scorer = _scorer(recipe, loaded, corpus)
    began = time.perf_counter()
    records, texts = scorer.records(loaded.model, "scoring", watch)
    _write(folder, RunFolder.EXAMPLES, records)
    _write_texts(folder, texts)
    payload = scorer.scores(records, known.records["scoring"] if known else None)
    _finish(folder, recipe, payload, "method", time.perf_counter() - began)
    return folder


def validate(recipe: Recipe) -> list[str]:
    """Check a recipe without training or writing; returns what was checked, one line each.

    Raises what ``train`` or ``unlearn`` would raise before their first step.
    """
    corpus = corpus_of(recipe.data)
    objective = objective_of(recipe.objective)
    lines = [
        f"data: {corpus.name} {corpus.version}, {len(corpus.forget)} forget and "
        f"{len(corpus.retain)} retain rows",
        f"objective: {objective}",
    ]
    sources = {"model": recipe.model, "gold.selection": recipe.gold.selection}
    sources["gold.scoring"] = recipe.gold.scoring
    for name, source in sources.items():
        if source is not None and source.recipe is not None:
            child = _child(source, recipe)
            lines.append(f"{name}: made by the recipe {child.name}, seed {child.seed}")
            source = child.model
        if source is not None and name == "model":
            loaded = (
                models.load(source)
                if source.make is None
                else models.make(source.make, _texts(corpus), seed=recipe.seed)
            )
            adapt(loaded.model, recipe.adapter, seed=recipe.seed)
            count = sum(p.numel() for p in loaded.model.parameters())
            lines.append(f"{name}: {loaded.model.config.model_type}, {count:,} parameters")
    return lines


def _known(
    source: ModelSource | None, recipe: Recipe, corpus: Corpus, home: Path, watch: Watch
) -> _Known | None:
    if source is None:
        return None
    if source.recipe is None:
        loaded = models.load(source)
        scorer = _scorer(recipe, loaded, corpus)
        return _Known(source, {s: scorer.records(loaded.model, s, watch)[0] for s in SETS}, None)
    child = _child(source, recipe)
    place = home / f"{child.name}-{child.fingerprint(corpus.checksums)[:10]}"
    if not RunFolder(place).at(RunFolder.MANIFEST).is_file():
        watch({"event": "phase", "name": f"train {child.name}, seed {child.seed}"})
    folder = train(child, place, watch=watch)
    records = {which: read(folder.at(_RECORDS[which])) for which in SETS}
    return _Known(ModelSource(path=str(folder.at(RunFolder.MERGED))), records, child.seed)


def _child(source: ModelSource, parent: Recipe) -> Recipe:
    """The training recipe of a model, on the parent's data."""
    child = recipes.load(str(source.recipe))
    changed: dict[str, Any] = {"data": parent.data, "template": parent.template}
    if source.seed is not None:
        changed["seed"] = source.seed
    return child.model_copy(update=changed)


def _made_or_loaded(recipe: Recipe, corpus: Corpus) -> models.Loaded:
    if recipe.model.make is None:
        return models.load(recipe.model)
    return models.make(recipe.model.make, _texts(corpus), seed=recipe.seed)


def _scorer(recipe: Recipe, loaded: models.Loaded, corpus: Corpus) -> Scorer:
    template = Template(recipe.template, eos=corpus.eos)
    return Scorer(loaded.tokenizer, template, corpus, recipe.evaluation)


def _training_rows(recipe: Recipe, corpus: Corpus, tokenizer: Any) -> loop.Rows:
    learn = [e for role in recipe.train_on for e in getattr(corpus, role)]
    return loop.Rows([], _encode(learn, recipe, corpus, tokenizer), pad_id(tokenizer))


def _unlearning_rows(recipe: Recipe, corpus: Corpus, tokenizer: Any) -> loop.Rows:
    return loop.Rows(
        _encode(corpus.forget, recipe, corpus, tokenizer),
        _encode(corpus.retain, recipe, corpus, tokenizer),
        pad_id(tokenizer),
    )


def _encode(examples: Any, recipe: Recipe, corpus: Corpus, tokenizer: Any) -> list[Encoded]:
    template = Template(recipe.template, eos=corpus.eos)
    return [template.encode(tokenizer, e.question, e.answer, e.facts) for e in examples]


def _texts(corpus: Corpus) -> list[str]:
    seen: dict[str, None] = {}
    every: list[Example] = [*corpus.forget, *corpus.retain, *corpus.background]
    for example in [*every, *(e for split in corpus.evaluation.values() for e in split)]:
        seen[f"Question: {example.question}\nAnswer: {example.answer}"] = None
    return list(seen)


def _begin(folder: RunFolder, recipe: Recipe, corpus: Corpus, checksum: str) -> bool:
    """Claim the folder; True when the run in it is finished."""
    folder.claim(recipe.fingerprint({**corpus.checksums, "model": checksum}))
    if folder.at(RunFolder.MANIFEST).is_file():
        return True
    folder.write_text(RunFolder.RECIPE, recipes.dump(recipe))
    folder.write_json(RunFolder.ENVIRONMENT, _environment(recipe, corpus, checksum))
    return False


def _environment(recipe: Recipe, corpus: Corpus, checksum: str) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return environment() | {
        "accelerator": gpu,
        "threads": torch.get_num_threads(),
        "seed": recipe.seed,
        "data": dict(corpus.checksums),
        "model": checksum,
    }


def _fit(
    recipe: Recipe,
    model: Any,
    objective: Objective,
    rows: loop.Rows,
    folder: RunFolder,
    probe: loop.Probe | None,
    watch: Watch,
) -> float:
    """Run the loop; returns its seconds over all resumes."""
    checkpoint = folder.at(RunFolder.CHECKPOINTS) / "last.pt"
    began = time.perf_counter()

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "resume":
            folder.truncate_progress(event["step"])
            folder.append_progress({"event": "plan", "steps": event["steps"]})
        else:
            folder.append_progress(event)
        watch(event)

    outcome = loop.run(
        model,
        objective,
        rows,
        recipe.training,
        seed=recipe.seed,
        probe=probe,
        watch=note,
        checkpoint=checkpoint,
    )
    seconds = time.perf_counter() - began
    note({"event": "phase", "name": "training", "seconds": round(seconds, 2)})
    note({"event": "kept", "step": outcome.kept, "scores": dict(outcome.scores)})
    parts = (e["seconds"] for e in folder.progress() if e.get("name") == "training")
    return float(sum(parts))


def _save(model: Any, tokenizer: Any, recipe: Recipe, folder: RunFolder) -> None:
    if recipe.adapter is not None:
        with folder.replacing(RunFolder.ADAPTER) as fresh:
            model.save_pretrained(fresh)
    if recipe.merged or recipe.adapter is None:
        whole = model.merge_and_unload() if recipe.adapter is not None else model
        with folder.replacing(RunFolder.MERGED) as fresh:
            models.save(whole, tokenizer, fresh)


def merge(run_folder: Path, out: Path, *, base: str | None = None) -> Path:
    """Write the ordinary checkpoint of a run's adapter on its model into ``out``.

    ``base`` names the model where the adapter's own record of it no longer holds. Raises
    FolderError when the run has no adapter or ``out`` is not empty, ModelError for the model.
    """
    adapter = RunFolder(run_folder).at(RunFolder.ADAPTER)
    if not adapter.is_dir():
        raise FolderError(
            "A run that is merged has an adapter.",
            got=str(run_folder),
            remedy="Runs with full weights have a merged checkpoint already.",
        )
    if out.exists() and any(out.iterdir()):
        raise FolderError("A merge needs an empty folder.", got=str(out), remedy="Choose another.")
    config = BoundedLoraConfig.from_pretrained(str(adapter))
    loaded = models.load(ModelSource(path=base or config.base_model_name_or_path))
    model = PeftModel.from_pretrained(loaded.model, str(adapter)).merge_and_unload()
    with replacing(out) as fresh:
        models.save(model, loaded.tokenizer, fresh)
    return out


def _write(folder: RunFolder, name: str, records: Records) -> None:
    with folder.replacing(name) as fresh:
        write(records, fresh)


def _write_texts(folder: RunFolder, texts: Sequence[Texts]) -> None:
    lines = [json.dumps(dataclasses.asdict(t), ensure_ascii=False) + "\n" for t in texts]
    folder.write_text(f"{RunFolder.PRIVATE}/texts.jsonl", "".join(lines))


def _finish(
    folder: RunFolder, recipe: Recipe, payload: Mapping[str, Any], role: str, seconds: float
) -> None:
    steps = [e for e in folder.progress() if e["event"] == "step"]
    folder.write_json(
        RunFolder.SCORES,
        {
            "schema": 1,
            "run": {
                "name": recipe.name,
                "role": role,
                "method": recipe.objective.name if role == "method" else role,
                "bound": recipe.adapter.bound if recipe.adapter else None,
                "seed": recipe.seed,
                "cost": {
                    "seconds": round(seconds, 2),
                    "peak_bytes": int(np.max([e["peak_bytes"] for e in steps], initial=0)),
                },
            },
            "oracle": False,
            "gate": None,
            **payload,
        },
    )
    folder.write_manifest()
