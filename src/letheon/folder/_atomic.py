"""Replace a file or a folder as a whole: the old one stays until the new one is on the disk."""

from __future__ import annotations

__all__ = ["is_leftover", "plain", "remove", "remove_leftovers", "replacing", "storage_errors"]

import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from numbers import Integral, Real
from pathlib import Path

from safetensors import SafetensorError

from letheon.errors import LetheonError, StorageError

_SUFFIX = ".letheon-tmp"
_ASIDE = ".old" + _SUFFIX


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a path beside ``target`` to write a file or a folder at; then put it in its place.

    When the body raises, what it wrote is removed and the old ``target`` is untouched. Raises
    ``StorageError`` when the system cannot write (disk full, no permission).
    """
    fresh = target.with_name(f".{target.name}.{os.getpid()}{_SUFFIX}")
    with storage_errors(target):
        try:
            remove(fresh)
            target.parent.mkdir(parents=True, exist_ok=True)
            yield fresh
            _sync_tree(fresh)
            _swap(fresh, target)
            _sync(target.parent)
        finally:
            with suppress(OSError):
                remove(fresh)


@contextmanager
def storage_errors(target: Path) -> Iterator[None]:
    """Turn a writer's failure (an ``OSError``, safetensors', torch.save's) into StorageError."""
    try:
        yield
    except LetheonError:
        raise
    except (OSError, SafetensorError) as error:
        raise _storage_error(target, error) from error
    except RuntimeError as error:
        # torch.save reports a full disk as a RuntimeError of its archive writer.
        if "PytorchStreamWriter" in str(error) or "inline_container" in str(error):
            raise _storage_error(target, error) from error
        raise


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with all it holds; do nothing when it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_leftover(name: str) -> bool:
    """Whether a file of this name is what a killed writer left."""
    return name.startswith(".") and name.endswith(_SUFFIX)


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers left in ``folder``; restore what they had put aside."""
    for aside in list(folder.rglob(f".*{_ASIDE}")):
        target = aside.with_name(aside.name.removeprefix(".").removesuffix(_ASIDE))
        if not target.exists():
            aside.rename(target)
    for path in list(folder.rglob(f".*{_SUFFIX}")):
        remove(path)


def plain(value: object) -> object:
    """Turn a value into plain JSON types; a number that is not finite becomes None (null)."""
    match value:
        case None | bool() | str():
            return value
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case Integral():
            return int(value)
        case Real():
            return float(value) if math.isfinite(value) else None
    raise TypeError(f"{type(value).__name__} is not a JSON type: {value!r}")


def _storage_error(target: Path, error: Exception) -> StorageError:
    reason = getattr(error, "strerror", None) or (str(error).splitlines() or ["unknown"])[0]
    return StorageError(
        f"{target} could not be written: {reason}.",
        remedy="Free space or choose another folder with --out, then run the same command again.",
    )


def _swap(fresh: Path, target: Path) -> None:
    if not target.is_dir():
        fresh.replace(target)
        return
    # A folder that is not empty cannot be replaced in one step: the old one steps aside first.
    aside = target.with_name(f".{target.name}{_ASIDE}")
    remove(aside)
    target.rename(aside)
    try:
        fresh.rename(target)
    except OSError:
        aside.rename(target)
        raise
    remove(aside)


def _sync_tree(path: Path) -> None:
    if path.is_dir():
        for child in sorted(path.rglob("*")):
            _sync(child)
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
