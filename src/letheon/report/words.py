"""Numbers, names and verdicts as a person reads them."""

from __future__ import annotations

__all__ = [
    "ABSENT",
    "LEGEND",
    "attack_title",
    "explained",
    "failure_lines",
    "failures",
    "gate_word",
    "label",
    "method_name",
    "mood",
    "number",
    "plain_verdict",
    "score_title",
    "shortfall",
    "verdict",
    "with_interval",
]

from collections.abc import Mapping, Sequence
from typing import Any

from letheon.metrics import plain

ABSENT = "–"
LEGEND = (
    "Brackets: the score's interval; over seeds the smallest and the largest value, around the "
    "mean (for forget quality the median). ↑ better when higher, ↓ better when lower, → gold "
    'better when nearer to the gold model. Gate: "forgotten and kept".'
)

_TITLES = {
    "forget_quality": "Forget quality ↑",
    "gold_distance": "Gold distance ↓",
    "model_utility": "Model utility ↑",
    "retain_utility": "Retain utility ↑",
    "exact_memorisation": "Exact memorisation → gold",
    "extraction_strength": "Extraction strength → gold",
    "fact_probability": "Fact probability → gold",
    "min_k_auc": "Min-K AUC → gold",
    "probability": "Probability → gold",
    "rouge_l_recall": "ROUGE-L recall → gold",
    "ks_d": "KS D ↓",
    "privleak": "PrivLeak → 0",
}
_NAMES = {
    "rouge l": "ROUGE-L",
    "min k pp": "Min-K++",
    "min k": "Min-K",
    "ks d": "KS D",
    "auc": "AUC",
    "f1": "F1",
}
_ARROWS = {"up": "↑", "down": "↓", "gold": "→ gold"}
_METHODS = {
    "gradient_ascent": "GA",
    "gradient_difference": "GD",
    "kl": "KL",
    "npo": "NPO",
    "task_vector": "Task vector",
    "dpo": "DPO",
    "idk_dpo": "IdkDPO",
    "alt_po": "AltPO",
    "idk": "IDK",
    "rmu": "RMU",
}


def shortfall(ended: Mapping[str, Any] | None) -> str:
    """Say that a run ended without what it was to stop at, and what to try; "" if it did not."""
    rule = (ended or {}).get("stop_at")
    if not ended or not rule or rule["met"]:
        return ""
    wanted = "at least" if rule["direction"] == "up" else "at most"
    return (
        f"Not forgotten by its own rule: {rule['score']} was to be {wanted} "
        f"{number(rule['value'])} and is {number(rule['kept'])} at its best, after "
        f"{ended['steps']} steps. Try more steps, another method or a larger learning rate."
    )


def number(value: float | None) -> str:
    """Write a number short: three decimals, scientific below 0.001; counts whole; "n/a" for None.

    >>> number(0.9237), number(1.83e-21), number(12345), number(0.0)
    ('0.924', '1.8e-21', '12,345', '0')
    """
    if value is None:
        return "n/a"
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0:
        return "0"
    if abs(value) < 1e-3 or abs(value) >= 1e9:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"


def with_interval(score: Mapping[str, Any]) -> str:
    """Write a score with its interval, where it has one: ``0.62 [0.60, 0.64]``."""
    low, high = score.get("low"), score.get("high")
    if low is None or high is None:
        return number(score["value"])
    return f"{number(score['value'])} [{number(low)}, {number(high)}]"


def score_title(name: str, direction: str | None = None) -> str:
    """Name a score in a table's head; the arrow tells where good unlearning moves it."""
    if name in _TITLES:
        return _TITLES[name]
    split, _, rest = name.rpartition(".")
    words = rest.replace("_", " ")
    for spelt, written in _NAMES.items():
        words = words.replace(spelt, written)
    title = f"{split.replace('_', ' ')} {words}".strip()
    arrow = _ARROWS.get(direction or "", "")
    return f"{title[0].upper()}{title[1:]} {arrow}".strip()


def attack_title(attack: str, score: str) -> str:
    """Name an attack's score.

    >>> attack_title("relearn", "relearn_steps_all"), attack_title("sample", "leak_at_16")
    ('relearn: steps all', 'sample: leak at 16')
    """
    words = score.removeprefix(f"{attack}_").replace("rouge_l", "ROUGE-L").replace("_", " ")
    return f"{attack.replace('_', ' ')}: {words}"


def label(row: Mapping[str, Any]) -> str:
    """Name a comparison's row: ``target``, ``gold (seed 3)``, ``GD + sine (default)``."""
    if row["role"] != "method":
        seed = row.get("seed")
        return row["role"] if seed is None else f"{row['role']} (seed {seed})"
    name = method_name(str(row.get("method")), row.get("bound"))
    notes = {
        str(row.get("name")): row.get("named"),
        "default": row.get("default"),
        "oracle": row.get("oracle"),
        "revealed data": row.get("forget_source") == "revealed",
    }
    told = [note for note, holds in notes.items() if holds]
    return f"{name} ({', '.join(told)})" if told else name


def method_name(method: str, bound: str | None) -> str:
    """Name a method with its bound: ``GD + sine``."""
    name = _METHODS.get(method, method)
    return name if bound is None else f"{name} + {'LoRA' if bound == 'identity' else bound}"


def explained(names: Sequence[str]) -> list[tuple[str, str]]:
    """Say of each score what it tells, for a reader who is no specialist; once for all splits."""
    found: dict[str, str] = {}
    for name in names:
        words = plain(name)
        if words and words not in found.values():
            stem = name.removesuffix("_arithmetic").rpartition(".")[2]
            told = "gold_distance" if name.startswith("gold_distance") else stem
            found[score_title(told)] = words
    return list(found.items())


def mood(gates: Sequence[Mapping[str, Any] | None]) -> str:
    """Return what a verdict looks like: good, bad or mixed."""
    words = {gate_word(gate) for gate in gates if gate is not None}
    if words == {"passed"}:
        return "good"
    return "bad" if words == {"not passed"} else "mixed"


def plain_verdict(gates: Sequence[Mapping[str, Any] | None]) -> str:
    """Say what the verdict means, for a reader who is no specialist; "" where gates differ."""
    judged = [gate for gate in gates if gate is not None]
    words = {gate_word(gate) for gate in judged}
    if len(words) > 1:
        return ""
    if not judged:
        return (
            "Whether something was forgotten is judged beside a gold model, trained without the "
            "data in question. There is none here, so no number below is a proof of forgetting."
        )
    return _MEANING[words.pop()] + _missed(judged)


_MEANING = {
    "passed": (
        "By this test the model answers questions about what was to be forgotten as a model does "
        "that never saw it, and still knows what it was to keep."
    ),
    "not passed": "By this test the request is not fulfilled.",
    "cannot decide": (
        "The test needs more than this task offers, so it says neither that the data was forgotten "
        "nor that it was not."
    ),
}
_MISSED = {
    "forget_quality": "on the forget set the model can be told from one that never saw it",
    "gold_distance": "its behaviour on the forget set is too far from such a model's",
    "utility": "it lost too much of what it was to keep",
    "not_oracle": "it was chosen with the very model that judges it",
}


def _missed(gates: Sequence[Mapping[str, Any]]) -> str:
    names = {c["name"] for gate in gates for c in failures(gate) if c.get("kind") != "task"}
    told = [words for name, words in _MISSED.items() if name in names]
    return f" What was missed: {'; '.join(told)}." if told else ""


def failures(gate: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """List the criteria that do not hold; the task's own alone where it cannot decide."""
    failed = [c for c in (gate or {}).get("criteria", []) if not c["passed"]]
    of_task = [c for c in failed if c.get("kind") == "task"]
    return of_task or failed


def gate_word(gate: Mapping[str, Any] | None) -> str:
    """Say in a word what the gate says."""
    if gate is None:
        return ABSENT
    if gate["passed"]:
        return "passed"
    undecided = any(c.get("kind") == "task" for c in failures(gate))
    return "cannot decide" if undecided else "not passed"


def failure_lines(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Say for each judged row that did not pass what stood in the way: (label, sentences)."""
    missed = [row for row in rows if gate_word(row.get("gate")) in ("not passed", "cannot decide")]
    return [(label(row), " ".join(c["words"] for c in failures(row["gate"]))) for row in missed]


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say in one sentence which methods forgot and kept, the declared default first."""
    judged = [row for row in rows if row["role"] == "method" and row.get("gate") is not None]
    if not judged:
        return "No method was judged: there is no gold model to compare with."
    if all(gate_word(row["gate"]) == "cannot decide" for row in judged):
        return "This task cannot decide whether a method forgot and kept."
    passed = [row for row in judged if row["gate"]["passed"]]
    names = ", ".join(label(row) for row in passed) or "none"
    return (
        f"{_default(judged)}{len(passed)} of {len(judged)} "
        f"{'run' if len(judged) == 1 else 'runs'} forgot and kept: {names}."
    )


def _default(judged: Sequence[Mapping[str, Any]]) -> str:
    rows = [row for row in judged if row.get("default")]
    if not rows:
        return ""
    words = sorted({gate_word(row["gate"]) for row in rows})
    start = "The default method, declared beforehand"
    if len(words) > 1:
        return f"{start}, passed {sum(row['gate']['passed'] for row in rows)} of {len(rows)}. "
    return f"{start}: {words[0]}. "
