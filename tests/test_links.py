"""Links between the pages lead somewhere, and the index of docs/ names every page."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    page.relative_to(ROOT).as_posix()
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
]


def links(text: str) -> list[str]:
    """Return where a page's links lead, outside of code; not those to other sites."""
    plain = re.sub(r"^```.*?^```\s*$|`[^`\n]+`", "", text, flags=re.M | re.S)
    found = re.findall(r"\]\(([^)\s]+)\)", plain)
    return [place for place in found if not re.match(r"[a-z]+:", place)]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    plain = re.sub(r"^```.*?^```\s*$", "", text, flags=re.M | re.S)
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+?)\s*$", plain, flags=re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def broken(page: Path, text: str) -> list[str]:
    """Return the links of ``text`` that lead nowhere, were it the file ``page``."""
    found = []
    for link in links(text):
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        there = target.exists()
        if not there or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert broken(ROOT / page, (ROOT / page).read_text(encoding="utf-8")) == []


def test_the_index_names_every_page_once() -> None:
    index = ROOT / "docs/README.md"
    found = links(index.read_text(encoding="utf-8"))
    named = [(index.parent / link).resolve().relative_to(ROOT).as_posix() for link in found]
    assert len(set(named)) == len(named)
    assert {page for page in PAGES if page.startswith("docs/")} - {"docs/README.md"} <= set(named)


# --- the reader itself


def test_links_are_followed(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    text = (
        "# A `b` page, of [c](c.md)\n[1](a.md) [2](#one) [3](#one-1) `[4](x.md)` [5](https://x.org)\n"
        "## One\n## One\n[6](a.md#a-b-page-of-c) [7](no.md) [8](a.md#two)\n"
        "```bash\n# Two\n[9](no.md)\n```\n![10](no.svg)\n"
    )
    page.write_text(text, encoding="utf-8")
    assert broken(page, text) == ["c.md", "no.md", "a.md#two", "no.svg"]
