"""Times and peaks on the device that is there: an accelerator, or a CPU as in ``_measure``."""

from __future__ import annotations

__all__ = ["DEVICE", "interleaved", "peak_bytes"]

from collections.abc import Mapping

import _measure
import torch
from _measure import Variant

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def interleaved(variants: Mapping[str, Variant], *, rounds: int) -> dict[str, list[float]]:
    """Return seconds per round: between two events on the card, or of this process on a CPU.

    Three rounds are not counted on a card: they load kernels and fill the allocator.
    """
    if DEVICE == "cpu":
        return _measure.interleaved(variants, rounds=rounds)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for counted in [False, False, False, *[True] * rounds]:
        for name, run in variants.items():
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            began.record()
            run()
            ended.record()
            torch.cuda.synchronize()
            if counted:
                times[name].append(began.elapsed_time(ended) / 1000)
    return times


def peak_bytes(run: Variant) -> int:
    """Return the largest number of bytes allocated during ``run`` beyond those before it.

    On a card: before its first call, so that what it keeps between calls counts. Ask before timing.
    """
    if DEVICE == "cpu":
        return _measure.peak_bytes(run)
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
