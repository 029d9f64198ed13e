"""`letheon.unlearn`: a request to forget from Python, with objects where the command has names."""

from __future__ import annotations

__all__ = ["Unlearned", "unlearn"]

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from letheon import compare, models, processes, request, run, ui
from letheon.adapters.stack import bare
from letheon.data.memory_rows import PythonRows, memory_rows
from letheon.errors import InputError
from letheon.folder import RunFolder
from letheon.given import MEMORY, Given, place_of
from letheon.objectives.contract import Objective
from letheon.recipe import ModelSource, Recipe
from letheon.report import run_lines


class Unlearned:
    """What a run left: its ``folder``, scores, and the model that forgot."""

    def __init__(self, folder: RunFolder, loaded: models.Loaded | None = None) -> None:
        self.folder = folder
        self._given = loaded

    def __repr__(self) -> str:
        return f"Unlearned({str(self.folder.path)!r})"

    def __str__(self) -> str:
        return "\n".join(run_lines(self.scores, self.folder.path))

    @property
    def model(self) -> Any:
        """The model without the knowledge: the object that was given, or ``merged/``, loaded."""
        return self._loaded.model

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self._loaded.tokenizer

    @property
    def scores(self) -> dict[str, Any]:
        """``scores.json``: scores with n and interval, those ``before``, what was ``skipped``."""
        return self.folder.read_json(RunFolder.SCORES)

    def report(self, *, texts: bool = False) -> Path:
        """Make the page of the run and return its place; with ``texts`` in ``private/``."""
        (page,) = compare.report([self.folder.path], texts=texts)
        return page

    @cached_property
    def _loaded(self) -> models.Loaded:
        return self._given or models.load(ModelSource(path=str(self.folder.at(RunFolder.MERGED))))


def unlearn(
    model: Any,
    tokenizer: Any = None,
    *,
    forget: str | Path | PythonRows | None = None,
    retain: str | Path | PythonRows | None = None,
    unseen: str | Path | PythonRows | None = None,
    method: str | Objective | None = None,
    bound: str | None = None,
    template: str | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    out: str | Path | None = None,
    models_in: str | Path | None = None,
    progress: bool = True,
) -> Unlearned:
    """Make ``model`` forget rows, as `letheon unlearn` does, and return what the run left.

    ``model``: a causal language model of transformers with its ``tokenizer``, or a folder or hub
    name. An object is changed in place, as peft does it, and is the result's ``model``; where the
    run fails it is given back without the adapter (full weights stay as they are then). A
    :class:`~letheon.recipe.Recipe` in its place says all of a run but ``out``.
    ``forget``, ``retain``, ``unseen``: a file, folder or hub name (docs/data.md), a
    ``datasets.Dataset``, a pandas data frame, or a list of mappings (``{"question", "answer"}``,
    chats, texts), of (question, answer) pairs or of texts. Without ``retain`` the untouched model's
    own words are kept.
    ``method``: an objective or procedure by name, or an objective: one of letheon's with other
    settings, or your own (``letheon.objectives.contract.Objective``); default gradient difference.
    ``bound``: of the adapter; default ``sine``, ``none`` for plain LoRA. ``template``: a text with
    ``{question}``; default the tokenizer's chat template, or ``Question: ... Answer: ...``.
    ``settings``: values of a recipe's keys, ``{"training.steps": 200}``; what is not given is
    decided by the rules of docs/own-data.md.
    ``out``: the run's folder, default ``runs/NAME``; a killed call goes on where it stopped when it
    is made again. ``models_in``: where models that a recipe trains are kept, default beside it.
    ``progress``: whether it is shown on standard error.

    Raises InputError (with its kinds DataError, ModelError, RecipeError, FolderError) for wrong
    input before anything is written, DivergedError or StorageError at run time.
    """
    sources = {"forget": forget, "retain": retain, "unseen": unseen}
    words = {"tokenizer": tokenizer, "method": method, "bound": bound, "template": template}
    if isinstance(model, Recipe):
        _only_a_recipe({**sources, **words, "settings": settings or None})
        recipe, given = model, Given()
    else:
        by_name, objective = _method(method)
        given = Given(_in_memory(model, tokenizer), _in_python(sources), objective)
        kept = {role: place_of(role) for role in given.rows}
        named = {role: str(each) for role, each in sources.items() if each is not None} | kept
        recipe = request.recipe_of(
            MEMORY if given.model else str(model),
            _needed(named.get("forget")),
            named.get("retain"),
            method=by_name,
            bound=bound,
            template=template,
            settings={**settings} | ({"data.unseen": named["unseen"]} if "unseen" in named else {}),
            given=given,
        )
        _check(recipe, given)
    place = Path(out or Path("runs") / recipe.name)
    rows = {role: str(place / place_of(role)) for role in given.rows}
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update=rows)})
    there = RunFolder(place).at(RunFolder.MANIFEST).is_file()
    with _as_it_was(given.model), ui.watcher(shown=progress) as watch:
        home = Path(models_in) if models_in is not None else place.parent
        folder = run.unlearn(recipe, place, home=home, watch=watch, given=given)
    # A run that was there already has changed no model.
    return Unlearned(folder, None if there else given.model)


def _only_a_recipe(beside: Mapping[str, Any]) -> None:
    if said := [name for name, value in beside.items() if value is not None]:
        raise InputError(
            "A recipe says all of a run.",
            got=f"a recipe and {', '.join(said)}",
            remedy="Change its keys (letheon.recipe.override), or give a model in its place.",
        )


def _needed(forget: str | None) -> str:
    if forget is None:
        raise InputError(
            "A request says what to forget.",
            got="no forget rows",
            remedy='Give forget=FILE, or forget=[{"question": "...", "answer": "..."}].',
        )
    return forget


def _method(method: Any) -> tuple[str | None, Objective | None]:
    """Return a method's name or the objective that it is."""
    if method is None or isinstance(method, str):
        return method, None
    if not isinstance(method, Objective):
        raise InputError(
            "A method is a name, or an objective with its settings.",
            got=f"{method!r:.60}",
            remedy="For example method='npo', or method=NPO(beta=0.3).",
        )
    return None, method


def _in_memory(model: Any, tokenizer: Any) -> models.Loaded | None:
    if isinstance(model, str | Path):
        if tokenizer is not None:
            raise InputError(
                "A model by name brings its tokenizer.",
                got=f"{model} and a tokenizer",
                remedy="Leave the tokenizer out, or load the model and give both objects.",
            )
        return None
    if processes.count() > 1:
        raise InputError(
            "A model in memory is that of one process.",
            got=f"{processes.count()} processes",
            remedy="Give its folder or hub name.",
        )
    return models.in_memory(model, tokenizer)


def _in_python(sources: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the rows that are not in a file, by role."""
    return {
        role: [row.values for row in memory_rows(source, role)]
        for role, source in sources.items()
        if source is not None and not isinstance(source, str | Path)
    }


def _check(recipe: Recipe, given: Given) -> None:
    """Raise InputError for what only a run of names can do."""
    trained = [
        f"gold.{name}"
        for name in ("selection", "scoring")
        if (source := getattr(recipe.gold, name)) is not None and source.recipe is not None
    ]
    wrong = {
        "data in Python": trained if given.rows else [],
        "a model in memory": [
            *(["after"] if recipe.after is not None else []),
            *(["merged: false"] if not recipe.merged else []),
        ]
        if given.model
        else [],
    }
    for what, keys in wrong.items():
        if keys:
            raise InputError(
                f"A run with {what} has no {', '.join(keys)}.",
                got=f"settings with {', '.join(keys)}",
                remedy="Write the rows to a file, or save the model, and give their place.",
            )


@contextmanager
def _as_it_was(loaded: models.Loaded | None) -> Iterator[None]:
    """Leave a model as it was but for what it forgot: its mode, what trains, no adapter on it."""
    if loaded is None:
        yield
        return
    model = loaded.model
    mode, trains = model.training, {n: p.requires_grad for n, p in model.named_parameters()}
    try:
        yield
    finally:
        bare(model)
        model.train(mode)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(trains[name])
