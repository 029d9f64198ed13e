"""`letheon chat`: one question to the original, the unlearned and the gold model, side by side."""

from __future__ import annotations

__all__ = ["Talk", "prompt", "show"]

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from letheon import models
from letheon import recipe as recipes
from letheon.attacks.contract import Subject, Workshop
from letheon.attacks.references import before_and_after, gold_of, places
from letheon.data.batch import pad_id
from letheon.data.template import Template
from letheon.errors import DataError, FolderError
from letheon.evaluation.generation import generate
from letheon.folder import RunFolder

Answers = list[dict[str, Any]]

_NAMES = {"target": "original", "method": "unlearned", "gold": "gold"}


class Talk:
    """The models of a finished run, ready to be asked.

    ``home``: where target and gold models are kept, default beside the run. ``max_new_tokens`` of
    an answer, default the recipe's. ``keep``: loaded models stay in memory between questions;
    without it one is there at a time. ``notes`` say which model is not there, and why.

    Raises FolderError for a folder that is no finished unlearning run's, or whose original or
    unlearned model is gone; ModelError where another model is in its place.
    """

    def __init__(
        self,
        run_folder: Path,
        *,
        home: Path | None = None,
        max_new_tokens: int | None = None,
        keep: bool = False,
    ) -> None:
        folder = RunFolder(run_folder)
        needed = (RunFolder.MANIFEST, RunFolder.RECIPE, RunFolder.ENVIRONMENT)
        whole = all(folder.at(name).is_file() for name in needed)
        recipe = recipes.load(folder.at(RunFolder.RECIPE)) if whole else None
        if recipe is None or recipe.kind != "unlearn":
            raise FolderError(
                "A chat is with the models of a finished run of letheon unlearn.",
                got=str(run_folder),
                remedy="Name its folder, the one that --out named.",
            )
        self._template = Template(recipe.template)
        self._length = max_new_tokens or recipe.evaluation.max_new_tokens
        self._batch_tokens = recipe.evaluation.batch_tokens
        homes = places(folder, home)
        self.subjects: list[Subject] = [*before_and_after(folder, recipe, homes)]
        self.notes: list[str] = []
        if recipe.gold.scoring is not None:
            try:
                self.subjects.append(gold_of(folder, recipe, homes))
            except FolderError as error:
                self.notes.append(f"no gold model: {error}")
        self._workshops = [Workshop() for _ in self.subjects] if keep else [Workshop()]

    def ask(
        self, questions: Sequence[str], watch: Callable[[dict[str, Any]], None] = lambda event: None
    ) -> Answers:
        """Return ``{"question", "answers": {"original", "unlearned", "gold"?}}`` for each question.

        Answers are greedy. Raises DataError for no question, or one that the models' context does
        not hold.
        """
        if not questions or not all(map(str.strip, questions)):
            raise DataError(
                "A chat needs a question.",
                got="none" if not questions else "an empty one",
                remedy='For example: letheon chat RUN "Who is it?"',
            )
        found: Answers = [{"question": question, "answers": {}} for question in questions]
        for done, subject in enumerate(self.subjects):
            watch({"event": "progress", "name": "models", "done": done, "total": self._count})
            workshop = self._workshops[done % len(self._workshops)]
            said = self._said(workshop.loaded(subject), questions)
            for entry, text in zip(found, said, strict=True):
                entry["answers"][_NAMES[subject.role]] = text
        watch({"event": "progress", "name": "models", "done": self._count, "total": self._count})
        return found

    @property
    def _count(self) -> int:
        return len(self.subjects)

    def _said(self, loaded: models.Loaded, questions: Sequence[str]) -> list[str]:
        tokenizer = loaded.tokenizer
        prompts = [self._template.prompt_ids(tokenizer, question) for question in questions]
        room = getattr(loaded.model.config, "max_position_embeddings", None)
        longest = max(map(len, prompts)) + self._length
        if room is not None and longest > room:
            raise DataError(
                f"A question and its answer fit the model's {room} positions.",
                got=f"{longest} tokens, {self._length} of them for the answer",
                remedy="Ask more shortly, or lower --max-new-tokens.",
            )
        found = generate(
            loaded.model,
            prompts,
            pad_id=pad_id(tokenizer),
            eos_id=tokenizer.eos_token_id,
            max_new_tokens=self._length,
            batch_tokens=self._batch_tokens,
        )
        return [text.strip() for text in tokenizer.batch_decode(found, skip_special_tokens=True)]


def prompt() -> str:
    """Ask a person for a question; "" where there is none any more."""
    try:
        return input("question (empty to end): ").strip()
    except EOFError:
        return ""


def show(found: Answers, console: Console) -> None:
    """Print answers: columns as wide as the terminal allows, plain lines in a pipe."""
    for entry in found:
        if not console.is_terminal:
            named = {"question": entry["question"], **entry["answers"]}
            for name, text in named.items():
                console.print(Text(f"{name}: {_harmless(text)}"), soft_wrap=True)
            continue
        table = Table(
            box=SIMPLE_HEAD,
            pad_edge=False,
            expand=True,
            title=Text(_harmless(entry["question"])),
            title_justify="left",
        )
        for name in entry["answers"]:
            table.add_column(name, ratio=1, overflow="fold")
        table.add_row(*(Text(_harmless(text)) for text in entry["answers"].values()))
        console.print(table)


def _harmless(text: str) -> str:
    """Return ``text`` on one line, without what a terminal would take for a command."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in " ".join(text.split()))
