"""What a model answered before and after, beside the truth: the texts in ``private/``."""

from __future__ import annotations

__all__ = ["Answer", "answer_blocks", "load_answers"]

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from markupsafe import Markup

from letheon.errors import DataError
from letheon.folder import RunFolder
from letheon.report.blocks import fold, paragraph, rows_in_a_box

# Rows that are open to read, and those of the whole page: more are no longer read.
_OPEN, SHOWN = 12, 100

# How far up models are looked for: as attacks do.
_ABOVE = 3

_TEXTS = f"{RunFolder.PRIVATE}/texts.jsonl"
_WORD = re.compile(r"\w+(?:['’-]\w+)*")

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """One question on what was to be forgotten.

    ``facts`` are spans of ``truth``; ``told`` maps before, after and gold to what that model wrote,
    as far as it is known.
    """

    question: str
    truth: str
    facts: tuple[Span, ...]
    told: Mapping[str, str]


def load_answers(path: str | Path) -> tuple[Answer, ...]:
    """Read the answers on the forget set of a run and of the models it was scored against.

    The models are those beside the run's folder or above it that have the records the run keeps.
    Empty where the texts were scrubbed. Raises ``DataError`` for a file that is none of texts.
    """
    folder = RunFolder(path)
    after = _texts(folder)
    others = {
        who: _texts(model)
        for who, name in (("before", "target"), ("gold", "gold"))
        if (model := _model(folder, name)) is not None
    }
    return tuple(
        Answer(
            question=str(row["question"]),
            truth=str(row["answer"]),
            facts=tuple((int(a), int(b)) for a, b in row.get("facts") or []),  # type: ignore[attr-defined]
            told={
                who: str(rows[key]["generation"])
                for who, rows in (*others.items(), ("after", after))
                if key in rows
            },
        )
        for key, row in after.items()
    )


def answer_blocks(answers: Sequence[Answer]) -> list[Markup]:
    """Show answers side by side with their facts marked, and count how often facts were told."""
    told = [who for who in _HEADS if any(who in answer.told for answer in answers)]
    shown = answers[:SHOWN]
    counts = ", ".join(f"{who} {_count(answers, who)}" for who in told)
    words = (
        f"Answers that state the fact, of {len(answers)}: {counts}. Marked: in the "
        f"true answer {_marked(answers)}, in the others those of its words that came back."
    )
    if len(shown) < len(answers):
        words += f" The first {len(shown)} are on this page, in the order of the data."
    rows = [
        [
            Markup("{}").format(answer.question),
            _highlit(answer.truth, facts(answer)),
            *(_told(answer, who) for who in told),
        ]
        for answer in shown
    ]
    heads = ["Question", "True answer", *(_HEADS[who] for who in told)]
    found = [paragraph(words, "note"), rows_in_a_box(heads, rows[:_OPEN], "First answers")]
    if more := rows[_OPEN:]:
        found.append(fold(f"{len(more)} more", rows_in_a_box(heads, more, "Further answers")))
    return found


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


def _marked(answers: Sequence[Answer]) -> str:
    spans = any(answer.facts for answer in answers)
    return "the fact" if spans else "the words that are not in the question"


def _told(answer: Answer, who: str) -> Markup:
    if who not in answer.told:
        return Markup("–")
    return _highlit(answer.told[who], came_back(answer, who))


def _highlit(text: str, spans: Sequence[Span]) -> Markup:
    parts, at = [Markup("")], 0
    for start, end in sorted(spans):
        if start < at:
            continue
        parts.append(Markup("{}<mark>{}</mark>").format(text[at:start], text[start:end]))
        at = end
    return Markup("").join([*parts, Markup("{}").format(text[at:])])


def _texts(folder: RunFolder) -> dict[str, dict[str, object]]:
    """Read the texts of the forget set by id; none where there is no file."""
    file = folder.at(_TEXTS)
    if not file.is_file():
        return {}
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return {
            str(row["id"]): {key: row[key] for key in ("question", "answer", "generation")}
            | {"facts": row.get("facts")}
            for row in rows
            if row["split"] == "forget"
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
