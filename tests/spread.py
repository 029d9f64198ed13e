"""One process of a test's training runs; started by torchrun, or called in the test's own process.

Usage: spread.py FOLDER CASES, a JSON mapping from a case's name to what ``runs`` takes. Every
process writes its id into FOLDER, the main one FOLDER/CASE/NAME.pt for every objective. One start
serves many cases, since a process imports for longer than it trains.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import peft
import torch
from torch.distributed.tensor import DTensor

from letheon import processes, registry
from letheon.adapters import BoundedLoraConfig
from letheon.adapters.layer import BoundedLoraLayer
from letheon.evaluation.teacher_forced import score_answers
from letheon.recipe import Training
from letheon.training import loop
from letheon.training.checkpoint import trained_state
from tiny import tiny_llama, tiny_rows

ROWS = loop.Rows(tiny_rows(10, seed=1), tiny_rows(14, seed=2), 0, tiny_rows(10, seed=3))
TRAINING = {"steps": 5, "batch_size": 4, "lr": 1e-3, "max_grad_norm": 1.0, "weights_every": 2}


def runs(
    folder: Path,
    objectives: list[str],
    training: dict[str, Any],
    *,
    adapter: bool = True,
    dtype: str = "float32",
    params: dict[str, Any] | None = None,
    log: bool = False,
    probe: bool = False,
    each: dict[str, dict[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Train a tiny model under every objective; return events and parameters by its name.

    ``log``: every event is appended to FOLDER/log at once, and FOLDER/last.pt is resumed from.
    ``probe``: the loss on the forget rows is probed, and measured again at the end; the probe's
    one score counts its calls. ``each``: more settings of an objective's own training.
    """
    found = {}
    for name in objectives:
        model: Any = tiny_llama(seed=0).to(getattr(torch, dtype))
        if adapter:
            model = peft.get_peft_model(model, BoundedLoraConfig(r=4, seed=0))
        events: list[dict[str, Any]] = []

        def watch(event: dict[str, Any], events: list[dict[str, Any]] = events) -> None:
            events.append(event)
            if log:
                with (folder / "log").open("a") as file:
                    file.write(json.dumps(event) + "\n")

        probed: list[float] = []

        def measure(model: Any, probed: list[float] = probed) -> dict[str, float]:
            answers = score_answers(model, ROWS.forget, pad_id=0)
            probed.append(-sum(float(answer.logp.sum()) for answer in answers))
            return {"calls": len(probed)}

        outcome = loop.run(
            model,
            registry.make(
                "letheon.objectives",
                name,
                registry.example("letheon.objectives", name) | (params or {}),
            ),
            ROWS,
            Training(**(TRAINING | training | (each or {}).get(name, {}))),
            watch=watch,
            probe=measure if probe else None,
            checkpoint=folder / "last.pt" if log else None,
        )
        if probe:
            measure(model)
        found[name] = {
            "events": events,
            "kept": outcome.kept,
            "probed": probed,
            "params": trained_state(model),
            "held": sum(holds(module) for module in model.modules()),
            "sharded": all(isinstance(p, DTensor) for p in model.parameters()),
        }
    return found


def holds(module: torch.nn.Module) -> bool:
    """Whether an adapted layer keeps its effective weight between calls."""
    kept = module._kept.values() if isinstance(module, BoundedLoraLayer) else ()
    return any(weight._effective is not None for weight in kept)


def main() -> None:
    folder = Path(sys.argv[1])
    (folder / f"pid{os.environ['RANK']}").write_text(str(os.getpid()))
    for case, settings in json.loads(sys.argv[2]).items():
        place = folder / case
        place.mkdir(exist_ok=True)
        for name, result in runs(place, **settings).items():
            if processes.is_main():
                torch.save(result, place / f"{name}.pt")


if __name__ == "__main__":
    main()
