"""Attacks on a finished run: what it forgot is asked for again, of it and of the gold model alike.

``attacks.json`` and ``attacks/NAME.parquet`` are added to the run folder, texts to ``private/``.
What was measured of gold and target is kept beside them for every run that shares them, and an
attack that the run has with the same settings is not made again.
"""

from __future__ import annotations

__all__ = ["NAMES", "run", "show"]

import dataclasses
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from letheon import recipe as recipes
from letheon import registry
from letheon import report as reports
from letheon.attacks.contract import Attack, Measured, Role, Subject, Task, Workshop
from letheon.attacks.references import Cache, places, subjects, taught_with
from letheon.attacks.results import scores
from letheon.data.pieces import fit
from letheon.data.template import Template
from letheon.errors import DataError, FolderError, MetricError, ModelError, RecipeError, nearest
from letheon.folder import RunFolder
from letheon.metrics.records import Columns, write
from letheon.parts import corpus_of, longest_piece
from letheon.recipe import Recipe

NAMES = registry.names("letheon.attacks")

Watch = Callable[[dict[str, Any]], None]
Entry = dict[str, Any]

# The part of a recipe that may be overridden: where data are now.
_DATA = "data"

_NO_GOLD = (
    "the run was made without gold.scoring: what comes out is shown beside the model before, not "
    "beside one that never knew it; how much of it anyone could guess is not known"
)


def run(
    run_folder: Path,
    names: Sequence[str] | None = None,
    *,
    home: Path | None = None,
    overrides: Sequence[str] = (),
    watch: Watch = lambda event: None,
) -> dict[str, Any]:
    """Attack a run; return what its ``attacks.json`` holds then.

    ``names``: default all, of which those that the data or the machine do not allow are listed in
    ``skipped`` with the reason; a named one raises MetricError or ModelError instead. ``home``:
    where target and gold models are kept, default beside the run or in a folder ``models`` above
    it; a run made without a gold model is shown beside the target alone, and ``skipped`` says so.
    ``overrides``: ``relearn.steps=80`` for an attack's settings, ``data.path=...`` for data
    that were moved. Raises InputError's children for wrong input, of which nothing is written.
    """
    folder = _finished(run_folder)
    settings, moved = _overrides(overrides)
    chosen = list(dict.fromkeys(NAMES if names is None else names))
    attacks = {name: registry.make("letheon.attacks", name, settings[name]) for name in chosen}
    _all_used(settings, chosen)
    recipe = recipes.load(folder.at(RunFolder.RECIPE), moved)
    homes = places(folder, home)
    models = subjects(folder, recipe, homes)
    cache = Cache(homes[0] / "attacks" if home else _beside(models[0], homes))
    task = _task(folder, recipe, models, watch)
    lr = taught_with(models[-2])
    attacks = {name: attack.resolved(lr) for name, attack in attacks.items()}
    left_out, skipped = _checked(attacks, task, models[-1], named=names is not None)
    before = _known(folder)
    again = {*chosen, "gold"}
    others = [entry for entry in before["skipped"] if entry["name"] not in again]
    if models[0].role != "gold":
        skipped.append({"name": "gold", "reason": _NO_GOLD})
    skipped = sorted([*others, *skipped], key=lambda entry: entry["name"])
    found = before | {"attacks": dict(before["attacks"]), "skipped": skipped}
    worked = False
    try:
        for name, missing in left_out.items():
            plain = _plain(attacks[name])
            if before["attacks"].get(name, {}).get("settings") != plain:
                worked = True
                entry = _made(folder, name, attacks[name], models, task, cache)
                entry |= {"settings": plain, "skipped": list(missing)}
                found["attacks"] = dict(sorted({**found["attacks"], name: entry}.items()))
                folder.write_json(RunFolder.ATTACKS, found)
        if found != before:
            folder.write_json(RunFolder.ATTACKS, found)
    finally:
        if worked or not folder.sealed(RunFolder.ATTACKS):
            folder.write_manifest()
    return folder.read_json(RunFolder.ATTACKS)


def _made(
    folder: RunFolder,
    name: str,
    attack: Attack,
    models: Sequence[Subject],
    task: Task,
    cache: Cache,
) -> Entry:
    """Attack every model; write numbers and texts; return the scores."""
    task.watch({"event": "phase", "name": f"attack {name}"})
    columns: dict[Role, Columns] = {
        subject.role: cache.measured(attack, name, subject, task)
        for subject in models
        if subject.role != "method"
    }
    began = time.perf_counter()
    own: Measured = attack.measure(models[-1], task)
    columns = {"method": own.columns, **columns}
    seconds = time.perf_counter() - began
    task.watch({"event": "phase", "name": f"attack {name}", "seconds": seconds})
    with folder.replacing(f"attacks/{name}.parquet") as fresh:
        write({str(role): one for role, one in columns.items()}, fresh)
    if own.texts:
        folder.write_rows(f"{RunFolder.PRIVATE}/attacks/{name}.jsonl", own.texts)
    entry: Entry = {
        "settings": {},
        "seconds": round(seconds, 2),
        "headline": list(attack.headline),
        "scores": scores(attack, columns),
    }
    if note := attack.note():
        entry["note"] = note
    if curves := attack.curves(columns):
        entry["curves"] = [curve._asdict() for curve in curves]
    return entry


def _finished(path: Path) -> RunFolder:
    folder = RunFolder(path)
    role = folder.read_json(RunFolder.SCORES).get("run", {}).get("role")
    whole = all(folder.at(n).is_file() for n in (RunFolder.MANIFEST, RunFolder.RECIPE))
    if not whole or role != "method" or not folder.at("reference").is_dir():
        raise FolderError(
            "An attack is made on a finished run of letheon unlearn.",
            got=str(path),
            remedy="Name its folder, the one that --out named.",
        )
    return folder


def _overrides(overrides: Iterable[str]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the settings by attack, and the overrides that are for the recipe's data."""
    settings: dict[str, dict[str, Any]] = defaultdict(dict)
    moved = []
    for override in overrides:
        name, dot, rest = override.partition(".")
        if name == _DATA:
            moved.append(override)
            continue
        if not dot or name not in NAMES:
            raise RecipeError(
                "An override sets an attack's setting, or where the recipe's data are.",
                got=override,
                remedy=f"{nearest(name, [*NAMES, _DATA])} For example relearn.steps=80.",
            )
        settings[name] |= recipes.assigned([rest])
    return settings, moved


def _all_used(settings: Mapping[str, Any], chosen: Sequence[str]) -> None:
    for name in settings:
        if name not in chosen:
            raise RecipeError(
                "Settings are for attacks that are made.",
                got=f"{name}, of {', '.join(chosen)}",
                remedy=f"Name it with --attacks {name}, or leave its settings out.",
            )


def _beside(gold: Subject, homes: Sequence[Path]) -> Path:
    """Return where results of models are kept: with the gold model, where it was found."""
    if gold.role != "gold":
        return homes[0] / "attacks"
    kept = Path(str(gold.source.path)).parent.parent
    return (kept if kept in homes else homes[0]) / "attacks"


def _task(folder: RunFolder, recipe: Recipe, models: Sequence[Subject], watch: Watch) -> Task:
    corpus = corpus_of(recipe.data)
    known = folder.read_json(RunFolder.ENVIRONMENT).get("data")
    if known != dict(corpus.checksums):
        raise DataError(
            "An attack asks for what the run forgot: the data are those of the run.",
            got=f"{corpus.name} {corpus.version} with other checksums",
            remedy="Restore the data, or name where they are with --set data.path=...",
        )
    workshop = Workshop()
    loaded = workshop.loaded(models[-1])
    template = Template(recipe.template, eos=corpus.eos)
    longest = longest_piece(recipe.data, loaded.positions)
    if longest is not None:
        corpus = fit(corpus, loaded.tokenizer, template, limit=longest)
    return Task(
        corpus=corpus,
        tokenizer=loaded.tokenizer,
        template=template,
        evaluation=recipe.evaluation,
        positions=loaded.positions,
        workshop=workshop,
        watch=watch,
    )


def _checked(
    attacks: Mapping[str, Attack], task: Task, method: Subject, *, named: bool
) -> tuple[dict[str, Sequence[str]], list[dict[str, str]]]:
    """Return what each possible attack leaves out, and the impossible ones with their reasons."""
    possible: dict[str, Sequence[str]] = {}
    skipped = []
    for name, attack in attacks.items():
        try:
            possible[name] = attack.check(task, method)
        except (MetricError, ModelError) as error:
            if named:
                raise
            skipped.append({"name": name, "reason": str(error)})
    return possible, skipped


def _known(folder: RunFolder) -> dict[str, Any]:
    """Return what ``attacks.json`` holds already."""
    there = folder.at(RunFolder.ATTACKS).is_file()
    empty = {"schema": 1, "attacks": {}, "skipped": []}
    return folder.read_json(RunFolder.ATTACKS) if there else empty


def _plain(attack: Attack) -> dict[str, Any]:
    """Return the settings as JSON gives them back."""
    settings = dataclasses.asdict(attack)  # type: ignore[call-overload]
    return dict(json.loads(json.dumps(settings)))


def show(found: Mapping[str, Any], console: Console) -> None:
    """Print the scores of method, gold and target, and what was left out and why."""
    laid = reports.attacks(found)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for k, header in enumerate(laid.headers):
        table.add_column(header, justify="left" if k == 0 else "right", overflow="fold")
    group = ""
    for title, *values, difference in laid.rows:
        # A terminal is narrow: each attack's name stands once, intervals at differences alone.
        attack, _, score = title.partition(": ")
        if attack != group:
            table.add_row(Text(attack, style="bold"))
        group = attack
        short = [value.partition(" [")[0] for value in values]
        table.add_row(*map(Text, (f"  {score}", *short, difference)))
    console.print(table)
    for name, entry in found["attacks"].items():
        for words in [*entry["skipped"], *filter(None, [entry.get("note")])]:
            console.print(Text(f"{name}: {words}"))
    for entry in found["skipped"]:
        console.print(Text(f"skipped {entry['name']}: {entry['reason']}"))
