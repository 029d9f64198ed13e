"""The reference's scalars on disk, so that a resumed run need not run the untouched model again.

One safetensors file: ``logp`` [N] fp32, log-probabilities (nats) of the answer tokens of all forget
rows one after another, and ``lengths`` [n] int64, how many each row has. Its key names the rows and
the untouched model: a file of others, or a broken one, is as none.
"""

from __future__ import annotations

__all__ = ["mark_of", "read", "write"]

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from letheon.data.template import Encoded
from letheon.folder import replacing

# Of each parameter so many numbers are looked at: enough to tell models apart, and cheap.
_SAMPLE = 16


def mark_of(parameters: Iterable[tuple[str, Tensor]]) -> str:
    """Return a sha256 over names, shapes and some numbers of a model's whole parameters."""
    sha = hashlib.sha256()
    for name, parameter in parameters:
        flat = parameter.detach().flatten()
        some = flat[:: max(1, len(flat) // _SAMPLE)].cpu().contiguous()
        sha.update(repr((name, tuple(parameter.shape), str(parameter.dtype))).encode())
        sha.update(some.view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def read(path: Path, mark: str, rows: Sequence[Encoded]) -> list[Tensor] | None:
    """Return every row's log-probabilities, or None where the file is not whole or not ours."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("key") != _key(mark, rows):
                return None
            logp, lengths = file.get_tensor("logp"), file.get_tensor("lengths").tolist()
    except (OSError, SafetensorError):
        return None
    whole = lengths == [sum(row.answer[1:]) for row in rows] and logp.shape == (sum(lengths),)
    return list(torch.split(logp, lengths)) if whole else None


def write(path: Path, mark: str, rows: Sequence[Encoded], scalars: Sequence[Tensor]) -> None:
    """Write the log-probabilities of every row. Raises StorageError when the disk is full."""
    tensors = {"logp": torch.cat(list(scalars)), "lengths": torch.tensor(list(map(len, scalars)))}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"key": _key(mark, rows)})


def _key(mark: str, rows: Sequence[Encoded]) -> str:
    sha = hashlib.sha256(mark.encode())
    for row in rows:
        sha.update(repr((row.ids, row.answer)).encode())
    return sha.hexdigest()
