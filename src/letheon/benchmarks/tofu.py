"""TOFU (Maini et al. 2024): forget 1, 5 or 10 % of 200 fictitious authors, hub or folder.

A unit is an author: 20 rows in file order, author ``n`` being rows ``20 n`` to ``20 n + 19`` of
``full``. The forget sets are the last authors, the perturbed retain rows those of the first 20.

TOFU has one paraphrase of each answer. The set ``"scoring"`` asks it with the original question,
which is TOFU's own truth ratio; ``"validation"`` asks the same answers with the paraphrased
question. So selection sees other questions than scoring, but the same answers: keep the gold models
of the two apart as well. No fact tokens are marked.
"""

from __future__ import annotations

__all__ = ["LICENCE", "METRICS", "NEEDS_GOLD", "SPLITS", "VERSION", "Split", "load"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from letheon.data.example import Corpus, Example, digest_rows
from letheon.data.files import one_paraphrase
from letheon.data.row import Row
from letheon.data.rows import read_rows
from letheon.errors import DataError, nearest

VERSION = "1"
LICENCE = "MIT"
METRICS = (
    "forget_quality",
    "model_utility",
    "rouge_l_recall",
    "extraction_strength",
    "exact_memorisation",
    "min_k_auc",
    "ks_d",
)
NEEDS_GOLD = True
"""The gold model is trained on the retain authors alone."""

_HUB = "locuslab/TOFU"
_ROWS = 20
_CONTROLS = ("real_authors", "world_facts")


@dataclass(frozen=True, slots=True)
class Split:
    """A forget split: its retain file and the rows of each."""

    retain: str
    n_forget: int
    n_retain: int


SPLITS: Mapping[str, Split] = {
    "forget01": Split("retain99", 40, 3960),
    "forget05": Split("retain95", 200, 3800),
    "forget10": Split("retain90", 400, 3600),
}

# sha256 of the rows (letheon.data.example.digest_rows) of each file.
_DIGESTS: Mapping[str, str] = {
    "forget01_perturbed": "8cf3cf6e0276b70e5ed1a685157759e40c434af6a09389da3f3123dc3f99772d",
    "forget05_perturbed": "48be8f2ea0d644b55300d50ba5480dbfdc0cc8b8b5b715be6cca26bd853266a0",
    "forget10_perturbed": "771037c640414c46de1decba440ec8db1265ee062c0dd0410c34dfb0bb50a924",
    "real_authors_perturbed": "8d06dd5fc3d0af588c5f25b2b0eb1fb3ab25c25503647a00bf9301cc4bb0b48e",
    "retain90": "a849604f0f158b13483c55a000b85a793040c4ee4313f695ae9539d8e15c1e6e",
    "retain95": "8ad68e41a17de5e1c7f669744231c700bf331a7f7b758d4fc362b13fc25fae47",
    "retain99": "3748e3fc1de8f5094be3017c9b0be58831e96cf1d67e1f9b408b4cd43666f056",
    "retain_perturbed": "7554421edfaf8ea55acc572862c0970ef8d19a2554317b92614a6a5c3fbfddbb",
    "world_facts_perturbed": "29e1b2f427c3316270bc7611fab3e1d44def340c7ee802f3e1e0dfa990bbf0a3",
}


def load(
    *,
    split: str = "forget10",
    path: str | Path | None = None,
    retain_units: int | None = None,
    unseen_units: int = 20,
    seed: int = 0,
) -> Corpus:
    """Read one forget split.

    ``path`` is a folder with the hub's files (``forget10_perturbed.json``, ``retain90.json``,
    ``retain_perturbed.json``, ``real_authors_perturbed.json``, ``world_facts_perturbed.json``);
    without it they come from the hub. ``unseen_units`` authors of the retain file are held out of
    training, for target and gold models alike, as the people that membership inference compares
    with; a model trained on all of TOFU (any published one) has seen them, so it needs 0.
    ``retain_units`` takes so many of the other retain authors, those with perturbed rows first;
    ``None`` takes all. Both draws depend on ``seed`` alone. ``evaluation["retain"]`` is the
    perturbed rows of the retain authors taken.

    The version has ``+modified`` appended when the rows are not those this loader was written
    for.

    Raises :class:`~letheon.errors.DataError` for an unknown split, a missing file or column, more
    authors than there are, or when the hub cannot be reached.
    """
    if split not in SPLITS:
        raise DataError(
            "TOFU has three forget splits.", got=repr(split), remedy=nearest(split, SPLITS)
        )
    names = _names(split)
    files = {role: _read(name, path) for role, name in names.items()}
    retain = _by_author(files["retain"], names["retain"], start=0)
    forget = _by_author(files["forget"], names["forget"], start=len(retain))
    perturbed = {_key(row): row for row in files["retain_perturbed"]}
    kept, unseen = _draw(retain, perturbed, retain_units, unseen_units, seed)
    controls = {role: tuple(_control(role, files[role])) for role in _CONTROLS}
    digests = {names[role]: digest_rows(r.values for r in rows) for role, rows in files.items()}
    evaluation = {
        "forget": tuple(_examples(forget)),
        "retain": tuple(_examples(kept, perturbed, only=True)),
        **controls,
        "unseen": tuple(_examples(unseen, perturbed)),
    }
    return Corpus(
        name=f"tofu/{split}",
        version=VERSION if digests.items() <= _DIGESTS.items() else f"{VERSION}+modified",
        licence=LICENCE,
        forget=evaluation["forget"],
        retain=tuple(_examples(kept, perturbed)),
        evaluation={role: rows for role, rows in evaluation.items() if rows},
        background=tuple(row for rows in controls.values() for row in rows),
        public=True,
        checksums=digests,
    )


def _names(split: str) -> dict[str, str]:
    return {
        "forget": f"{split}_perturbed",
        "retain": SPLITS[split].retain,
        "retain_perturbed": "retain_perturbed",
        **{role: f"{role}_perturbed" for role in _CONTROLS},
    }


def _read(name: str, path: str | Path | None) -> list[Row]:
    if path is not None:
        return read_rows(Path(path) / f"{name}.json")
    return [Row(values, f"{_HUB} {name}, row {i}") for i, values in enumerate(_fetch(name))]


def _fetch(name: str) -> Sequence[Mapping[str, Any]]:
    from datasets import load_dataset

    try:
        rows: list[Mapping[str, Any]] = load_dataset(_HUB, name, split="train").to_list()
    except OSError as error:
        raise DataError(
            "TOFU is read from the hub unless a folder is named.",
            got=f"{name}: {error}",
            remedy="Check the network, or set path to a folder that holds TOFU's JSON files.",
        ) from error
    return rows


# Authors by number, each with its rows: ids are made here, before anything is left out.
_Authors = Mapping[int, Sequence[Row]]


def _by_author(rows: Sequence[Row], name: str, *, start: int) -> _Authors:
    if len(rows) % _ROWS:
        raise DataError(
            f"TOFU has {_ROWS} rows an author, in order.",
            got=f"{name} has {len(rows)}",
            remedy="Fetch the file again.",
        )
    firsts = range(0, len(rows), _ROWS)
    return {start + i: rows[first : first + _ROWS] for i, first in enumerate(firsts)}


def _draw(
    retain: _Authors,
    perturbed: Mapping[tuple[str, str], Row],
    n_kept: int | None,
    n_unseen: int,
    seed: int,
) -> tuple[_Authors, _Authors]:
    """Draw unseen authors among those without perturbed rows first, kept ones among the others."""
    wanted = 1 if n_kept is None else n_kept
    if n_unseen < 0 or wanted < 1 or wanted + n_unseen > len(retain):
        raise DataError(
            f"There are {len(retain)} retain authors to keep (at least 1) or to hold out.",
            got=f"retain_units {n_kept}, unseen_units {n_unseen}",
            remedy="Ask for fewer.",
        )
    order = Random(f"tofu/{seed}").sample(sorted(retain), len(retain))
    order.sort(key=lambda author: _key(retain[author][0]) not in perturbed)
    held = sorted(order[len(order) - n_unseen :])
    kept = sorted(order[: len(order) - n_unseen][:n_kept])
    return {n: retain[n] for n in kept}, {n: retain[n] for n in held}


def _key(row: Row) -> tuple[str, str]:
    # One question ("What is the full name of the author?") stands for two authors.
    return row.text("question"), row.text("answer")


def _examples(
    authors: _Authors, perturbed: Mapping[tuple[str, str], Row] | None = None, *, only: bool = False
) -> Iterator[Example]:
    """Yield rows with their alternates; ``only`` those that have some."""
    for author, rows in authors.items():
        for i, row in enumerate(rows):
            found = row if perturbed is None else perturbed.get(_key(row))
            if found is not None or not only:
                yield _example(f"a{author:03d}", i, row, found)


def _example(unit: str, i: int, row: Row, alternates: Row | None) -> Example:
    question, answer = _key(row)
    if alternates is None:
        return Example(f"{unit}/{i}", unit, question, answer)
    sets = one_paraphrase(
        alternates.text("paraphrased_answer"),
        alternates.listed("perturbed_answer"),
        question=alternates.text("paraphrased_question"),
    )
    return Example(f"{unit}/{i}", unit, question, answer, alternates=sets)


def _control(role: str, rows: Sequence[Row]) -> Iterator[Example]:
    for i, row in enumerate(rows):
        question, answer = _key(row)
        sets = one_paraphrase(answer, row.listed("perturbed_answer"))
        yield Example(f"{role}/{i}", f"{role}/{i}", question, answer, alternates=sets)
