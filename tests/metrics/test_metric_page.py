"""docs/metrics.md says of every metric what the code does: scores, which way is better, needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from letheon import registry, scoring
from letheon.metrics import compute_all
from letheon.metrics.gate import judge
from letheon.metrics.records import Records

PAGE = (Path(__file__).parents[2] / "docs/metrics.md").read_text(encoding="utf-8")
NEEDS = PAGE.partition("\n## ")[0]
METRICS = registry.names("letheon.metrics")
BETTER = {"up": "higher", "down": "lower", "gold": "near gold"}


def sections(page: str) -> dict[str, str]:
    """Return the text under each heading of the second level, by the heading."""
    _, *parts = re.split(r"^## (.+)\n", page, flags=re.M)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def table(text: str) -> list[dict[str, str]]:
    """Return the rows of a text's first table, by column."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(head, row, strict=True)) for row in rows]


def stated(name: str) -> dict[str, str]:
    """Return which way is better, by score, as a metric's section has it."""
    rows = table(sections(PAGE)[name])
    pairs = [
        (score, row["better"]) for row in rows for score in re.findall("`(.+?)`", row["score"])
    ]
    assert len({score for score, _ in pairs}) == len(pairs)
    return dict(pairs)


def without(records: Records, splits: tuple[str, ...], columns: tuple[str, ...]) -> Records:
    """Return the records without ``columns`` of ``splits``; where none is named, without these."""
    if not columns:
        return {k: v for k, v in records.items() if k not in splits}
    return {
        k: {c: a for c, a in v.items() if c not in columns} if k in splits else v
        for k, v in records.items()
    }


BOTH = ("forget", "retain")
TAKEN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "unseen rows": (("unseen",), ()),
    "paraphrase and false answers": (BOTH, ("paraphrased_nll", "perturbed_nll")),
    "marked facts": (BOTH, ("fact_nll",)),
    "control sets": (("real_authors", "world_facts"), ()),
}


def test_every_metric_has_a_section() -> None:
    found = list(sections(PAGE))
    assert sorted(found[: len(METRICS)]) == METRICS
    assert [row["metric"] for row in table(NEEDS)] == found[: len(METRICS)]


@pytest.mark.parametrize("name", METRICS)
def test_a_section_states_every_score_and_its_direction(name: str, make_records) -> None:
    records, gold = make_records(forget=0.6), make_records(forget=0.3, seed=1)
    unmarked = (without(each, *TAKEN["marked facts"]) for each in (records, gold))
    scores = compute_all(records, gold, [name]).scores
    if name != "fact_probability":  # gold_distance names its first part otherwise there
        scores = [*scores, *compute_all(*unmarked, [name]).scores]
    assert stated(name) == {score.name: BETTER[score.direction] for score in scores}
    for part in ("Formula", "Interval", "Source", "Pitfalls"):
        assert sections(PAGE)[name].count(f"- **{part}.** ") == 1


@pytest.mark.parametrize("need", ["gold model", *TAKEN])
def test_the_table_of_needs_is_what_the_code_misses(need: str, make_records) -> None:
    records, gold = make_records(forget=0.6), make_records(forget=0.3, seed=1)
    if need == "gold model":
        found = compute_all(records)
    else:
        found = compute_all(*(without(each, *TAKEN[need]) for each in (records, gold)))
    told = {row["metric"] for row in table(NEEDS) if row[need] == "yes"}
    assert {entry.name for entry in found.skipped} == told


def test_the_probe_and_the_gate_are_described(make_records) -> None:
    records, gold = make_records(forget=0.6), make_records(forget=0.3, seed=1)
    probe = "".join(row["score"] for row in table(sections(PAGE)["What a probe gives"]))
    names = {*scoring._ALONE, *scoring._GAP, *scoring._AGAINST_GOLD}
    assert set(re.findall("`(.+?)`", probe)) == names
    gate = "".join(row["criterion"] for row in table(sections(PAGE)["The gate"]))
    verdict = judge(records, target=records, gold=gold, second_gold=gold)
    assert re.findall("`(.+?)`", gate) == [criterion.name for criterion in verdict.criteria]


# --- the reader itself


def test_sections_and_tables_are_read() -> None:
    page = "# All\n\n## a\n\n| x | y |\n| --- | --- |\n| `1` | |\n\nWords.\n\n## b\n"
    assert sections(page) == {"a": page[page.index("\n| x") : page.index("## b")], "b": ""}
    assert table(page) == [{"x": "`1`", "y": ""}]
