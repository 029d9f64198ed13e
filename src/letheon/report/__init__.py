"""Run folders -> tables and one HTML page; imports no torch."""

from __future__ import annotations

__all__ = [
    "Run",
    "Table",
    "attacks",
    "details",
    "failure_lines",
    "html",
    "load_comparison",
    "load_run",
    "load_runs",
    "markdown",
    "over_seeds",
    "table",
    "verdict",
]

from letheon.report.attacked import attacks
from letheon.report.load import Run, load_comparison, load_run, load_runs
from letheon.report.tables import Table, details, over_seeds, table
from letheon.report.to_html import html
from letheon.report.to_markdown import markdown
from letheon.report.words import failure_lines, verdict
