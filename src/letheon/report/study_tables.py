"""A study's outcome as tables, one for each question that it answers, and its verdict in words."""

from __future__ import annotations

__all__ = [
    "STUDY",
    "load_study",
    "method_gate",
    "overview",
    "protocol",
    "reasons",
    "tables",
    "verdict",
]

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from letheon.errors import DataError
from letheon.folder import RunFolder
from letheon.metrics.verdict import Limits
from letheon.report.tables import Table
from letheon.report.words import ABSENT, failures, gate_word, number, score_title, with_interval

STUDY = "study.json"

Study = Mapping[str, Any]
Method = Mapping[str, Any]


def load_study(path: str | Path) -> dict[str, Any]:
    """Read ``study.json``, by itself or by its folder. Raises FolderError, DataError."""
    given = Path(path)
    folder = RunFolder(given if given.is_dir() else given.parent)
    found = folder.read_json(STUDY if given.is_dir() else given.name)
    missing = sorted({"name", "methods", "runs", "references", "protocol"} - found.keys())
    if missing or not found["methods"]:
        raise DataError(
            "A study's outcome is whole.",
            got=f"{folder.at(STUDY)} without {', '.join(missing) or 'methods'}",
            remedy="Run letheon study again with the same folder: it makes the file anew.",
        )
    return found


def method_gate(method: Method) -> str:
    """Say in a word what the gate says of a method over its seeds."""
    return "not passed" if _all_lost(method) else gate_word(method["verdict"])


def verdict(study: Study) -> str:
    """Say in a sentence which methods forgot and kept."""
    methods = study["methods"]
    words = [method_gate(method) for method in methods]
    if set(words) == {"cannot decide"}:
        return "This study cannot decide whether a method forgot and kept."
    passed = [m["name"] for m, word in zip(methods, words, strict=True) if word == "passed"]
    names = ", ".join(passed) or "none"
    return f"{len(passed)} of {len(methods)} methods forgot and kept over their seeds: {names}."


def protocol(study: Study) -> str:
    """Say in sentences how methods were tuned and scored."""
    told = study["protocol"]
    parts = [
        f"{_count(told['trials'], 'random setting')} for each of "
        f"{_count(len(study['methods']), 'method')}, tried on "
        f"{_count(told['tuning_instances'], 'tuning instance')} with validation paraphrases and a "
        f"gold model to select with; the smallest mean {told['select'].replace('_', ' ')} on the "
        f"way chose. Scored on {_count(told['seeds'], 'instance')} with other paraphrases and "
        "another gold model."
    ]
    if told["shared"]:
        parts.append(
            "Where both have the same data, settings were selected on the same rows with another "
            "gold model and other paraphrases."
        )
    return " ".join(parts)


def reasons(study: Study) -> list[tuple[str, str]]:
    """Say for each method that did not pass what stood in the way."""
    found = []
    for method in study["methods"]:
        lost = f"{method['failed']} final runs diverged. " if method["failed"] else ""
        words = " ".join(one["words"] for one in failures(method["verdict"]))
        if method_gate(method) != "passed":
            found.append((method["name"], f"{lost}{words}".strip()))
    return found


def overview(study: Study) -> Table:
    """Lay out a study in one table: what a terminal shows."""
    return _table(
        study,
        {
            "Forget quality": lambda m: _score(m, "forget_quality"),
            "Gold distance": lambda m: _score(m, "gold_distance"),
            "Utility share": lambda m: _score(m, "utility_share"),
            "Settings passing": _region("anywhere"),
            "Seeds passed": _seeds,
            "Gate": method_gate,
        },
    )


def tables(study: Study) -> list[tuple[str, str, Table]]:
    """Return (heading, what it shows, table) for each question of a study."""
    found = [
        (
            "Forgotten and kept",
            "Brackets: smallest and largest over seeds, around the mean (forget quality: the "
            "median). Utility share: of the target's.",
            _verdicts(study),
        ),
        (
            "Forgetting against utility",
            "Means over seeds. On the front: no other method is nearer to gold and keeps more.",
            _front(study),
        ),
        (
            "Gold distance",
            "Mean difference to the gold model that scores, on the forget set. The gate allows "
            "twice the distance of two gold models plus 0.02.",
            _distances(study),
        ),
        (
            "Success region",
            "Share of the random settings that pass the gate on validation at some probe, and at "
            "the last, on every tuning instance; brackets: Wilson's 95 % interval. Worst utility: "
            "the smallest share of the target's at a last probe, 0 where a run diverged. Steps "
            "past the stop: from the first to the last of an unbroken row of passing probes, over "
            "the first; median and range over the runs that pass; open: still passing at the end.",
            _regions(study),
        ),
    ]
    if any(method["attacks"] for method in study["methods"]):
        found.append(
            (
                "Attacks",
                "After each attack: the mean over seeds, and Δ, the difference to gold after the "
                "same attack, with its smallest and largest value. The last row is gold.",
                _attacks(study),
            )
        )
    found.append(
        (
            "Cost",
            "Of a final run's training; of all tuning runs of a method together. Every method had "
            f"{_count(study['protocol']['trials'], 'trial')}.",
            _cost(study),
        )
    )
    found.append(("Chosen settings", "By validation alone.", _settings(study)))
    return found


def _verdicts(study: Study) -> Table:
    return _table(
        study,
        {
            "Forget quality ↑": lambda m: _score(m, "forget_quality"),
            "Gold distance ↓": lambda m: _score(m, "gold_distance"),
            "Utility share ↑": lambda m: _score(m, "utility_share"),
            "Seeds passed": _seeds,
            "Gate": method_gate,
        },
    )


def _front(study: Study) -> Table:
    def centre(name: str) -> Callable[[Method], str]:
        return lambda m: number(m["scores"][name]["value"]) if m["scores"].get(name) else ABSENT

    return _table(
        study,
        {
            "Gold distance ↓": centre("gold_distance"),
            "Utility share ↑": centre("utility_share"),
            "Forget quality ↑": centre("forget_quality"),
            "On the front": lambda m: "yes" if m["on_front"] else "no",
        },
    )


def _distances(study: Study) -> Table:
    """Lay out each run's distance by instance, the second gold model's in a row of its own."""
    instances = list(dict.fromkeys(run["instance"] for run in study["runs"]))

    def cell(rows: Sequence[Mapping[str, Any]], instance: str) -> str:
        found = [row["scores"].get("gold_distance") for row in rows if row["instance"] == instance]
        return with_interval(found[0]) if found and found[0] else ABSENT

    golds = [row for row in study["references"] if row["name"] == "second_gold"]

    def allowed(instance: str) -> str:
        found = [row["scores"]["gold_distance"] for row in golds if row["instance"] == instance]
        gate = Limits()
        return (
            number(gate.distance_factor * found[0]["value"] + gate.distance_margin)
            if found
            else ABSENT
        )

    rows = [
        ["second gold", *(cell(golds, instance) for instance in instances)],
        ["allowed", *map(allowed, instances)],
    ]
    for method in study["methods"]:
        own = [run for run in study["runs"] if run["name"] == method["name"]]
        rows.append([method["name"], *(cell(own, instance) for instance in instances)])
    return Table(["Method", *instances], rows, ["gold", "gold", *("" for _ in study["methods"])])


def _regions(study: Study) -> Table:
    return _table(
        study,
        {
            "Passing somewhere": _region("anywhere"),
            "At the last probe": _region("at_end"),
            "Worst utility": lambda m: number(m["region"]["worst_utility"]),
            "Runs diverged": lambda m: f"{m['region']['runs_failed']} of {m['region']['runs']}",
            "Steps past the stop": _past,
        },
    )


def _attacks(study: Study) -> Table:
    methods = study["methods"]
    every = (m["attacks"] for m in methods)
    pairs = dict.fromkeys(
        (a, s) for attacks in every for a, found in attacks.items() for s in found
    )
    heads = ["Method", *(f"{attack}: {score_title(score)}" for attack, score in pairs)]
    rows = [
        [m["name"], *(_attacked(m["attacks"].get(a, {}).get(s)) for a, s in pairs)] for m in methods
    ]
    gold = ["gold", *(_gold(methods, attack, score) for attack, score in pairs)]
    return Table(heads, [*rows, gold], [""] * (len(rows) + 1))


def _attacked(parts: Mapping[str, Any] | None) -> str:
    if parts is None:
        return ABSENT
    return f"{_known(parts['method'])} Δ {_known(parts.get('difference'), spread=True)}"


def _gold(methods: Sequence[Method], attack: str, score: str) -> str:
    found = [m["attacks"].get(attack, {}).get(score) for m in methods]
    return next((_known(parts.get("gold")) for parts in found if parts), ABSENT)


def _known(found: Mapping[str, Any] | None, *, spread: bool = False) -> str:
    """Write a mean over seeds; where a budget ended first, for how many it is known."""
    if found is None:
        return ABSENT
    if found["censored"]:
        return f"known for {found['n']} of {found['n'] + found['censored']}"
    return _spread(found) if spread else number(found["value"])


def _cost(study: Study) -> Table:
    return _table(
        study,
        {
            "Seconds": lambda m: _spread(m["cost"]["seconds"], lambda x: f"{x:,.1f}"),
            "Peak memory, MiB": lambda m: f"{(m['cost']['peak_bytes'] or 0) / 2**20:,.0f}",
            "Tuning, seconds": lambda m: f"{m['cost']['tuning_seconds']:,.0f}",
            "Tuning runs": lambda m: str(m["region"]["runs"]),
        },
    )


def _settings(study: Study) -> Table:
    def setting(method: Method) -> str:
        return ", ".join(
            f"{key.removeprefix('training.').removeprefix('objective.params.')} {value:g}"
            if isinstance(value, int | float)
            else f"{key} {value}"
            for key, value in method["chosen"]["setting"].items()
        )

    return _table(
        study,
        {
            "Trial": lambda m: str(m["chosen"]["trial"]),
            f"Mean {study['protocol']['select'].replace('_', ' ')}": lambda m: number(
                m["chosen"]["value"]
            ),
            "Setting": setting,
        },
    )


def _table(study: Study, columns: Mapping[str, Callable[[Method], str]]) -> Table:
    methods = study["methods"]
    return Table(
        ["Method", *columns],
        [[method["name"], *(cell(method) for cell in columns.values())] for method in methods],
        [method_gate(method) for method in methods],
    )


def _all_lost(method: Method) -> bool:
    return method["verdict"] is None and bool(method["failed"])


def _score(method: Method, name: str) -> str:
    return _spread(method["scores"].get(name))


def _spread(found: Mapping[str, Any] | None, word: Callable[[float | None], str] = number) -> str:
    if not found:
        return ABSENT
    return f"{word(found['value'])} [{word(found['low'])}, {word(found['high'])}]"


def _seeds(method: Method) -> str:
    return f"{sum(method['passed'])} of {len(method['passed'])}"


def _region(name: str) -> Callable[[Method], str]:
    def cell(method: Method) -> str:
        share = method["region"][name]
        return f"{share['passed']} of {share['n']} [{share['low']:.2f}, {share['high']:.2f}]"

    return cell


def _past(method: Method) -> str:
    past = method["region"]["past_stop"]
    if past is None:
        return ABSENT
    still = f", {past['open']} of {past['n']} open" if past["open"] else ""
    return f"{past['median']:.2f} [{past['low']:.2f}, {past['high']:.2f}]{still}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
