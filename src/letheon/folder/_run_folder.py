"""One run on disk: everything a report or an attack needs, and what a killed run resumes from."""

from __future__ import annotations

__all__ = ["RunFolder"]

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from hashlib import file_digest
from pathlib import Path
from typing import Any

from letheon.errors import FolderError
from letheon.folder._atomic import (
    is_leftover,
    plain,
    remove,
    remove_leftovers,
    replacing,
    storage_errors,
)

_STEPPED = ("step", "weights", "probe")


class RunFolder:
    """The folder of one run; opening it touches nothing.

    Names of the files are class attributes; ``folder.at(RunFolder.SCORES)`` is a path. Writers
    raise ``StorageError``, readers ``FolderError``.
    """

    IDENTITY = "identity.json"
    RECIPE = "recipe.yaml"
    ENVIRONMENT = "environment.json"
    PROGRESS = "progress.jsonl"
    EXAMPLES = "examples.parquet"
    PRIVATE = "private"
    SCORES = "scores.json"
    COMPARISON = "comparison.json"
    ATTACKS = "attacks.json"
    ADAPTER = "adapter"
    MERGED = "merged"
    CHECKPOINTS = "checkpoints"
    REPORT = "report.html"
    MANIFEST = "manifest.json"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def at(self, name: str) -> Path:
        """Return the path of a file or folder in here, whether it exists or not."""
        return self.path / name

    def check_free(self) -> None:
        """Raise ``FolderError`` when there are files here that no run made; touches nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise FolderError(
                "A run needs a folder.", got=f"the file {self.path}", remedy="Choose another --out."
            )
        if self.path.is_dir() and not self.at(self.IDENTITY).exists():
            self._refuse_foreign()

    def claim(self, identity: str) -> bool:
        """Make the folder this run's own; return True when it continues the same run.

        Raises ``FolderError`` when the folder holds another run or files that no run made.
        """
        self.check_free()
        known = self._holds(identity)
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.path)
        if not known:
            self.write_json(self.IDENTITY, {"schema": 1, "identity": identity})
            return False
        self._rewrite_progress(self.progress())
        return True

    def finished(self, identity: str) -> bool:
        """Whether this run is in here and done; touches nothing.

        Raises ``FolderError`` when the folder holds another run.
        """
        return self._holds(identity) and self.at(self.MANIFEST).is_file()

    def identity(self) -> str:
        """Return the identity of the run that this folder holds."""
        return str(self.read_json(self.IDENTITY).get("identity"))

    def replacing(self, name: str) -> AbstractContextManager[Path]:
        """Yield a temporary path to write the file or folder ``name`` at, then put it in place.

        A body that raises leaves the old one untouched and nothing new behind.
        """
        return replacing(self.at(name))

    def write_text(self, name: str, text: str) -> None:
        """Write a whole UTF-8 file, or leave the old one."""
        with self.replacing(name) as fresh:
            fresh.write_text(text, encoding="utf-8")

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON object; numbers that are not finite become null."""
        self.write_text(name, json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON object of schema 1. Raises ``FolderError`` naming what is wrong with it."""
        file = self.at(name)
        if not file.is_file():
            raise FolderError(
                f"A run folder needs {name} for this.",
                got=str(self.path),
                remedy="Is this the folder of a finished run?",
            )
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise _broken(file, str(error)) from error
        if not isinstance(value, dict):
            raise _broken(file, f"a JSON {type(value).__name__}, not an object")
        if value.get("schema", 1) != 1:
            raise FolderError(
                f"{name} must have schema 1.",
                got=f"schema {value['schema']}",
                remedy="Upgrade letheon to read this folder.",
            )
        return value

    def write_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a file of JSON objects, one a line."""
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        self.write_text(name, "".join(lines))

    def read_rows(self, name: str, *fields: str) -> list[dict[str, Any]] | None:
        """Read what ``write_rows`` wrote; ``None`` where it is not there.

        Raises ``FolderError`` for a line that is no JSON object with all ``fields``.
        """
        file = self.at(name)
        if not file.is_file():
            return None
        try:
            # A text may hold what splitlines takes for a line's end.
            lines = file.read_text(encoding="utf-8").split("\n")
            rows: list[dict[str, Any]] = [json.loads(line) for line in lines if line]
            for row in rows:
                for each in fields:
                    row[each]
        except (ValueError, TypeError, KeyError) as error:
            raise FolderError(
                f"{file} holds a row with {', '.join(fields)} in each line.",
                got=f"{type(error).__name__}: {error}",
                remedy="Delete the run's folder and run the command again.",
            ) from error
        return rows

    def append_progress(self, event: Mapping[str, Any]) -> None:
        """Add one event as one line; it is in the file when this returns."""
        line = json.dumps(plain(event), ensure_ascii=False) + "\n"
        file = self.at(self.PROGRESS)
        with storage_errors(file), file.open("a", encoding="utf-8") as stream:
            stream.write(line)

    def progress(self) -> list[dict[str, Any]]:
        """Read all events; a last line cut off by a kill is left out, as is a missing file."""
        file = self.at(self.PROGRESS)
        if not file.exists():
            return []
        lines = file.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        return [_event(line, file, number) for number, line in enumerate(lines, start=1)]

    def truncate_progress(self, step: int) -> None:
        """Drop what a run resumed from ``step`` logs again: later steps, and why it stopped."""
        kept = [event for event in self.progress() if event["event"] != "stop"]
        self._rewrite_progress(
            [event for event in kept if event["event"] not in _STEPPED or event["step"] <= step]
        )

    def write_manifest(self) -> None:
        """Record the sha256 of every file but the manifest itself."""
        self.write_json(self.MANIFEST, {"schema": 1, "files": self._digests()})

    def sealed(self, name: str) -> bool:
        """Whether the manifest records the file ``name`` as it is now."""
        recorded: dict[str, str] = self.read_json(self.MANIFEST).get("files", {})
        file = self.at(name)
        return recorded.get(name) == (_sha256(file) if file.is_file() else None)

    def verify_manifest(self) -> None:
        """Raise ``FolderError`` unless the files are exactly those the manifest records."""
        recorded: dict[str, str] = self.read_json(self.MANIFEST).get("files", {})
        present = self._digests()
        changed = sorted(n for n in recorded.keys() & present.keys() if recorded[n] != present[n])
        problems = {
            "missing": sorted(recorded.keys() - present.keys()),
            "changed": changed,
            "not recorded": sorted(present.keys() - recorded.keys()),
        }
        words = [f"{what}: {', '.join(names)}" for what, names in problems.items() if names]
        if words:
            raise FolderError(
                "The files must be those of the manifest.",
                got="; ".join(words),
                remedy="Run the command again to remake them.",
            )

    def scrub(self) -> int:
        """Delete ``private/`` and return how many files it held; the manifest follows."""
        private = self.at(self.PRIVATE)
        count = sum(1 for path in private.rglob("*") if not path.is_dir())
        with storage_errors(private):
            remove(private)
        if self.at(self.MANIFEST).exists():
            self.write_manifest()
        return count

    def _holds(self, identity: str) -> bool:
        if not self.at(self.IDENTITY).exists():
            return False
        held = self.identity()
        if held != identity:
            raise FolderError(
                "A folder holds one run.",
                got=f"{self.path} with run {held}",
                remedy="Choose another --out, or delete the folder.",
            )
        return True

    def _refuse_foreign(self) -> None:
        names = sorted(path.name for path in self.path.iterdir())
        foreign = [name for name in names if not is_leftover(name)]
        if foreign:
            raise FolderError(
                "A new run needs an empty folder.",
                got=f"{self.path} with {', '.join(foreign[:5])}{', ...' * (len(foreign) > 5)}",
                remedy="Choose another --out, or delete the folder.",
            )

    def _rewrite_progress(self, events: list[dict[str, Any]]) -> None:
        lines = [json.dumps(event, ensure_ascii=False) + "\n" for event in events]
        if self.at(self.PROGRESS).exists():
            self.write_text(self.PROGRESS, "".join(lines))

    def _digests(self) -> dict[str, str]:
        files = (path for path in sorted(self.path.rglob("*")) if path.is_file())
        names = ((path.relative_to(self.path).as_posix(), path) for path in files)
        return {name: _sha256(path) for name, path in names if name != self.MANIFEST}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def _event(line: bytes, file: Path, number: int) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise _broken(file, f"line {number}: {error}") from error
    if not isinstance(event, dict) or "event" not in event:
        raise _broken(file, f"line {number}: not an event")
    return event


def _broken(file: Path, why: str) -> FolderError:
    remedy = "Delete the run's folder and run the command again."
    return FolderError(f"{file} must be valid JSON.", got=why, remedy=remedy)
