"""What a run allocates beside its model: scalar references cost nothing, gradients do not stay."""

from __future__ import annotations

from typing import Any

import peft
import pytest
from _measure import peak_bytes

from letheon import registry
from letheon.adapters import BoundedLoraConfig
from letheon.recipe import Training
from letheon.training import loop
from tiny import tiny_llama, tiny_rows

ROWS = loop.Rows(tiny_rows(64, seed=1), tiny_rows(64, seed=2), 0, tiny_rows(64, seed=3))
OBJECTIVES = registry.names("letheon.objectives")


def model_of(kind: str) -> Any:
    model = tiny_llama(seed=0, layers=4, hidden=128)
    return peft.get_peft_model(model, BoundedLoraConfig(seed=0)) if kind == "adapter" else model


def peak(name: str, kind: str, rows: int, retain: int | None = None) -> int:
    training = Training(steps=3, batch_size=rows, retain_batch_size=retain, lr=1e-6)
    model = model_of(kind)
    objective = registry.load("letheon.objectives", name).OBJECTIVE()
    return peak_bytes(lambda: loop.run(model, objective, ROWS, training) and None)


@pytest.mark.parametrize(("kind", "rows"), [("adapter", 1), ("full", 4)])
def test_scalars_of_the_reference_cost_nothing(kind: str, rows: int) -> None:
    base = peak("gradient_difference", kind, rows)
    # Preferred answers are a third side of a step: as many rows more.
    more = peak("gradient_difference", kind, rows, retain=2 * rows)
    # One of those that need the same.
    every = {registry.load("letheon.objectives", n).OBJECTIVE().needs: n for n in OBJECTIVES}
    for needs, name in every.items():
        if needs.forget_reference == "scalars":
            assert peak(name, kind, rows) <= 1.05 * (more if needs.preferred else base), name
    # The measure sees a second copy of the weights where there is one.
    if kind == "full":
        assert peak("kl", kind, rows) > 1.2 * base


def test_a_probe_has_the_memory_of_the_gradients() -> None:
    seen: list[bool] = []

    def probe(model: Any) -> dict[str, float]:
        seen.append(any(p.grad is not None for p in model.parameters()))
        return {}

    objective = registry.load("letheon.objectives", "npo").OBJECTIVE()
    training = Training(steps=2, batch_size=4, probe_every=1)
    model = model_of("full")
    loop.run(model, objective, ROWS, training, probe=probe)
    assert seen == [False, False]
    assert all(p.grad is None for p in model.parameters())
