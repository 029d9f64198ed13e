"""A sheet of plots is one picture that stands alone."""

from __future__ import annotations

from xml.etree import ElementTree

from letheon.report.plots import Series
from letheon.report.sheet import Panel, sheet

SVG = "{http://www.w3.org/2000/svg}"


def lines(name: str, *values: float) -> Series:
    return Series(name, list(enumerate(values)))


def test_panels_stand_in_rows_with_every_line_named() -> None:
    panels = [Panel(f"p{k}", [lines("a < b", 1, 2), lines("c", 3, 5)], log=True) for k in range(4)]
    root = ElementTree.fromstring(sheet([*panels, Panel("none", [lines("x")])], label="it & more"))
    cells = root.findall(f"{SVG}g")
    assert [cell.attrib["transform"] for cell in cells[:2]] != [cells[3].attrib["transform"]] * 2
    assert len(cells) == 4
    assert len({cell.attrib["transform"] for cell in cells}) == 4
    for k, cell in enumerate(cells):
        words = [text.text for text in cell.iter(f"{SVG}text")]
        assert {f"p{k}", "a < b", "c"} <= set(words)
        inner = cell.find(f"{SVG}g")
        assert inner is not None
        assert len(list(inner.iter(f"{SVG}path"))) == 2
    width, height = (float(x) for x in root.attrib["viewBox"].split()[2:])
    last = cells[3].attrib["transform"].removeprefix("translate(").rstrip(")").split()
    assert float(last[0]) + 300 <= width
    assert float(last[1]) + 180 <= height


def test_it_loads_nothing_and_runs_nothing() -> None:
    text = sheet([Panel("p", [lines("a", 1, 2)])], label="l")
    assert "script" not in text
    assert text.count("http") == 1  # the name of the format
    assert "url(" not in text
