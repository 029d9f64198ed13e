"""torchrun on this machine, on a free port, with Letheon's source and the tests' helpers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import letheon

SOURCE = Path(letheon.__file__).parents[1]
TESTS = Path(__file__).parent

# A process that was not ended when another one failed would wait for as long as this.
SECONDS = 240


def start(*words: str | Path, processes: int = 2) -> subprocess.Popen[str]:
    """Start a script or ``-m module`` with its arguments in several processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--nproc-per-node", str(processes), "--master-port", str(port)),
        *map(str, words),
    ]
    ours = {"PYTHONPATH": f"{SOURCE}:{TESTS}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        command,
        env=os.environ | ours,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*words: str | Path, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Start and wait; a command that does not end is ended, and the test fails."""
    started = start(*words, processes=processes)
    try:
        out, err = started.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        started.send_signal(signal.SIGINT)  # torchrun ends its processes
        raise
    return subprocess.CompletedProcess(words, started.returncode, out, err)


def said(err: str) -> list[str]:
    """Return the lines in which processes, not torchrun, say why they ended."""
    own = re.split(r"^[EW]\d{4} .*exitcode.*$", err, maxsplit=1, flags=re.M)[0]
    lines = [re.sub(r"^\[rank\d+\]: ", "", line) for line in own.splitlines()]
    return [line for line in lines if re.match(r"error:|\w+Error\b", line)]
