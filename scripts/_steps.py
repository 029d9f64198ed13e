"""Steps of a long job under a time limit: each done once, its result kept, its seconds counted."""

from __future__ import annotations

__all__ = ["Clock", "Ledger", "Step", "TimeOverError", "finish"]

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from letheon.errors import DivergedError
from letheon.folder import replacing

Watch = Callable[[dict[str, Any]], None]


class TimeOverError(Exception):
    """The time that a command was given is over."""


class Clock:
    """The seconds that a command was given, from now on; None is no limit."""

    def __init__(self, seconds: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._end = None if seconds is None else now() + seconds

    def left(self) -> float | None:
        """Return the seconds that are left, at least 0; None without a limit."""
        return None if self._end is None else max(0.0, self._end - self._now())

    def check(self) -> None:
        """Raise TimeOverError when the time is over."""
        if self.left() == 0:
            raise TimeOverError

    def watch(self, show: Watch, *, every: int | None) -> Watch:
        """Return a run's ``watch`` that shows events and raises TimeOverError in time.

        A run that writes a checkpoint ``every`` so many steps is left just after one where the next
        would come too late, so that nothing is computed twice; otherwise where the time ends.
        """
        mark: float | None = None

        def watch(event: dict[str, Any]) -> None:
            nonlocal mark
            show(event)
            self.check()
            # The checkpoint of a step is written after its event.
            saved = event["event"] == "step" and every and (event["step"] - 1) % every == 0
            if event["event"] == "resume" or saved:
                before, mark, left = mark, self._now(), self.left()
                if saved and before is not None and left is not None and left < mark - before:
                    raise TimeOverError

        return watch


@dataclass(frozen=True)
class Step:
    """One piece of ``stage``: ``work`` returns what is kept, with ``failed`` where it failed."""

    stage: str
    name: str
    work: Callable[[], Mapping[str, Any]]


class Ledger:
    """Results of finished steps, and the seconds of all, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def result(self, name: str) -> dict[str, Any] | None:
        """Return what a finished step left; None where it has not been done, or failed."""
        found = self._read(name)
        return None if found is None or found["result"].get("failed") else found["result"]

    def latest(self, name: str) -> dict[str, Any] | None:
        """Return what a step left when it last ended, failed or not."""
        found = self._read(name)
        return None if found is None else dict(found["result"])

    def seconds(self, name: str | None = None) -> float:
        """Return the seconds of one step, or of all, over all commands."""
        log = self._folder / "seconds.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        rows = [json.loads(line) for line in lines]
        return float(sum(r["seconds"] for r in rows if name in (None, r["step"])))

    def keep(self, name: str, result: Mapping[str, Any]) -> None:
        """Keep what a step left, whole or not at all."""
        with replacing(self._folder / f"{name}.json") as fresh:
            fresh.write_text(json.dumps({"schema": 1, "result": dict(result)}, indent=1) + "\n")

    def spend(self, name: str, seconds: float) -> None:
        """Count seconds of a step, finished or not."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "seconds.jsonl").open("a") as log:
            log.write(json.dumps({"step": name, "seconds": round(seconds, 2)}) + "\n")

    def _read(self, name: str) -> dict[str, Any] | None:
        file = self._folder / f"{name}.json"
        return json.loads(file.read_text()) if file.exists() else None


def finish(
    steps: Sequence[Step], ledger: Ledger, clock: Clock, *, say: Callable[[str], None]
) -> tuple[list[str], list[str]]:
    """Do the steps that are not done; return the names of those left, and of those that failed.

    A failed step does not hold up the others; the next command does it again. A run whose loss is
    not finite (DivergedError) has failed; any other error is the caller's.
    """
    failed = []
    for place, step in enumerate(steps):
        if ledger.result(step.name) is not None:
            say(f"{step.stage}: {step.name} is done")
            continue
        say(f"{step.stage}: {step.name}")
        began = time.monotonic()
        try:
            clock.check()
            result = step.work()
        except TimeOverError:
            waiting = (s.name for s in steps[place:] if ledger.result(s.name) is None)
            return list(waiting), failed
        except DivergedError as error:
            result = {"failed": str(error)}
        finally:
            ledger.spend(step.name, time.monotonic() - began)
        ledger.keep(step.name, result)
        if result.get("failed"):
            failed.append(step.name)
            say(f"{step.stage}: {step.name} FAILED: {result['failed']}")
    return [], failed
