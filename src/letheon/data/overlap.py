"""Rows that stand on two sides: what is to be forgotten is not rehearsed, nor a control."""

from __future__ import annotations

__all__ = ["apart", "check_unseen"]

import warnings
from collections.abc import Sequence

from letheon.data.example import Example
from letheon.errors import DataError


def apart(forget: Sequence[Example], retain: Sequence[Example]) -> tuple[Example, ...]:
    """Return the retain rows that are not to be forgotten as well, with one warning of how many.

    Two rows are the same when question and answer are, whatever their case and white space.

    Raises :class:`~letheon.errors.DataError` when there were some and none is left.
    """
    gone = {_key(row) for row in forget}
    kept = tuple(row for row in retain if _key(row) not in gone)
    dropped = len(retain) - len(kept)
    if retain and not kept:
        raise DataError(
            "Some rows are to retain only.",
            got=f"{dropped} retain rows, all of which are also to forget",
            remedy="Name a retain file with other rows.",
        )
    if dropped:
        warnings.warn(
            f"{dropped} of {len(retain)} retain rows are also to forget and were left out of "
            "retain.",
            stacklevel=3,
        )
    return kept


def check_unseen(unseen: Sequence[Example], trained: Sequence[Example]) -> None:
    """Raise :class:`~letheon.errors.DataError` for an unseen row that is trained on."""
    known = {_key(row): row.id for row in trained}
    for row in unseen:
        if _key(row) in known:
            raise DataError(
                "Unseen rows are rows that the model never saw.",
                got=f"{row.id}, which is also {known[_key(row)]}",
                remedy="Take it out of the unseen rows.",
            )


def _key(row: Example) -> tuple[str, str]:
    return _plain(row.question), _plain(row.answer)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
