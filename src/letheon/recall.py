"""What a request does to the requests before it: measured again, on the rows they had forgotten.

Each earlier run's forget rows are read from where its recipe has them. They may be gone, as they
should be when a person's data are deleted: then that request cannot be measured any more, and the
scores say why.
"""

from __future__ import annotations

__all__ = ["Past", "check_apart", "remembered", "told"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from letheon.data.example import Corpus, Example
from letheon.errors import DataError, InputError
from letheon.folder import RunFolder
from letheon.metrics import compute_all
from letheon.metrics.records import Records
from letheon.recipe import DataSource
from letheon.sequence import Request, angles

_UTILITY = ("model_utility", "retain_utility")


@dataclass(frozen=True)
class Past:
    """An earlier request with the rows it forgot, or ``reason`` why there are none to measure.

    ``place`` names its files in the folder of the run that measures it.
    """

    request: Request
    place: str
    corpus: Corpus | None = None
    reason: str | None = None

    @property
    def rows(self) -> tuple[Example, ...]:
        """The forget rows that are scored."""
        return () if self.corpus is None else self.corpus.evaluation["forget"]


def remembered(earlier: Sequence[Request], corpus_of: Callable[[DataSource], Corpus]) -> list[Past]:
    """Read the forget rows of the earlier requests, the oldest first, as far as they are there."""
    return [_past(request, number, corpus_of) for number, request in enumerate(earlier, start=1)]


def _past(request: Request, number: int, corpus_of: Callable[[DataSource], Corpus]) -> Past:
    place = f"earlier/{number}-{request.name}"
    try:
        corpus = corpus_of(request.recipe.data)
    except InputError as error:
        return Past(request, place, reason=f"Its rows cannot be read any more. {error}")
    had = request.folder.read_json(RunFolder.ENVIRONMENT).get("data", {}).get("forget")
    if corpus.checksums.get("forget") != had:
        return Past(request, place, reason="Its forget rows are no longer those it had.")
    return Past(request, place, corpus=corpus)


def check_apart(past: Sequence[Past], corpus: Corpus) -> None:
    """Raise DataError when ``corpus`` rehearses what an earlier request forgot."""
    kept = {(row.question, row.answer): row.id for row in corpus.retain}
    for each in past:
        for row in () if each.corpus is None else each.corpus.forget:
            if (row.question, row.answer) in kept:
                raise DataError(
                    "What an earlier request forgot is not among the rows to retain.",
                    got=f"{kept[row.question, row.answer]}, forgotten by {each.request.name}",
                    remedy="Take the rows of all earlier requests out of the retain side.",
                )


def told(
    past: Sequence[Past],
    own: RunFolder,
    *,
    how: str,
    records: Records,
    gold: Records | None,
    found: Mapping[str, tuple[Records, Records | None]],
    utility: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """Return ``scores.json``'s ``sequence``: earlier requests' scores, and utility after each.

    ``found``: records of each past request's forget rows, by its place, under this run's model and
    under its gold model (None without one), which never saw any request so far; the other splits
    are those of ``records`` and ``gold``. ``utility``: scores of the model before any request and
    of this run, by name, in this order.
    """
    requests = []
    for each in past:
        entry: dict[str, Any] = {"name": each.request.name, "reason": each.reason, "scores": []}
        if each.place in found:
            mine, theirs = found[each.place]
            known = None if gold is None or theirs is None else {**gold, **theirs}
            scores, _ = compute_all({**records, **mine}, known)
            entry["scores"] = [s.to_json() for s in scores if _of_forget(s.name)]
        both = each.request.adapter, own.at(RunFolder.ADAPTER)
        entry["angles"] = angles(both[1], both[0]) if both[0] and both[1].is_dir() else None
        requests.append(entry)
    first, *last = utility.items()
    after = [(each.request.name, _scores(each.request)) for each in past]
    steps = [(name, _utility(scores)) for name, scores in [first, *after, *last]]
    return {
        "how": how,
        "requests": requests,
        "utility": [{"after": name, **score} for name, score in steps if score],
    }


def _of_forget(name: str) -> bool:
    split, _, rest = name.rpartition(".")
    return split in ("", "forget") and not rest.startswith(_UTILITY)


def _scores(request: Request) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = request.folder.read_json(RunFolder.SCORES)["scores"]
    return found


def _utility(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_name = {score["name"]: score for score in scores}
    for name in _UTILITY:
        if name in by_name:
            return {k: by_name[name][k] for k in ("name", "value", "low", "high", "n")}
    return {}
