"""What a run ran on: versions, platform, processor, git state; no host name and no paths."""

from __future__ import annotations

__all__ = ["environment"]

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("letheon", "torch", "transformers", "peft", "accelerate", "numpy", "scipy")


def environment() -> dict[str, object]:
    """Describe the software, the machine and the git state of the working directory.

    ``versions`` maps a package to its version, None where it is not installed; ``git`` is None
    outside a repository. Accelerators are for the caller to add: naming them needs torch.
    """
    return {
        "schema": 1,
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in _PACKAGES},
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": {"model": _cpu_model(), "count": os.cpu_count()},
        "git": _git(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _git() -> dict[str, object] | None:
    commit = _ask_git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_ask_git("status", "--porcelain"))}


def _ask_git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
