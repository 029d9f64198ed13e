"""An informed start from a run's own rows, kept beside the checkpoint for a run that resumes."""

from __future__ import annotations

__all__ = ["inform"]

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from letheon import processes
from letheon.adapters import initialise
from letheon.adapters.layer import BoundedLoraLayer
from letheon.data.batch import collate
from letheon.data.template import Encoded
from letheon.errors import InputError
from letheon.folder import replacing
from letheon.models import answer_logits
from letheon.objectives.view import HeldLogits
from letheon.recipe import Adapter
from letheon.training.loop import Rows

_ROWS = 8


def inform(
    model: Any,
    adapter: Adapter,
    rows: Rows,
    *,
    seed: int,
    file: Path | None = None,
    watch: Callable[[dict[str, Any]], None] = lambda event: None,
) -> None:
    """Give the fresh adapter of ``model`` the start that ``adapter`` names; zero does nothing.

    ``file`` holds it for a resumed run; a broken one is as none, since the same rows and seed give
    the same start again. Of several processes each computes it; the main one's counts.
    Raises InputError when a side has no rows, StorageError when the disk is full.
    """
    if adapter.start == "zero":
        return
    model.to(processes.device())
    if file and processes.from_main(_read(model, file)):
        return
    watch({"event": "note", "text": f"adapter.start {adapter.start}: looking at the gradients"})
    sides = {"forget": rows.forget, "retain": rows.retain}
    losses = [
        _losses(model, _batches(name, side, adapter.start_batches, seed), rows.pad_id)
        for name, side in sides.items()
    ]
    training = model.training
    model.eval()
    with model.disable_adapter():
        initialise.inform(model, *losses)
    model.train(training)
    if file:
        processes.on_main(partial(_write, model, file))


def _batches(name: str, rows: Sequence[Encoded], count: int, seed: int) -> list[list[Encoded]]:
    """Draw ``count`` batches of rows, or as many as there are."""
    if not rows:
        raise InputError(
            "An informed start looks at forget and at retain rows.",
            got=f"no {name} rows",
            remedy="Give data with both sides, or set adapter.start to zero.",
        )
    some = random.Random(f"{seed}:{name}").sample(list(rows), min(len(rows), count * _ROWS))
    return [some[k : k + _ROWS] for k in range(0, len(some), _ROWS)]


def _losses(model: Any, batches: Sequence[Sequence[Encoded]], pad_id: int) -> list[initialise.Loss]:
    def loss(rows: Sequence[Encoded]) -> tuple[Tensor, int]:
        batch = collate(rows, pad_id=pad_id).to(processes.device())
        logits, _ = answer_logits(model, batch)
        logp = HeldLogits(logits, batch.targets, batch.rows, batch.lengths).logp()
        return -logp.mean(), len(logp)

    return [partial(loss, rows) for rows in batches]


def _factors(model: Any) -> dict[str, Tensor]:
    """Return the start of every adapted matrix by name, as saved: ``A0`` and ``B0``."""
    return {
        f"{layer.name}.{attribute}": parameter
        for layer in model.modules()
        if isinstance(layer, BoundedLoraLayer)
        for attribute in layer.start_names
        for parameter in getattr(layer, attribute).values()
    }


def _write(model: Any, file: Path) -> None:
    tensors = {k: p.detach().cpu().contiguous() for k, p in _factors(model).items()}
    with replacing(file) as temporary:
        save_file(tensors, temporary)


def _read(model: Any, file: Path) -> bool:
    """Whether the start was in the file, and now is in the model."""
    if not file.is_file():
        return False
    try:
        saved = load_file(file)
    except (OSError, SafetensorError):
        return False
    own = {k: p.shape for k, p in _factors(model).items()}
    if own != {k: v.shape for k, v in saved.items()}:
        return False
    for layer in model.modules():
        if isinstance(layer, BoundedLoraLayer):
            for index in range(len(layer.matrices)):
                names = layer.start_names[2 * index : 2 * index + 2]
                A, B = (saved[f"{layer.name}.{name}"] for name in names)
                layer.set_start(layer.active()[0], index, A, B)
    return True
