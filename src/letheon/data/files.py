"""Own data: files and data sets -> examples and a corpus."""

from __future__ import annotations

__all__ = ["corpus_from_files", "one_paraphrase", "read_examples"]

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from letheon.data.columns import Layout, layouts
from letheon.data.example import Alternates, Corpus, Example, digest
from letheon.data.memory_rows import PythonRows
from letheon.data.overlap import apart, check_unseen
from letheon.data.row import Row, shown
from letheon.data.rows import read_rows
from letheon.data.shapes import turns
from letheon.errors import DataError
from letheon.recipe import Column

_VERSION = "1"
_OF_ONE_ANSWER = (
    "fact",
    "facts",
    "paraphrased_question",
    "paraphrased_answer",
    "perturbed_answer",
)


def read_examples(
    source: str | Path | PythonRows,
    *,
    columns: Mapping[Column, str] = MappingProxyType({}),
    prefix: str | None = None,
) -> list[Example]:
    """Read examples from any source that :func:`~letheon.data.rows.read_rows` reads.

    ``columns`` names columns by role; the others are found by
    :data:`~letheon.data.columns.SYNONYMS`. A row is a question with its answer, a chat (an example
    for each assistant message, see :func:`~letheon.data.shapes.turns`) or a text alone, whose
    example has an empty question.

    Optional columns: ``id`` (else ``prefix``, by default the file's stem, and the row's number
    from 0), ``unit`` (else each row is its own), ``paraphrased_question``,
    ``paraphrased_answer``, ``perturbed_answer`` (a list of false answers) and ``fact`` or ``facts``
    (parts of the answer, or ``[start, end)`` positions in it). In CSV, lists are written as JSON.

    Raises :class:`~letheon.errors.DataError` for a source that is missing, empty or malformed, a
    column that is missing or ambiguous, an empty answer, a fact that is not in its answer, or an id
    that comes twice.
    """
    stem = Path(source).stem if isinstance(source, str | Path) else "row"
    stem = stem if prefix is None else prefix
    seen: dict[str, str] = {}
    examples = []
    for i, (row, layout) in enumerate(layouts(read_rows(source, name=stem), columns)):
        for example in _examples(row, layout, f"{stem}/{i}"):
            if example.id in seen:
                raise DataError(
                    "An id names one row.",
                    got=f"{shown(example.id)} in {seen[example.id]} and {row.place}",
                    remedy="Rename one of them or leave the ids out.",
                )
            seen[example.id] = row.place
            examples.append(example)
    return examples


def corpus_from_files(
    *,
    forget: str | Path | PythonRows,
    retain: str | Path | PythonRows | None,
    unseen: str | Path | PythonRows | None = None,
    real_authors: str | Path | None = None,
    world_facts: str | Path | None = None,
    name: str = "files",
    licence: str = "unknown",
    public: bool = False,
    eos: bool = True,
    columns: Mapping[Column, str] = MappingProxyType({}),
) -> Corpus:
    """Make a corpus of one source a role; what is trained on is evaluated too.

    ``real_authors`` and ``world_facts`` are control sets in the roles of TOFU's: kept knowledge
    with wrong options in ``perturbed_answer``. They are evaluated and, being the model's own
    knowledge already, not trained on.

    ``unseen`` are rows of the same kind that the model never saw: controls of membership scores.
    Retain rows that are also to forget are left out, with a warning.

    Raises :class:`~letheon.errors.DataError` as :func:`read_examples` does, when no row is left to
    retain, and for an unseen row that is trained on.
    """
    files = {
        "forget": forget,
        "retain": retain,
        "real_authors": real_authors,
        "world_facts": world_facts,
        "unseen": unseen,
    }
    roles = {
        role: tuple(read_examples(p, columns=columns, prefix=role))
        for role, p in files.items()
        if p is not None
    }
    retained = roles.get("retain", ())
    kept = apart(roles["forget"], retained)
    if "retain" in roles:
        roles["retain"] = kept
    check_unseen(roles.get("unseen", ()), [*roles["forget"], *kept])
    return Corpus(
        name=name,
        version=_VERSION,
        licence=licence,
        forget=roles["forget"],
        retain=kept,
        evaluation=roles,
        eos=eos,
        public=public,
        checksums={role: digest(rows) for role, rows in roles.items()},
        overlap=len(retained) - len(kept),
    )


def one_paraphrase(
    answer: str, perturbed: Iterable[str], *, question: str | None = None
) -> Mapping[str, Alternates]:
    """Return both paraphrase sets of a row that has one paraphrased answer.

    ``"scoring"`` asks the row's own question, ``"validation"`` the paraphrased ``question`` where
    there is one: selection and scoring stay apart in the question only, as far as such data allow.
    """
    scoring = Alternates(answer, tuple(perturbed))
    return {"validation": Alternates(answer, scoring.perturbed, question), "scoring": scoring}


def _examples(row: Row, layout: Layout, default_id: str) -> Iterator[Example]:
    id_ = _label(row, "id") or default_id
    unit = (_label(row, layout.unit) if layout.unit else None) or id_
    found = turns(row, layout)
    about = [name for name in _OF_ONE_ANSWER if row.values.get(name) not in (None, "", [])]
    if len(found) > 1 and about:
        raise DataError(
            "Facts and paraphrases belong to one answer.",
            got=f"{', '.join(about)} in {row.place}, a chat with {len(found)} answers",
            remedy="Leave them out, or make each answer a row of its own.",
        )
    for i, turn in enumerate(found):
        yield Example(
            id=f"{id_}/{i}" if len(found) > 1 else id_,
            unit=unit,
            question=turn.question,
            answer=turn.answer,
            facts=_facts(row, turn.answer),
            alternates=_alternates(row, turn.answer),
        )


def _label(row: Row, column: str) -> str | None:
    value = row.values.get(column)
    return str(value) if isinstance(value, int) else row.optional(column)


def _alternates(row: Row, answer: str) -> Mapping[str, Alternates]:
    paraphrase = row.optional("paraphrased_answer")
    perturbed = row.listed("perturbed_answer")
    if any(not isinstance(text, str) or not text.strip() for text in perturbed):
        raise DataError(
            "Column 'perturbed_answer' lists texts.",
            got=f"{shown(perturbed)} in {row.place}",
            remedy="Write false answers of the same form as the paraphrased one.",
        )
    if paraphrase is None and not perturbed:
        return {}
    question = row.optional("paraphrased_question")
    return one_paraphrase(paraphrase or answer, perturbed, question=question)


def _facts(row: Row, answer: str) -> tuple[tuple[int, int], ...]:
    spans: list[tuple[int, int]] = []
    for fact in [*row.listed("fact"), *row.listed("facts")]:
        match fact:
            case str() if fact and fact in answer:
                start = answer.index(fact)
                spans.append((start, start + len(fact)))
            case [int(start), int(end)] if 0 <= start < end <= len(answer):
                spans.append((start, end))
            case _:
                raise DataError(
                    "A fact is a part of its answer, or [start, end) positions in it.",
                    got=f"{shown(fact)} for {shown(answer)} in {row.place}",
                    remedy="Write the fact as it stands in the answer.",
                )
    return tuple(sorted(spans))
