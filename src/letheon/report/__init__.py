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
    "load_evidence",
    "load_run",
    "load_runs",
    "load_study",
    "markdown",
    "over_seeds",
    "run_lines",
    "score_lines",
    "study_html",
    "study_markdown",
    "table",
    "verdict",
]

from letheon.report.attacked import attacks
from letheon.report.evidence import load_evidence
from letheon.report.load import Run, load_comparison, load_run, load_runs
from letheon.report.study_page import study_html, study_markdown
from letheon.report.study_tables import load_study
from letheon.report.tables import Table, details, over_seeds, table
from letheon.report.terminal import run_lines, score_lines
from letheon.report.to_html import html
from letheon.report.to_markdown import markdown
from letheon.report.words import failure_lines, verdict
