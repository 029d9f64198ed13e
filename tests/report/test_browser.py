"""Pages in headless Chromium: what works there, what they load, what axe finds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from letheon.folder import RunFolder
from letheon.report import html, load_comparison, load_evidence, load_run, load_runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
SERIOUS = ("serious", "critical")


def _without(what: str) -> None:
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {what}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        _without(f"Chromium at {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def compared(demo_folder: Path) -> Path:
    comparison = load_comparison(demo_folder)
    file = demo_folder / "report.html"
    file.write_text(html(comparison, runs=load_runs(demo_folder, comparison)), encoding="utf-8")
    return file


@pytest.fixture
def of_run(public_run: RunFolder) -> Path:
    return write_page(public_run)


def write_page(run: RunFolder) -> Path:
    run.write_text("report.html", html(load_run(run.path), evidence=load_evidence(run.path)))
    return run.at("report.html")


class Tab:
    """An open page, with what it asked for and complained of."""

    def __init__(self, browser: Browser, file: Path, width: int = 1200, **more: Any) -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": 800}, **more)
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(file.as_uri())
        self.own = file.as_uri()


def models(tab: Tab) -> list[str]:
    return tab.page.locator("table >> nth=0").locator("tbody tr:visible th").all_inner_texts()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("kind", ["compared", "of_run"])
def test_a_page_is_whole_and_asks_for_nothing(
    browser: Browser, request: pytest.FixtureRequest, kind: str, width: int, scheme: Any
) -> None:
    tab = Tab(browser, request.getfixturevalue(kind), width, color_scheme=scheme)
    assert tab.page.locator(".verdict").is_visible()
    assert tab.page.locator("table").first.is_visible()
    assert tab.page.locator("figure").count() == {"compared": 22, "of_run": 5}[kind]
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.page.evaluate("getComputedStyle(document.body).maxWidth") != "none"  # it has style
    assert tab.problems == []
    assert {url for url in tab.requests if not url.startswith("data:")} == {tab.own}
    tab.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("kind", ["compared", "of_run"])
def test_axe_finds_nothing_serious(
    browser: Browser, request: pytest.FixtureRequest, kind: str, width: int, scheme: Any
) -> None:
    if find_spec("axe_playwright_python") is None:
        _without("axe-playwright-python")
    from axe_playwright_python.sync_playwright import Axe

    tab = Tab(browser, request.getfixturevalue(kind), width, color_scheme=scheme)
    for details in tab.page.locator("details").all():
        details.evaluate("node => { node.open = true }")
    found = Axe().run(tab.page).response
    assert len(found["passes"]) > 10
    assert [
        (each["id"], each["nodes"][0]["html"])
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ] == []
    tab.page.close()


def test_columns_are_sorted_by_the_keyboard(browser: Browser, compared: Path) -> None:
    tab = Tab(browser, compared)
    head = tab.page.locator("table >> nth=0").locator("thead th").nth(1)
    assert "Forget quality" in head.inner_text()
    head.locator("button").focus()
    tab.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    ascending = models(tab)
    # 1.2e-19 of the target, 7e-9 of NPO + LoRA, then 3.1e-4: by size, not by letters.
    assert ascending[:3] == ["target (seed 3)", "NPO + LoRA", "GD + LoRA"]
    tab.page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert models(tab) == ascending[::-1]
    assert tab.page.locator("th[aria-sort]").count() == 1
    tab.page.close()


def test_what_is_missing_sorts_last_in_both_directions(browser: Browser, compared: Path) -> None:
    tab = Tab(browser, compared)
    cells = tab.page.locator("table >> nth=0").locator("tbody tr td:nth-last-of-type(1)")
    gate = tab.page.locator("table >> nth=0").locator("thead th", has_text="Gate")
    for _ in range(2):
        gate.locator("button").click()
        assert cells.all_inner_texts()[-2:] == ["–", "–"]
    tab.page.close()


def test_runs_are_picked_everywhere_at_once(browser: Browser, compared: Path) -> None:
    tab = Tab(browser, compared)
    assert "7 of 7 rows shown." in tab.page.locator("[role=status]").inner_text()
    box = tab.page.get_by_label("NPO + sine", exact=True)
    box.focus()
    tab.page.keyboard.press("Space")
    assert "NPO + sine" not in models(tab)
    assert tab.page.locator("[data-run='NPO + sine']:visible").count() == 0
    assert tab.page.locator("[data-run='GD + tanh']:visible").count() > 4
    tab.page.get_by_role("button", name="Show all").click()
    assert tab.page.locator("[data-run='NPO + sine']:visible").count() > 4
    assert len(models(tab)) == 7
    tab.page.close()


def test_rows_are_filtered_by_words(browser: Browser, compared: Path) -> None:
    tab = Tab(browser, compared)
    tab.page.get_by_label("Filter by words in a row:").fill("NOT PASSED")
    assert models(tab) == ["GD + LoRA", "GD + tanh", "NPO + LoRA"]
    assert "3 of 7 rows shown." in tab.page.locator("[role=status]").inner_text()
    assert tab.page.locator("figure:visible").count() == 22
    tab.page.close()


def test_the_page_is_whole_without_script(browser: Browser, compared: Path) -> None:
    tab = Tab(browser, compared, java_script_enabled=False)
    assert len(models(tab)) == 7
    assert tab.page.locator("figure:visible").count() == 22
    assert tab.page.locator("button:visible, input:visible").count() == 0
    tab.page.close()


def test_markup_in_data_stays_text(browser: Browser, evil_run: RunFolder) -> None:
    tab = Tab(browser, write_page(evil_run))
    assert tab.page.title() == "Run npo · Letheon"
    assert tab.page.locator("script").count() == 1
    assert tab.page.locator("b").count() == 0
    assert tab.page.get_by_text("<script>document.title").count() > 4
    first = tab.page.locator("table.answers >> nth=0 >> tbody tr >> nth=0")
    assert first.locator("th").inner_text().startswith("<script>")
    assert tab.problems == []
    tab.page.close()


def test_before_and_after_stand_side_by_side_with_facts_marked(
    browser: Browser, of_run: Path
) -> None:
    tab = Tab(browser, of_run)
    titles = tab.page.locator("#before-and-after h3").all_inner_texts()
    assert titles == ["What was to be forgotten", "What was to be kept"]
    table = tab.page.locator("table.answers >> nth=0")
    heads = table.locator("thead th").all_inner_texts()
    assert heads == ["Question", "True answer", "Before", "After", "Gold: never knew"]
    cells = table.locator("tbody tr >> nth=0").locator("td")
    marked = [cells.nth(k).locator("mark").all_inner_texts() for k in range(4)]
    assert marked == [["Gannesse0"], ["Gannesse0"], [], []]
    tab.page.close()


def test_the_keyboard_reaches_all_that_scrolls(browser: Browser, compared: Path) -> None:
    tab = Tab(browser, compared, 390)
    box = tab.page.locator(".across >> nth=0")
    box.focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_function("document.querySelector('.across').scrollLeft > 0")
    tab.page.close()


def test_print_is_light_and_without_tools(browser: Browser, compared: Path) -> None:
    tab = Tab(browser, compared, color_scheme="dark")
    tab.page.emulate_media(media="print")
    ground = "getComputedStyle(document.querySelector('.verdict')).backgroundColor"
    assert tab.page.evaluate(ground) == "rgb(231, 245, 236)"  # light, whatever the screen's scheme
    assert not tab.page.locator(".tools").is_visible()
    assert not tab.page.locator("nav").is_visible()
    assert tab.page.locator("table").first.is_visible()
    tab.page.close()
