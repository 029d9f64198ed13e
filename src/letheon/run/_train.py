"""Target and gold models: trained, found again, measured."""

from __future__ import annotations

__all__ = ["Known", "gold_limit", "named", "prepare", "train"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from letheon import models, processes
from letheon.data.example import Corpus
from letheon.errors import RecipeError
from letheon.evaluation.records import Texts
from letheon.folder import RunFolder
from letheon.metrics.records import Records, read
from letheon.outputs import finish, write_records, write_texts
from letheon.parts import corpus_of
from letheon.recipe import ModelSource, Recipe
from letheon.run._steps import (
    Watch,
    begin,
    checked,
    child_of,
    fit,
    made_or_loaded,
    rows_of,
    scorer_of,
    to_save,
    to_score,
)
from letheon.scoring import distance_limit

# Where a trained model keeps its records, by paraphrase set.
_RECORDS = {"validation": "validation.parquet", "scoring": RunFolder.EXAMPLES}


@dataclass(frozen=True)
class Known:
    """A model that is compared with: its checkpoint, its records by paraphrase set, its seed.

    ``texts``: what it answered when its records for scoring were made; nothing of a model that a
    recipe trained, which has them in its own run folder.
    """

    source: ModelSource
    records: Callable[[str], Records]
    seed: int | None
    texts: Callable[[], Sequence[Texts]] = tuple


def train(recipe: Recipe, out: Path, *, watch: Watch = lambda event: None) -> RunFolder:
    """Train the model of a ``train`` recipe; writes ``merged/``, records and scores into ``out``.

    Raises RecipeError, DataError, ModelError, FolderError for wrong input before anything is
    written, DivergedError or StorageError at run time.
    """
    watch = processes.only_main(watch)
    corpus, method = checked(recipe, "train")
    folder = RunFolder(out)
    folder.check_free()
    loaded = made_or_loaded(recipe, corpus)
    identity = recipe.fingerprint({**corpus.checksums, "model": loaded.checksum})
    if processes.on_main(lambda: folder.finished(identity)):
        return folder
    scorer = scorer_of(recipe, loaded, corpus)
    rows = rows_of(recipe, scorer, method)
    method.check(rows, recipe.training, loaded.model)
    scorer.check_lengths(loaded.model)
    begin(folder, identity, recipe, corpus, loaded.checksum)
    _, seconds = fit(recipe, loaded.model, method, rows, folder, None, watch)
    records, texts = scorer.records(loaded.model, "scoring", watch)
    validation, _ = scorer.records(loaded.model, "validation", watch, spoken=records)
    model = to_save(loaded.model, lambda: made_or_loaded(recipe, corpus).model)
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


def named(
    source: ModelSource | None,
    recipe: Recipe,
    corpus: Corpus,
    home: Path,
    watch: Watch,
    loaded: models.Loaded | None = None,
) -> Known | None:
    """Return the model that a recipe names, trained where it must be; None of no source.

    Of a path it is ``loaded`` already, or loaded when its records are first asked for.
    """
    if source is None:
        return None
    if source.recipe is None:

        @cache
        def evaluated(which: str) -> tuple[Records, Sequence[Texts]]:
            found = loaded or to_score(source)
            found.model.to(processes.device())
            return scorer_of(recipe, found, corpus).records(found.model, which, watch)

        return Known(
            source, lambda which: evaluated(which)[0], None, lambda: evaluated("scoring")[1]
        )
    child = child_of(source, recipe)
    place = home / f"{child.name}-{child.fingerprint(corpus.checksums)[:10]}"
    if not RunFolder(place).at(RunFolder.MANIFEST).is_file():
        watch({"event": "phase", "name": f"train {child.name}, seed {child.seed}"})
    folder = train(child, place, watch=watch)
    merged = ModelSource(path=str(folder.at(RunFolder.MERGED)))
    return Known(merged, lambda which: read(folder.at(_RECORDS[which])), child.seed)


def prepare(recipe: Recipe, which: str, *, home: Path, watch: Watch = lambda event: None) -> None:
    """Train the model that a recipe names by a recipe, unless it is in ``home`` already.

    ``which``: ``model``, ``selection`` or ``scoring``.
    """
    source = recipe.model if which == "model" else getattr(recipe.gold, which)
    named(source, recipe, corpus_of(recipe.data), home, watch)


def gold_limit(recipe: Recipe, *, home: Path, watch: Watch = lambda event: None) -> float:
    """Return the largest gold distance that a probe may show to pass, from the two gold models.

    Raises RecipeError unless the recipe has both, MetricError where the data allow no distance.
    """
    corpus, _ = checked(recipe, "unlearn")
    gold = named(recipe.gold.selection, recipe, corpus, home, watch)
    second = named(recipe.gold.scoring, recipe, corpus, home, watch)
    if gold is None or second is None:
        raise RecipeError(
            "A limit needs two gold models.",
            got=f"{recipe.name} without one of them",
            remedy="Name gold.selection and gold.scoring.",
        )
    return distance_limit(gold.records("validation"), second.records("validation"))
