"""`letheon scrub`: take the texts out of a finished run's folder, and look for what is left.

``private/`` goes; ids that are texts themselves get numbers; then every byte of every file is
searched for what was to be forgotten, compressed columns included. ``private/`` is deleted last,
when nothing else holds a forgotten string, because it says what to look for: a killed or failed
scrub is made again by the same command.
"""

from __future__ import annotations

__all__ = ["LIMITS", "Scrubbed", "scrub", "show"]

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from letheon import recipe as recipes
from letheon.data.example import Corpus
from letheon.errors import DataError, FolderError, InputError, RecipeError, RunError
from letheon.folder import RunFolder
from letheon.traces import LEAST, Traces, UnreadableError

Watch = Callable[[dict[str, Any]], None]

RECORD = "scrub.json"

LIMITS = (
    "What this cannot show: the search is for texts. What the weights still know is told by the "
    "scores and the attacks, not by this. The model that the run began with is unchanged and knows "
    "everything, and so does that model with adapter/ put on it and switched off: what must be "
    "deleted besides is told by your own rules. The data files, and the folders of target and gold "
    "models, lie outside this folder; scrub those folders as well."
)

_TEXTS = f"{RunFolder.PRIVATE}/texts.jsonl"
# What the model answered while it still knew.
_BEFORE = f"{RunFolder.PRIVATE}/reference/target.jsonl"
_LABELS = f"{RunFolder.PRIVATE}/labels.json"
_LABELLED = ("id", "unit")
# Shorter ones stand in texts by chance, and those without a letter are numbers.
_LEAST_LABEL = 4


@dataclass(frozen=True)
class Scrubbed:
    """What was done, and what the search found; names of files, never the strings.

    ``strings``: forgotten strings that were looked for; ``short``: those too short for it.
    ``found``: how many of them each file holds. ``words``: the same of forgotten strings that are
    one word of letters, which tokenizers and pages hold for other reasons. ``unread``: files that
    could not be searched, with the reason. ``known``: what the strings were read from; empty where
    an earlier scrub had looked for them and no file has changed since.
    """

    strings: int
    short: int
    files: Mapping[str, str] = field(repr=False)
    removed: int = 0
    renamed: int = 0
    found: Mapping[str, int] = field(default_factory=dict)
    words: Mapping[str, int] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    known: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def clean(self) -> bool:
        """Whether every file was searched and none holds a forgotten string."""
        return not self.found and not self.unread

    def to_json(self) -> dict[str, Any]:
        """Return everything in plain types; ``files`` maps names to sha256."""
        return {"schema": 1, "clean": self.clean} | asdict(self)

    def check(self) -> None:
        """Raise RunError, naming the files, where something is left."""
        if self.clean:
            return
        told = [f"{count} in {name}" for name, count in self.found.items()]
        told += [f"{name} could not be searched ({why})" for name, why in self.unread.items()]
        raise RunError(
            "A scrubbed run holds no forgotten string.",
            got="; ".join(told),
            remedy="Delete or remake these files, then run the same command again; until then "
            "private/ is kept, because it says what to look for.",
        )


def scrub(
    run_folder: Path, overrides: Sequence[str] = (), *, watch: Watch = lambda event: None
) -> Scrubbed:
    """Remove the texts of a finished run and search what is left for what was to be forgotten.

    The forgotten strings are whole questions, answers and their paraphrases, marked facts, and what
    the model before answered in other words, as ``private/`` and the recipe's data tell them;
    ``overrides`` (``data.forget=...``) say where data are now. Where a string is left the result
    says in which file, ``private/`` stays, and ``Scrubbed.check`` raises.

    Raises FolderError for a folder that is no finished run's, DataError where nothing tells what to
    look for or the data are not those of the run, RecipeError for an override of something else.
    """
    folder = _finished(run_folder)
    moved = _data_only(overrides)
    texts, known, notes = _told(folder, moved)
    if not known:
        return _as_before(folder)
    labels = _labels(folder, texts)
    looked, short = _long_enough([*texts, *labels])
    traces = Traces(looked)
    renamed = _rename(folder, labels)
    if _holds(folder, RunFolder.REPORT, traces):
        folder.at(RunFolder.REPORT).unlink()
        notes = [*notes, f"{RunFolder.REPORT} held one and was deleted: letheon report makes it"]
    found = _searched(folder, traces, watch)
    found |= {"strings": len(looked), "short": short, "renamed": renamed}
    result = Scrubbed(**found, known=known, notes=notes)
    if not result.clean:
        return result
    if not folder.at(RECORD).is_file() or folder.read_json(RECORD)["files"] != result.files:
        folder.write_json(RECORD, result.to_json())
    removed = folder.scrub()
    return Scrubbed(**found, known=known, notes=notes, removed=removed)


def _finished(path: Path) -> RunFolder:
    folder = RunFolder(path)
    needed = (RunFolder.IDENTITY, RunFolder.RECIPE, RunFolder.SCORES, RunFolder.MANIFEST)
    missing = [name for name in needed if not folder.at(name).is_file()]
    if missing:
        raise FolderError(
            "What is scrubbed is the folder of a finished run.",
            got=f"{path} without {', '.join(missing)}",
            remedy="Name the folder that --out named, and let the run finish.",
        )
    return folder


def _data_only(overrides: Sequence[str]) -> Sequence[str]:
    for each in overrides:
        if not each.startswith("data."):
            raise RecipeError(
                "Only where the data are now can be said of a run that is scrubbed.",
                got=each,
                remedy="For example --set data.forget=forget.jsonl.",
            )
    return overrides


def _told(folder: RunFolder, moved: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the forgotten strings, what they were read from, and what could not be read."""
    texts, known, notes = [], [], []
    for name in (_TEXTS, _BEFORE):
        if folder.at(name).is_file():
            texts += list(_of_private(folder, name))
            known.append(name)
    try:
        corpus = _data(folder, moved)
        texts += list(_of_corpus(corpus))
        known.append(f"the data {corpus.name}")
    except InputError as error:
        if moved:
            raise
        notes.append(
            "the recipe's data are not there or not those of the run: marked facts and paraphrases "
            f"were not looked for ({error.rule})"
        )
    return list(dict.fromkeys(filter(None, map(str.strip, texts)))), known, notes


def _of_private(folder: RunFolder, name: str) -> Iterator[str]:
    """Yield questions and answers to forget and what, of the model before, gave an answer away."""
    try:
        rows = folder.read_rows(name, "split", "question", "answer", "generation") or ()
    except FolderError as error:
        remedy = "Delete it, and say where the data are: --set data.forget=...."
        raise FolderError(error.rule, got=error.got, remedy=remedy) from error
    for row in rows:
        if row["split"] == "forget":
            yield row["question"]
            yield row["answer"]
            if name == _BEFORE and _tells(row):
                yield row["generation"]


def _tells(row: Mapping[str, str]) -> bool:
    """Whether a generation has a word of the answer that the question has not.

    Others, such as "I do not know.", tell nothing of it and may stand anywhere.
    """
    asked, answer, said = (
        set(re.findall(r"\w{4,}|\d+", row[key].casefold()))
        for key in ("question", "answer", "generation")
    )
    return not said.isdisjoint(answer - asked)


def _data(folder: RunFolder, moved: Sequence[str]) -> Corpus:
    from letheon.parts import corpus_of  # imports torch, which nothing else here needs

    corpus = corpus_of(recipes.load(folder.at(RunFolder.RECIPE), moved).data)
    if folder.read_json(RunFolder.ENVIRONMENT).get("data") != dict(corpus.checksums):
        raise DataError(
            "The data that tell what to look for are those of the run.",
            got=f"{corpus.name} {corpus.version} with other checksums",
            remedy="Name them with --set data.forget=... and data.retain=..., or data.path=....",
        )
    return corpus


def _of_corpus(corpus: Corpus) -> Iterator[str]:
    for row in (*corpus.forget, *corpus.evaluation.get("forget", ())):
        yield from (row.question, row.answer)
        yield from (row.answer[start:end] for start, end in row.facts)
        for other in row.alternates.values():
            yield from (other.answer, other.question or "")


def _long_enough(texts: Iterable[str]) -> tuple[list[str], int]:
    every = list(dict.fromkeys(texts))
    kept = [text for text in every if len(text) >= LEAST]
    return kept, len(every) - len(kept)


def _labels(folder: RunFolder, texts: Sequence[str]) -> dict[str, str]:
    """Return ids and units that stand in the forgotten texts or hold such a name or text.

    Each comes with what takes its place.

    It is written down first, so that a scrub that was killed between two files goes on with it.
    """
    if folder.at(_LABELS).is_file():
        return dict(folder.read_json(_LABELS)["labels"])
    spoken = "\n".join(texts).casefold()
    every = sorted({label for file in _tables(folder) for label in _column_values(file)})
    spelt = [label for label in every if _stands_in(label, spoken)]
    held = [*spelt, *_long_enough(texts)[0]]
    telling = [label for label in every if label in spelt or any(text in label for text in held)]
    labels = {label: f"scrubbed-{number}" for number, label in enumerate(telling, start=1)}
    if labels:
        folder.write_json(_LABELS, {"schema": 1, "labels": labels})
    return labels


def _stands_in(label: str, spoken: str) -> bool:
    if len(label) < _LEAST_LABEL or not re.search(r"[^\W\d_]", label):
        return False
    return re.search(rf"(?<!\w){re.escape(label.casefold())}(?!\w)", spoken) is not None


def _tables(folder: RunFolder) -> list[Path]:
    return [p for p in _files(folder) if p.suffix == ".parquet"]


def _column_values(file: Path) -> set[str]:
    import pyarrow.parquet as pq

    names = [n for n in _LABELLED if n in pq.read_schema(file).names]
    columns = pq.read_table(file, columns=names).columns if names else []
    return {str(value) for column in columns for value in column.unique().to_pylist()}


def _rename(folder: RunFolder, labels: Mapping[str, str]) -> int:
    """Put numbers in the place of labels in every table; return how many labels there are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in _tables(folder) if labels else ():
        if not labels.keys() & _column_values(file):
            continue
        table = pq.read_table(file)
        for name in set(_LABELLED) & set(table.column_names):
            values = [labels.get(v, v) for v in map(str, table[name].to_pylist())]
            at = table.column_names.index(name)
            table = table.set_column(at, name, pa.array(values, pa.string()))
        with folder.replacing(file.relative_to(folder.path).as_posix()) as fresh:
            pq.write_table(table, fresh)
    return len(labels)


def _files(folder: RunFolder) -> list[Path]:
    """Return every file that is to stay."""
    private = folder.at(RunFolder.PRIVATE)
    every = (p for p in sorted(folder.path.rglob("*")) if not p.is_dir() or p.is_symlink())
    return [p for p in every if private not in p.parents]


def _holds(folder: RunFolder, name: str, traces: Traces) -> bool:
    file = folder.at(name)
    return file.is_file() and any(not _is_word(traces.strings[n]) for n in traces.in_file(file))


def _is_word(text: str) -> bool:
    return text.isalpha()


def _searched(folder: RunFolder, traces: Traces, watch: Watch) -> dict[str, Any]:
    files: dict[str, str] = {}
    found: dict[str, int] = {}
    words: dict[str, int] = {}
    unread: dict[str, str] = {}
    every = _files(folder)
    for done, file in enumerate(every, start=1):
        name = file.relative_to(folder.path).as_posix()
        try:
            hits = traces.in_file(file) | traces.in_text(name)
        except UnreadableError as error:
            unread[name] = str(error)
            continue
        single = sum(_is_word(traces.strings[number]) for number in hits)
        found |= {name: len(hits) - single} if len(hits) > single else {}
        words |= {name: single} if single else {}
        if name not in (RunFolder.MANIFEST, RECORD):  # both are written again
            files[name] = _sha256(file)
        watch({"event": "progress", "name": "reading files", "done": done, "total": len(every)})
    return {"files": files, "found": found, "words": words, "unread": unread}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def _as_before(folder: RunFolder) -> Scrubbed:
    """Return what an earlier scrub found, where the files are still those that it searched."""
    there = folder.at(RECORD).is_file()
    record = folder.read_json(RECORD) if there else {}
    names = {p.relative_to(folder.path).as_posix(): p for p in _files(folder)}
    now = {n: _sha256(p) for n, p in names.items() if n not in (RunFolder.MANIFEST, RECORD)}
    if not there or now != record["files"]:
        changed = sorted(n for n in now if record.get("files", {}).get(n) != now[n])
        raise DataError(
            "A scrub needs to know what to look for: private/ or the run's data.",
            got=f"neither, and {', '.join(changed) or 'files'} not searched before"
            if there
            else f"neither at {folder.path}",
            remedy="Say where the data are: --set data.forget=... --set data.retain=....",
        )
    removed = folder.scrub()  # a kill may have come before the manifest
    return Scrubbed(
        strings=record["strings"],
        short=record["short"],
        files=now,
        removed=removed,
        words=record["words"],
        notes=["scrubbed before; no file has changed since"],
    )


def show(found: Scrubbed, console: Console) -> None:
    """Print what was done and what was found, and what that does not show."""
    lines = [
        f"private files removed: {found.removed}",
        *([f"ids that were texts, now numbers: {found.renamed}"] if found.renamed else []),
        f"forgotten strings looked for: {found.strings}"
        + (f", from {' and '.join(found.known)}" if found.known else ""),
        *([f"not looked for, below {LEAST} characters: {found.short}"] if found.short else []),
        f"files searched, every byte: {len(found.files)}",
        *(f"FOUND {count} in {name}" for name, count in found.found.items()),
        *(f"NOT SEARCHED {name}: {why}" for name, why in found.unread.items()),
        *(
            f"single words, as any text or vocabulary has them: {count} in {name}"
            for name, count in found.words.items()
        ),
        *found.notes,
        "found: nothing" if found.clean else "private/ is kept until nothing is found",
        "",
        LIMITS,
    ]
    for line in lines:
        console.print(Text(line))
