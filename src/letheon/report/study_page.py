"""A study as a Markdown page and as one self-contained HTML page."""

from __future__ import annotations

__all__ = ["study_html", "study_markdown"]

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from letheon.report.provenance import describe_environment
from letheon.report.study_plots import study_plots
from letheon.report.study_tables import method_gate, protocol, reasons, tables, verdict
from letheon.report.to_html import render

_GATE = 'Gate: "forgotten and kept" on at least 4 of 5 seeds.'


def study_markdown(study: Mapping[str, Any], *, title: str | None = None) -> str:
    """Write a study as Markdown: the verdict, a table for each question, how it was made."""
    parts = [f"# {title or _title(study)}\n", f"{verdict(study)}\n", f"{protocol(study)}\n"]
    if found := reasons(study):
        parts += [f"{_GATE}\n", "".join(f"- {name}: {words}\n" for name, words in found)]
    for heading, words, table in tables(study):
        parts += [f"## {heading}\n", f"{words}\n", table.to_markdown()]
    parts += ["## How it was made\n"]
    parts.append("".join(f"- {name}: {words}\n" for name, words in _made(study).items()))
    return "\n".join(parts)


def study_html(study: Mapping[str, Any], *, title: str | None = None) -> str:
    """Write a study as one HTML page with its figures; it loads nothing."""
    told = tables(study)
    return render(
        {
            "title": title or _title(study),
            "verdict": verdict(study),
            "mood": _mood(study),
            "reasons": reasons(study),
            "tables": [(heading, table) for heading, _, table in told],
            "notes": {heading: words for heading, words, _ in told},
            "legend": f"{protocol(study)} {_GATE}",
            "figures": [Markup(plot) for plot in study_plots(study)],
            "gates": [
                (method["name"], method["verdict"]["criteria"])
                for method in study["methods"]
                if method["verdict"]
            ],
            "made": _made(study),
            "recipe": json.dumps(study["study"], indent=1, ensure_ascii=False),
        }
    )


def _title(study: Mapping[str, Any]) -> str:
    return f"Study {study['name']}"


def _mood(study: Mapping[str, Any]) -> str:
    words = {method_gate(method) for method in study["methods"]}
    return {"passed": "good", "not passed": "bad"}.get("/".join(sorted(words)), "mixed")


def _made(study: Mapping[str, Any]) -> dict[str, str]:
    task = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in study["task"].items())
    told = {"Command": study["command"], "Task": task}
    return told | describe_environment(study.get("environment") or {})
