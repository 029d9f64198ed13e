"""What a model answered before and after, beside the truth: the texts in ``private/``."""

from __future__ import annotations

__all__ = ["SHOWN", "Answer", "answer_blocks", "load_answers"]

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from markupsafe import Markup

from letheon.errors import DataError
from letheon.folder import RunFolder
from letheon.report.blocks import fold, heading, paragraph, rows_in_a_box
from letheon.report.words import ABSENT

# Rows that are open to read, and those of a page where not every row is asked for.
_OPEN, SHOWN = 12, 100

_SPLITS = ("forget", "retain")

# How far up models are looked for: as attacks do.
_ABOVE = 3

_WORD = re.compile(r"\w+(?:['’-]\w+)*")

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """One question on what was to be forgotten, or kept.

    ``facts`` are spans of ``truth``; ``told`` maps before, after and gold to what that model wrote,
    as far as it is known.
    """

    question: str
    truth: str
    facts: tuple[Span, ...]
    told: Mapping[str, str]


def load_answers(path: str | Path) -> dict[str, tuple[Answer, ...]]:
    """Read what a run and the models it was scored against answered, by split: forget, retain.

    What those models answered is in the run's own ``private/reference/``, or with the models
    themselves: those beside the run's folder or above it that have the records the run keeps.
    Empty where the texts were scrubbed. Raises ``DataError`` for a file that is none of texts.
    """
    folder = RunFolder(path)
    after = _texts(folder, "texts")
    if not after:
        return {}
    told = {"before": _referred(folder, "target"), "gold": _referred(folder, "gold")}
    told |= {"after": after}
    return {split: found for split in _SPLITS if (found := _answers(after, told, split))}


def answer_blocks(
    answers: Sequence[Answer], *, kept: bool = False, most: int | None = None
) -> list[Markup]:
    """Show answers side by side with their facts marked, and count how often facts were told.

    ``kept``: they are what was to be kept, and those that were lost come first. ``most``: of more
    rows the first are shown.
    """
    told = [who for who in _HEADS if any(who in answer.told for answer in answers)]
    shown = (sorted(answers, key=_still_there) if kept else answers)[:most]
    rows = [
        [
            Markup("{}").format(answer.question or ABSENT),
            _highlit(answer.truth, facts(answer)),
            *(_told(answer, who) for who in told),
        ]
        for answer in shown
    ]
    heads = _KEPT_HEADS if kept else _HEADS
    columns = ["Question", "Answer to keep" if kept else "True answer", *(heads[w] for w in told)]
    where = "to keep" if kept else "to forget"
    found = [
        heading("What was to be kept" if kept else "What was to be forgotten"),
        paragraph(_words(answers, told, kept, len(shown)), "note"),
        rows_in_a_box(columns, rows[:_OPEN], f"First answers {where}"),
    ]
    if more := rows[_OPEN:]:
        box = rows_in_a_box(columns, more, f"Further answers {where}")
        found.append(fold(f"{len(more)} more", box))
    return found


def _words(answers: Sequence[Answer], told: Sequence[str], kept: bool, shown: int) -> str:
    counts = ", ".join(f"{who} {_count(answers, who)}" for who in told)
    whose, back = ("answer to keep", "are there") if kept else ("true answer", "came back")
    words = (
        f"Answers that state the fact, of {len(answers)}: {counts}. Marked: in the {whose} "
        f"{_marked(answers)}, in the others those of its words that {back}."
    )
    if "before" not in told:
        words += " What the model answered before is not known: no texts of it are here."
    lost = sum(not _still_there(answer) for answer in answers) if kept else 0
    if lost:
        words += f" No longer stated: {lost}, first in the table."
    if shown < len(answers):
        words += (
            f" The first {shown} are on this page{'' if lost else ', in the order of the data'}."
        )
    return words


def facts(answer: Answer) -> tuple[Span, ...]:
    """Return the spans of the true answer that state its fact.

    Where the data does not mark them: the words that the question does not have.
    """
    if answer.facts:
        return answer.facts
    asked = {word.lower() for word in _WORD.findall(answer.question)}
    found = [m for m in _WORD.finditer(answer.truth) if m.group().lower() not in asked]
    return tuple(match.span() for match in found)


def came_back(answer: Answer, who: str) -> list[Span]:
    """Return where the words of the fact stand in what a model wrote."""
    wanted = _fact_words(answer)
    return [m.span() for m in _WORD.finditer(answer.told[who]) if m.group().lower() in wanted]


_HEADS = {"before": "Before", "after": "After", "gold": "Gold: never knew"}
_KEPT_HEADS = _HEADS | {"gold": "Gold"}


def _fact_words(answer: Answer) -> set[str]:
    """List what is looked for: the fact's words, short ones only where it has no other."""
    words = [w.lower() for a, b in facts(answer) for w in _WORD.findall(answer.truth[a:b])]
    telling = {w for w in words if len(w) > 3 or any(c.isdigit() for c in w)}
    return telling or set(words)


def whole(answer: Answer, who: str) -> bool:
    """Whether every fact stands in what a model wrote, as whole words, case and spacing aside."""
    written = f" {_plain(answer.told.get(who, ''))} "
    wanted = [_plain(answer.truth[start:end]) for start, end in facts(answer)]
    return bool(wanted) and all(f" {fact} " in written for fact in wanted)


def _plain(text: str) -> str:
    return " ".join(word.lower() for word in _WORD.findall(text))


def _count(answers: Sequence[Answer], who: str) -> int:
    return sum(whole(answer, who) for answer in answers)


def _still_there(answer: Answer) -> bool:
    """Whether a fact to keep was not lost: it is stated, or was not before."""
    return whole(answer, "after") or ("before" in answer.told and not whole(answer, "before"))


def _marked(answers: Sequence[Answer]) -> str:
    spans = any(answer.facts for answer in answers)
    return "the fact" if spans else "the words that are not in the question"


def _told(answer: Answer, who: str) -> Markup:
    if who not in answer.told:
        return Markup(ABSENT)
    return _highlit(answer.told[who], came_back(answer, who))


def _highlit(text: str, spans: Sequence[Span]) -> Markup:
    parts, at = [Markup("")], 0
    for start, end in sorted(spans):
        if start < at:
            continue
        parts.append(Markup("{}<mark>{}</mark>").format(text[at:start], text[start:end]))
        at = end
    return Markup("").join([*parts, Markup("{}").format(text[at:])])


Key = tuple[str, str]
Rows = dict[Key, dict[str, object]]


def _answers(after: Rows, told: Mapping[str, Rows], split: str) -> tuple[Answer, ...]:
    return tuple(
        Answer(
            question=str(row["question"]),
            truth=str(row["answer"]),
            facts=tuple((int(a), int(b)) for a, b in row.get("facts") or []),  # type: ignore[attr-defined]
            told={who: str(rows[key]["generation"]) for who, rows in told.items() if key in rows},
        )
        for key, row in after.items()
        if key[0] == split
    )


def _referred(folder: RunFolder, name: str) -> Rows:
    """Return what the target or the gold model answered, as far as it is known."""
    if found := _texts(folder, f"reference/{name}"):
        return found
    model = _model(folder, name)
    return {} if model is None else _texts(model, "texts")


def _texts(folder: RunFolder, name: str) -> Rows:
    """Read texts by split and id; none where there is no file."""
    file = folder.at(f"{RunFolder.PRIVATE}/{name}.jsonl")
    if not file.is_file():
        return {}
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
        return {
            (row["split"], str(row["id"])): {
                key: row[key] for key in ("question", "answer", "generation")
            }
            | {"facts": row.get("facts")}
            for row in rows
            if row["split"] in _SPLITS
        }
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "Texts are lines of JSON with split, id, question, answer and generation.",
            got=f"{file}: {error}",
            remedy="Make the page without --texts, or run the command of the run again.",
        ) from None


def _model(folder: RunFolder, name: str) -> RunFolder | None:
    """Find the model whose records the run keeps under ``name``."""
    kept = folder.at(f"reference/{name}.parquet")
    if not kept.is_file():
        return None
    digest = _digest(kept)
    place = folder.path.resolve()
    near = [up / name for up in place.parents[:_ABOVE] for name in ("", "models")]
    for path in (path for home in near for path in sorted(home.glob("*"))):
        records = path / RunFolder.EXAMPLES
        if records.is_file() and _digest(records) == digest:
            return RunFolder(path)
    return None


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()
