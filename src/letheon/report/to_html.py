"""A comparison or a run as one self-contained HTML page."""

from __future__ import annotations

__all__ = ["html"]

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from letheon.report.comparison_page import comparison_page
from letheon.report.evidence import Evidence
from letheon.report.load import Run
from letheon.report.page import render
from letheon.report.run_page import run_page


def html(
    source: Run | Mapping[str, Any],
    *,
    runs: Iterable[tuple[Mapping[str, Any], Run]] = (),
    evidence: Evidence | None = None,
    title: str | None = None,
) -> str:
    """Write one HTML page of a comparison or of a single run.

    ``runs`` (from ``load_runs``) adds each method's progress curves to a comparison; ``evidence``
    (from ``load_evidence``) adds to a run what its records say, and its texts if it holds them.
    All texts are escaped; the page loads nothing.
    """
    if isinstance(source, Run):
        page = run_page(source, evidence or Evidence())
    else:
        page = comparison_page(source, runs)
    return render(replace(page, title=title or page.title))
