"""The processes of one run: how many there are, which one writes, and how an error ends them all.

A launcher such as torchrun starts one command several times and says so in the environment. Every
process computes; the main one alone writes files and speaks to the user.
"""

from __future__ import annotations

__all__ = [
    "count",
    "device",
    "first_to_fail",
    "from_main",
    "is_main",
    "join",
    "on_main",
    "one_voice",
    "only_main",
    "resident_bytes",
]

import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import Any, TypeVar

from letheon.errors import InputError, LetheonError

T = TypeVar("T")

_LAUNCHED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

# Longer than the main process takes to write the largest checkpoint, while the others wait.
_PATIENCE = timedelta(hours=2)


def count() -> int:
    """Return how many processes the launcher says there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


def join(asked: int | None = None) -> None:
    """Meet the other processes, once, and make sure that they are as many as they should be.

    ``asked`` is the recipe's ``training.processes``. Raises InputError when the launcher started
    another number, or when there are not as many as the launcher says.
    """
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    started = count()
    if missing := [name for name in _LAUNCHED if started > 1 and name not in os.environ]:
        raise _other_number(f"WORLD_SIZE {started}, but no {', '.join(missing)}", started)
    # Left to itself accelerate runs alone where a launcher finds no accelerator, and says nothing.
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    met = PartialState(cpu=on_cpu, timeout=_PATIENCE).num_processes
    if met != started:
        raise _other_number(f"{met}, where WORLD_SIZE says {started}", started)
    if asked not in (None, met):
        raise _other_number(f"{met}, where training.processes says {asked}", asked)


def device() -> Any:
    """Return the torch device that this process computes on; ``join`` comes first."""
    from accelerate import PartialState

    return PartialState().device


def on_main(work: Callable[[], T]) -> T:
    """Do ``work`` on the main process while the others wait.

    Every process returns what it returned, or raises the LetheonError that it raised.
    """
    if count() == 1:
        return work()
    result: Any = None
    error: LetheonError | None = None
    if is_main():
        try:
            result = work()
        except LetheonError as raised:
            error = raised
    result, error = from_main((result, error))
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def from_main(value: T) -> T:
    """Return the main process's ``value`` on every process: for what decides how a run goes on."""
    if count() == 1:
        return value
    import torch.distributed as dist

    said = [value]
    dist.broadcast_object_list(said)
    return said[0]


def only_main(watch: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Return ``watch`` on the main process, and what ignores every event on the others."""
    return watch if is_main() else lambda event: None


@contextmanager
def one_voice() -> Iterator[None]:
    """Let no process but the main one print in the block."""
    if is_main():
        yield
        return
    with open(os.devnull, "w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
        yield


def resident_bytes() -> int:
    """Return the largest resident set that this process has had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def first_to_fail() -> bool:
    """Whether this process is the first to ask: it reports what ended the run, once for all.

    The others fail of the same error, or of losing the one that failed; the launcher ends them.
    """
    if count() == 1:
        return True
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    try:
        where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(*where, is_master=False, timeout=timedelta(seconds=10))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return bool(store.add(f"letheon/failed/{attempt}", 1) == 1)
    except (KeyError, ValueError, RuntimeError):  # no launcher to ask: better twice than never
        return True


def _other_number(got: str, wanted: int) -> InputError:
    return InputError(
        "A run has as many processes as were asked for.",
        got=got,
        remedy=f"Start it with torchrun --nproc-per-node {wanted} -m letheon ..., or ask for "
        "another number.",
    )
