"""Who works on a study, and who of them is gone.

A worker writes a file of its own in ``workers/`` again every ``BEAT`` seconds and removes it when
it leaves. On the same machine it is gone as soon as its process is; on another, when its file has
not changed for ``STALE`` seconds by the clock of the one who looks: clocks need not agree.
"""

from __future__ import annotations

__all__ = ["BEAT", "STALE", "Presence"]

import os
import platform
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from letheon.folder import RunFolder

BEAT = 10.0
STALE = 120.0


class Presence:
    """This worker, and what it sees of the others, in the folder of a study."""

    def __init__(self, out: Path) -> None:
        self.name = uuid4().hex[:12]
        self._folder = RunFolder(out / "workers")
        self._beats = 0
        self._due = 0.0
        self._seen: dict[str, tuple[int, float]] = {}
        self.beat()

    def beat(self) -> None:
        """Say that this worker is there; between two beats this does nothing."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + BEAT
        self._beats += 1
        pid = os.getpid()
        self._folder.write_json(
            f"{self.name}.json",
            {"machine": _machine(), "pid": pid, "started": _started(pid), "beats": self._beats},
        )

    def leave(self) -> None:
        """Say that this worker works no more."""
        with suppress(OSError):
            self._folder.at(f"{self.name}.json").unlink(missing_ok=True)

    def gone(self, worker: str | None) -> bool:
        """Whether a worker will not finish what it took; None: it never said who it was."""
        if worker is None:
            return self._silent("", 0)
        if worker == self.name:
            return False
        if not self._folder.at(f"{worker}.json").is_file():
            return True
        found = self._folder.read_json(f"{worker}.json")
        if found["machine"] == _machine() != "":
            return bool(_started(found["pid"]) != found["started"])
        return self._silent(worker, found["beats"])

    def _silent(self, worker: str, beats: int) -> bool:
        now = time.monotonic()
        known, since = self._seen.get(worker, (None, now))
        if known != beats:
            since = now
        self._seen[worker] = (beats, since)
        return now - since > STALE


def _machine() -> str:
    """Name what process numbers are unique in until it restarts; "" where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{platform.node()}/{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Return when a process began, which tells it from a later one of its number; None: none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    # A zombie works no more: field 3 of proc(5) is the state, field 22 the start in clock ticks.
    return None if fields[0] == "Z" else fields[19]
