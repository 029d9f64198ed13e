"""What every data source is turned into: examples, and the corpus that sorts them by role."""

from __future__ import annotations

__all__ = ["Alternates", "Corpus", "Example", "digest", "digest_rows"]

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Alternates:
    """Other ways to ask and to answer one question.

    ``answer`` says the same as the trained answer in other words; each of ``perturbed`` has its
    form but states something false. Control sets with options have the answer itself and the
    wrong options.
    """

    answer: str
    perturbed: tuple[str, ...]
    question: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A question with the answer a model is trained to give; a text alone has no question (``""``).

    ``unit`` names what examples depend on each other through (a person, an author, a document):
    intervals resample units. ``facts`` are ``[start, end)`` character spans of ``answer`` that
    state something which cannot be guessed from the question. ``alternates`` maps the name of a
    paraphrase set (``"validation"`` for selection, ``"scoring"`` for final scores) to its texts.
    ``cut``: a piece of an answer that was too long, so no end token follows it.
    """

    id: str
    unit: str
    question: str
    answer: str
    facts: tuple[tuple[int, int], ...] = ()
    alternates: Mapping[str, Alternates] = field(default_factory=dict)
    cut: bool = False


@dataclass(frozen=True)
class Corpus:
    """Examples by role.

    ``forget`` and ``retain`` train the target and feed the unlearning loop; ``background`` trains
    target and gold models alike and is neither forgotten nor rehearsed (control sets, for models
    trained from scratch). ``forgotten`` is what earlier requests forgot: it trained the target, and
    this request shows it to no model. ``evaluation`` maps the roles ``forget``, ``retain``,
    ``real_authors``, ``world_facts`` and ``unseen`` (never trained on) to the examples scored,
    where they exist.
    ``eos``: answers end with the end-of-sequence token. ``checksums`` maps file or generator
    names to sha256 digests; with ``version`` they are part of a run's identity. ``public`` texts
    may be shown in reports. ``overlap``: retain rows left out because they are also to forget.
    """

    name: str
    version: str
    licence: str
    forget: tuple[Example, ...]
    retain: tuple[Example, ...]
    evaluation: Mapping[str, tuple[Example, ...]]
    background: tuple[Example, ...] = ()
    forgotten: tuple[Example, ...] = ()
    eos: bool = True
    public: bool = False
    checksums: Mapping[str, str] = field(default_factory=dict)
    overlap: int = 0


def digest(examples: Iterable[Example]) -> str:
    """Return the sha256 of all fields of ``examples``, in order, as they were before any cut."""
    rows = (asdict(example) for example in examples)
    return digest_rows({k: v for k, v in row.items() if k != "cut"} for row in rows)


def digest_rows(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the sha256 of rows as canonical JSON lines: sorted keys, no spaces, UTF-8.

    The same rows have the same digest wherever and however they were stored.
    """
    sha = hashlib.sha256()
    for row in rows:
        text = json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        sha.update(text.encode() + b"\n")
    return sha.hexdigest()
