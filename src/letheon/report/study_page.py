"""A study as a Markdown page and as one self-contained HTML page."""

from __future__ import annotations

__all__ = ["study_html", "study_markdown"]

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from letheon.report.blocks import (
    code,
    criteria,
    figures,
    fold,
    pairs,
    paragraph,
    tabled,
    tools,
)
from letheon.report.page import Page, Section, render
from letheon.report.provenance import describe_environment
from letheon.report.study_plots import study_plots
from letheon.report.study_tables import method_gate, protocol, reasons, tables, verdict

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
    heading, words, first = told[0]
    found = reasons(study)
    names = {method["name"] for method in study["methods"]}
    sections = [
        Section(
            heading,
            [paragraph(words, "note"), tools(), tabled(first, heading, runs=names), _how(study)],
        ),
        Section("Figures", [figures(study_plots(study), large=True)]),
        Section("What stood in the way", [pairs(found)] if found else []),
        *(
            Section(name, [paragraph(words, "note"), tabled(table, name, runs=names)])
            for name, words, table in told[1:]
        ),
        Section("The gate, criterion by criterion", _gates(study)),
        Section("How it was made", [pairs(list(_made(study).items())), _recipe(study)]),
    ]
    return render(
        Page(
            title=title or _title(study),
            verdict=verdict(study),
            mood=_mood(study),
            sections=[section for section in sections if section.blocks],
        )
    )


def _how(study: Mapping[str, Any]) -> Markup:
    return paragraph(f"{protocol(study)} {_GATE}", "note")


def _gates(study: Mapping[str, Any]) -> list[Markup]:
    return [
        fold(method["name"], criteria(method["verdict"]["criteria"], method["name"]))
        for method in study["methods"]
        if method["verdict"]
    ]


def _recipe(study: Mapping[str, Any]) -> Markup:
    return fold("Study, resolved", code(json.dumps(study["study"], indent=1, ensure_ascii=False)))


def _title(study: Mapping[str, Any]) -> str:
    return f"Study {study['name']}"


def _mood(study: Mapping[str, Any]) -> str:
    words = {method_gate(method) for method in study["methods"]}
    return {"passed": "good", "not passed": "bad"}.get("/".join(sorted(words)), "mixed")


def _made(study: Mapping[str, Any]) -> dict[str, str]:
    task = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in study["task"].items())
    told = {"Command": study["command"], "Task": task}
    return told | describe_environment(study.get("environment") or {})
