"""Progress for people: bars on a terminal, plain lines in a pipe."""

from __future__ import annotations

__all__ = ["Board", "console", "hush", "number", "watcher"]

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

# Columns that name, count and clock take beside the bar: a longer note would squeeze them away.
_BESIDE = 62

# In a pipe a line is printed at most this often, in seconds, for one piece of work.
_QUIET = 10.0


# Whether the command line was told to show no progress.
_hushed = False


def hush(quiet: bool) -> None:
    """Show no progress in this process from now on, if ``quiet``; results and errors stay."""
    global _hushed
    _hushed = quiet


def console(*, stderr: bool = False) -> Console:
    """Return a console; results go to standard output, progress to standard error."""
    return Console(stderr=stderr, highlight=False)


def number(value: float | None) -> str:
    """Write a score: four decimals, or scientific where that would show next to nothing."""
    if value is None:
        return "-"
    return f"{value:.2e}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"


class Board:
    """One line of progress for each named piece of work; nothing where it is not ``shown``."""

    def __init__(self, *, shown: bool = True) -> None:
        self._shown = shown and not _hushed
        self._console = console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<30}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not (self._shown and sys.stderr.isatty()),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, tuple[float, str]] = {}

    def __enter__(self) -> Board:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, name: str, done: int, total: int | None, note: str = "") -> None:
        """Move the line ``name`` to ``done`` of ``total``."""
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, note=note)
        room = max(0, self._console.width - _BESIDE)
        self._bars.update(self._tasks[name], completed=done, total=total, note=note[:room])
        if self._bars.disable:
            self._print(name, f"{name}: {done}/{total or '?'} {note}".rstrip(), done == total)

    def drop(self, name: str) -> None:
        """Take the line ``name`` away; do nothing when there is none."""
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))
            self._said.pop(name, None)

    def _print(self, name: str, line: str, last: bool) -> None:
        at, before = self._said.get(name, (0.0, ""))
        due = self._shown and (last or time.monotonic() - at > _QUIET)
        if due and line != before:
            self._said[name] = (time.monotonic(), line)
            print(line, file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Print one line above the bars."""
        if self._shown:
            self._bars.console.print(text, markup=False)


@contextmanager
def watcher(*, shown: bool = True) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that shows the events of one run."""
    with Board(shown=shown) as board:
        steps: int | None = None
        note = ""

        def watch(event: dict[str, Any]) -> None:
            nonlocal steps, note
            match event["event"]:
                case "resume":
                    steps = event["steps"]
                    if event["step"]:
                        board.say(f"resumed after step {event['step']}")
                case "probe":
                    scores = event["scores"].items()
                    note = " ".join(f"{k} {number(v)}" for k, v in list(scores)[:3])
                case "step":
                    board.show("training", event["step"], steps, note)
                case "progress":
                    board.show(event["name"], event["done"], event["total"])
                case "phase" if "seconds" in event:
                    board.say(f"{event['name']}: {event['seconds']:.1f} s")
                case "phase":
                    board.say(event["name"])
                case "stop":
                    board.say(f"stopped after step {event['step']}: {event['reason']}")
                case "note":
                    board.say(event["text"])

        yield watch
