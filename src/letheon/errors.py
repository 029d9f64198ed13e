"""All errors a user can meet.

::

    LetheonError                 everything below; never raised itself
    ├── InputError (ValueError)  the input is wrong: exit code 2
    │   ├── RecipeError          a recipe's field or an override
    │   ├── DataError            a data file, a column, a split
    │   ├── ModelError           a model path, a tokenizer, an architecture, an adapter's settings
    │   ├── MetricError          records or a reference that a metric needs are not there
    │   └── FolderError          a run folder that is missing, broken or another run's
    └── RunError (RuntimeError)  a run failed although its input was right: exit code 1
        ├── DivergedError        a loss or a gradient is not finite
        └── StorageError         the disk is full or a file cannot be written

Every message has three parts: the rule that was broken, the value that broke it, the remedy.
"""

from __future__ import annotations

__all__ = [
    "DataError",
    "DivergedError",
    "FolderError",
    "InputError",
    "LetheonError",
    "MetricError",
    "ModelError",
    "RecipeError",
    "RunError",
    "StorageError",
    "nearest",
]

from collections.abc import Iterable
from difflib import get_close_matches


class LetheonError(Exception):
    """Base of every error raised on purpose: the ``rule``, what it ``got``, the ``remedy``."""

    exit_code = 1

    def __init__(self, rule: str, *, got: object = None, remedy: str) -> None:
        self.rule = rule
        self.got = got
        self.remedy = remedy
        parts = [rule] if got is None else [rule, f"Got: {got}."]
        super().__init__(" ".join([*parts, remedy]))

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (the demo's workers); keyword-only arguments do not pickle.
        return _rebuild, (type(self), self.rule, self.got, self.remedy)


def _rebuild(kind: type[LetheonError], rule: str, got: object, remedy: str) -> LetheonError:
    return kind(rule, got=got, remedy=remedy)


class InputError(LetheonError, ValueError):
    """The input is wrong; nothing was done."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe's field or an override is wrong."""


class DataError(InputError):
    """A data file is missing, empty or malformed."""


class ModelError(InputError):
    """A model, tokenizer or adapter setting cannot be used."""


class MetricError(InputError):
    """A metric lacks the records or the reference model's records that it needs."""


class FolderError(InputError):
    """A run folder is missing, broken, or holds another run."""


class RunError(LetheonError, RuntimeError):
    """A run failed at run time."""


class DivergedError(RunError):
    """A loss or a gradient norm is not finite."""


class StorageError(RunError):
    """A file could not be written."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Name the valid spellings for an unknown ``name``, the closest one first.

    >>> nearest("npu", ["kl", "npo"])
    'Did you mean npo? Valid: kl, npo.'
    """
    valid = sorted(valid)
    close = get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]}? " if close else ""
    return f"{hint}Valid: {', '.join(valid)}."
