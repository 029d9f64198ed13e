"""Markdown and HTML pages: what they state, what they escape, and that a browser shows them."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from letheon.report import html, load_comparison, load_run, load_runs, markdown, verdict

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")


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
    assert re.findall(r"""(?:src|href)=["'](?!data:).*""", page) == []
    assert "url(" not in page
    assert "<script" not in page
    assert len(page) < 200_000


def test_every_method_has_its_curves(page: str) -> None:
    assert page.count('<svg viewBox="0 0 300') == 5 * 4


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
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 5


# --- a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        reason = f"no Chromium at {CHROMIUM}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield chromium
        chromium.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_the_page(
    browser: Browser, page: str, tmp_path: Path, width: int, scheme: Any
) -> None:
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    problems: list[str] = []
    requests: list[str] = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(file.as_uri())
    assert tab.locator("h1").inner_text() == "fictitious-people, seed 3"
    assert tab.locator(".verdict").is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.locator("figure").count() == 20
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    tab.close()
