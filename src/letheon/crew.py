"""Jobs side by side, each in a process of its own that has imported everything already.

A job is a function of its arguments and a ``watch``; what it tells ``watch`` moves a line of the
board. A fresh process for each job makes the memory it tells its own, and lets the system kill one
without the others.
"""

from __future__ import annotations

__all__ = ["Crew", "Ended", "Watch"]

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from threading import Thread
from typing import Any, NamedTuple

from letheon import ui
from letheon.errors import LetheonError, RunError

Watch = Callable[[dict[str, Any]], None]

# Imported once, by the process that the others are forked from: each would take ten seconds.
_PRELOAD = ["letheon.run", "transformers.models.llama.modeling_llama"]

# A job tells how far it is at most this often, in seconds.
_QUIET = 0.3


class Ended(NamedTuple):
    """A job that ended: the ``value`` it returned or the ``error`` it raised."""

    name: str
    value: Any
    error: LetheonError | None


class Crew:
    """Runs up to ``size`` jobs at a time; with size 0 each in this process, when it is started.

    ``tick`` is called now and then while a job of size 0 keeps this process busy.
    """

    def __init__(
        self, size: int, *, board: ui.Board, tick: Callable[[], None] = lambda: None
    ) -> None:
        # Tiny models run fastest on one thread, and results must not depend on how many there are.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self._size = size
        self._board = board
        self._tick = tick
        self._context = _context()
        self._running: dict[Connection, tuple[str, Any]] = {}
        self._ended: list[Ended] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for _name, process in self._running.values():
            process.kill()
        for connection in list(self._running):
            self._leave(connection)

    @property
    def free(self) -> bool:
        """Whether another job may be started."""
        return len(self._running) + len(self._ended) < max(1, self._size)

    def start(self, name: str, work: Callable[..., Any], *arguments: Any) -> None:
        """Start ``work(*arguments, watch)`` under ``name``."""
        if self._size == 0:
            self._ended.append(self._do(name, work, arguments))
            return
        ours, theirs = self._context.Pipe()
        process = self._context.Process(  # type: ignore[attr-defined]
            target=_serve, args=(theirs, work, arguments), daemon=True
        )
        process.start()
        theirs.close()
        self._running[ours] = (name, process)

    def poll(self, seconds: float) -> list[Ended]:
        """Wait up to ``seconds`` for jobs to end; return those that did and move the board."""
        ended, self._ended = self._ended, []
        until = time.monotonic() + (0 if ended else seconds)
        while True:
            left = until - time.monotonic()
            if not self._running:
                if not ended and left > 0:
                    time.sleep(left)
                return ended
            found = wait(list(self._running), timeout=max(0.0, left))
            ended += [end for each in found if (end := self._hear(each)) is not None]
            if ended or left <= 0:
                return ended

    def _hear(self, connection: Any) -> Ended | None:
        name, process = self._running[connection]
        try:
            kind, *said = connection.recv()
        except (EOFError, OSError):
            process.join()
            self._leave(connection)
            return Ended(name, None, _killed(name, process.exitcode))
        if kind == "progress":
            self._board.show(name, *said)
            return None
        self._leave(connection)
        return Ended(name, *said)

    def _leave(self, connection: Connection) -> None:
        name, process = self._running.pop(connection)
        process.join()
        connection.close()
        self._board.drop(name)

    def _do(self, name: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Ended:
        def tell(done: int, total: int | None, note: str) -> None:
            self._tick()
            self._board.show(name, done, total, note)

        try:
            return Ended(name, work(*arguments, _teller(tell)), None)
        except LetheonError as error:
            return Ended(name, None, error)
        finally:
            self._board.drop(name)


def _context() -> BaseContext:
    """Return how jobs start: from one process that has imported everything, where there can be."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context


def _serve(connection: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Do a job in its own process and send what came of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is for the one who started it
    Thread(target=_end_with_parent, daemon=True).start()

    def tell(*said: Any) -> None:
        connection.send(("progress", *said))

    try:
        value = work(*arguments, _teller(tell))
    except LetheonError as error:
        connection.send(("ended", None, error))
    except Exception as error:
        # Whatever it is, the one who waits must hear of it; the traceback goes to standard error.
        connection.send(("ended", None, RunError(f"A job failed: {error!r}.", remedy=_REPORT)))
        raise
    else:
        connection.send(("ended", value, None))


_REPORT = "See the traceback above; this is not a fault of the input."


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _killed(name: str, code: int | None) -> RunError:
    return RunError(
        "A job's process ended without a result; the system kills one when memory is short.",
        got=f"{name}, exit code {code}",
        remedy="Run fewer jobs at a time; the same command goes on.",
    )


def _teller(tell: Callable[[int, int | None, str], None]) -> Watch:
    """Return a watch that condenses a run's events to how far it is, told now and then."""
    steps: int | None = None
    note = ""
    last = 0.0

    def watch(event: dict[str, Any]) -> None:
        nonlocal steps, note, last
        done = total = None
        match event["event"]:
            case "resume":
                steps, done = event["steps"], event["step"]
            case "probe":
                scores = list(event["scores"].items())[:2]
                note = " ".join(f"{name} {ui.number(value)}" for name, value in scores)
            case "step":
                done = event["step"]
            case "progress":
                done, total = event["done"], event["total"]
        now = time.monotonic()
        if done is not None and (now - last > _QUIET or done == steps):
            last = now
            tell(done, total or steps, event["name"] if total else note)

    return watch
