"""Markdown and HTML pages: what they state, what they escape, how they are made."""

from __future__ import annotations

import base64
import copy
import hashlib
import html as html_words
import re
from pathlib import Path
from typing import Any

import pytest

from letheon.report import html, load_comparison, load_run, load_runs, markdown, verdict


@pytest.fixture
def page(demo_folder: Path) -> str:
    comparison = load_comparison(demo_folder)
    return html(comparison, runs=load_runs(demo_folder, comparison))


def other_seed(comparison: dict[str, Any], seed: int) -> dict[str, Any]:
    other = copy.deepcopy(comparison)
    for row in other["rows"]:
        if row["role"] == "method":
            row["seed"] = seed
    return other


# --- Markdown


def test_one_comparison_has_no_summary(comparison: dict[str, Any]) -> None:
    text = markdown([comparison], title="Demo")
    assert text.startswith("# Demo\n")
    assert "Over all seeds" not in text
    assert verdict(comparison["rows"]) in text
    assert "- GD + tanh: Model utility is 0.9375; the limit is 0.98." in text
    assert f"- Command: `{comparison['command']}`" in text
    assert "python 3.11.7, torch 2.13.0" in text
    assert "Example CPU 3000, 2 cores; Linux 6.1 x86_64" in text
    assert "0123456789ab with local changes" in text


def test_several_seeds_are_summed_up_first(comparison: dict[str, Any]) -> None:
    text = markdown([comparison, other_seed(comparison, 4)])
    summary, three, four = (
        text.index(heading)
        for heading in ("## Over all seeds", "## fictitious-people, seed 3", ", seed 4")
    )
    assert summary < three < four
    row = "| GD + sine (default) | 2 | 0.210 [0.210, 0.210] | 0.041 [0.041, 0.041] |"
    assert row in text
    assert "| 2 of 2 |" in text
    assert text.count("Versions") == 1


def test_differing_machines_are_stated_for_each(comparison: dict[str, Any]) -> None:
    other = other_seed(comparison, 4)
    other["environment"]["versions"]["torch"] = "2.12.0"
    assert markdown([comparison, other]).count("- Versions:") == 2


def test_a_bare_comparison_is_enough() -> None:
    row = {"role": "method", "method": "npo", "scores": {"forget_quality": {"value": 0.5}}}
    bare = {"rows": [row]}
    assert "| NPO | 0.500 | – | – |" in markdown([bare])
    assert "No method was judged" in html(bare)


# --- HTML


def test_the_verdict_comes_first_in_words(page: str, comparison: dict[str, Any]) -> None:
    body = page[page.index("<body>") :]
    assert body.index(verdict(comparison["rows"])) < body.index("<table")


def test_the_page_is_self_contained_and_small(page: str) -> None:
    assert re.findall(r"""(?:src|href)=["'](?!data:|#).*""", page) == []
    assert "url(" not in page
    assert page.count("<script") == 1
    assert len(page) < 200_000


def test_the_policy_allows_only_the_pages_own_style_and_script(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = html_words.unescape(policy[1])
    assert rules.startswith("default-src 'none';")
    assert "unsafe" not in rules
    for kind in ("style", "script"):
        inner = page.partition(f"<{kind}>")[2].partition(f"</{kind}>")[0]
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in rules
    assert not re.search(r"\s(style|on\w+)=", page.partition("<body>")[2])


def test_every_method_has_its_curves(page: str) -> None:
    assert page.count('<svg viewBox="0 0 300') == 5 * 4 + 2


def test_a_single_run_has_a_page(demo_folder: Path) -> None:
    page = html(load_run(demo_folder / "methods/npo-identity"))
    assert "Not passed: this run did not forget and keep." in page
    assert "Forget quality is 7e-09; the limit is 0.05." in page
    assert "objective: {name: gradient_difference}" in page
    assert page.count('<svg viewBox="0 0 300') == 4


def test_everything_from_a_run_is_escaped(comparison: dict[str, Any], demo_folder: Path) -> None:
    evil = "<script>alert(1)</script>"
    comparison["task"]["name"] = comparison["command"] = evil
    comparison["environment"]["versions"] = {evil: evil}
    for row in comparison["rows"]:
        row["method"] = evil
        row["scores"][evil] = {"value": 1.0}
    comparison["rows"][2]["gate"]["criteria"][1] |= {"words": evil, "name": evil}
    run = load_run(demo_folder / "methods/npo-sine")
    run.progress[0]["terms"][evil] = 1.0
    page = html(comparison, runs=[(comparison["rows"][2], run)])
    assert page.count("<script") == 1
    assert page.count("&lt;script&gt;") > 5
