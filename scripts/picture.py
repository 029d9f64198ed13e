"""The picture of a report in the README: a run's page, photographed by headless Chromium.

    letheon demo --seed 0 --out runs/demo
    python scripts/picture.py runs/demo/methods/gd-sine

Shown are the verdict, what stood in the way, and the first answers before and after; the page's
other sections are left out. For data that may be shown: a page of own data has no answers.
"""

from __future__ import annotations

__all__ = ["main"]

import argparse
import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from letheon.report import html, load_evidence, load_run

CHROMIUM = "/usr/bin/chromium"
# The README shows it about 900 wide: a desktop page at five sixths of its size.
WIDTH, SCALE = 1080, 1.75
COLOURS = 64
SECTIONS = ("What stood in the way", "Before and after")
ROWS = 4

# Style alone: what is left is as the page has it.
_CUT = """
([titles, rows]) => {
  document.querySelectorAll("main > section").forEach((section) => {
    section.hidden = !titles.includes(section.querySelector("h2").textContent);
  });
  document.querySelectorAll("details, footer").forEach((part) => { part.hidden = true; });
  document.querySelectorAll(".answers tbody").forEach((body) => {
    [...body.rows].slice(rows).forEach((row) => { row.hidden = true; });
  });
}
"""


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--out", type=Path, default=Path("docs/images/report.png"))
    options = parser.parse_args()
    page = html(load_run(options.run), evidence=load_evidence(options.run))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(io.BytesIO(photographed(page))).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(options.out, optimize=True)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB, {picture.size}")


def photographed(page: str) -> bytes:
    """Return a PNG of the chosen sections of a page, in its light colours."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(
            viewport={"width": WIDTH, "height": 400},
            device_scale_factor=SCALE,
            color_scheme="light",
        )
        tab.set_content(page)
        tab.evaluate(_CUT, [SECTIONS, ROWS])
        taken = tab.screenshot(full_page=True)
        browser.close()
    return taken


if __name__ == "__main__":
    main()
