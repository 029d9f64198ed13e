"""Interleaved CPU times, peak allocations and the file that every bench writes.

Times are CPU seconds of this process (``time.process_time``), so that other programs' turns do not
count; variants take turns within a round and ratios are medians over rounds of the ratio within a
round, so that a slower or faster minute touches both sides. Peaks are of bytes that torch's CPU
allocator handed out and had not got back, read from the profiler's allocation events; what exists
before the call (inputs, weights) is not counted, nor is scratch inside the BLAS library.
"""

from __future__ import annotations

__all__ = ["interleaved", "median_ratio", "peak_bytes", "peak_of", "show", "write"]

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

Variant = Callable[[], None]


def interleaved(variants: Mapping[str, Variant], *, rounds: int) -> dict[str, list[float]]:
    """Run every variant once a round, after one uncounted round; return CPU seconds per round."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for counted in [False, *[True] * rounds]:
        for name, run in variants.items():
            start = time.process_time()
            run()
            if counted:
                times[name].append(time.process_time() - start)
    return times


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median over rounds of ours / theirs."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def peak_bytes(run: Variant) -> int:
    """Return the largest number of bytes allocated at one time during a second ``run``."""
    run()
    return peak_of(run)


def peak_of(run: Variant) -> int:
    """Return the largest number of bytes allocated at one time during ``run``."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    assert recorded.profiler is not None
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def show(ratios: Mapping[str, float]) -> Mapping[str, float]:
    """Print some ratios as soon as they are known, and return them."""
    for name, value in ratios.items():
        print(f"{name:<48} {value:.3f}", flush=True)
    return ratios


def write(ratios: Mapping[str, float], path: Path | None) -> None:
    """Write the ratios as ``{"ratios": ...}`` where a path is given."""
    if path is not None:
        path.write_text(json.dumps({"ratios": dict(ratios)}, indent=2) + "\n")
