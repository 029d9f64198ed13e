"""What sections are made of: paragraphs, tables, figures; whatever is put in is escaped."""

from __future__ import annotations

__all__ = [
    "bullets",
    "code",
    "criteria",
    "figures",
    "fold",
    "heading",
    "pairs",
    "paragraph",
    "rows_in_a_box",
    "tabled",
    "tools",
]

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from letheon.report.tables import Table
from letheon.report.words import number

# Columns that are read, not compared: to the left.
_READ = {"Better", "Held", "How", "In words", "Interval", "Not measured", "Setting"}


def paragraph(text: str, kind: str = "") -> Markup:
    """Return a paragraph; ``kind`` is a CSS class such as note or warning."""
    return (
        Markup('<p class="{}">{}</p>').format(kind, text)
        if kind
        else Markup("<p>{}</p>").format(text)
    )


def heading(text: str) -> Markup:
    """Return what a part of a section is called."""
    return Markup("<h3>{}</h3>").format(text)


def bullets(items: Sequence[str]) -> Markup:
    """Return a list of sentences."""
    return Markup("<ul>{}</ul>").format(_all("<li>{}</li>", [(item,) for item in items]))


def pairs(items: Sequence[tuple[str, str]]) -> Markup:
    """Return names with what is said of each."""
    return Markup("<dl>{}</dl>").format(_all("<dt>{}</dt><dd>{}</dd>", items))


def code(text: str) -> Markup:
    """Return text as it was typed or written to a file."""
    return Markup('<pre tabindex="0"><code>{}</code></pre>').format(text)


def fold(summary: str, inner: Markup, *, opened: bool = False) -> Markup:
    """Return what is shown on demand."""
    return Markup("<details{}><summary>{}</summary>{}</details>").format(
        Markup(" open") if opened else "", summary, inner
    )


def figures(plots: Sequence[str], *, large: bool = False) -> Markup:
    """Return figures beside each other, two by two where ``large``; plots escape their names."""
    return Markup('<div class="plots{}">{}</div>').format(
        " large" if large else "", Markup("".join(plots))
    )


def tools() -> Markup:
    """Return the place where the script puts the choice of runs, for all of the page."""
    return Markup('<div class="tools" role="group" aria-label="Choose runs" hidden></div>')


def tabled(
    table: Table, caption: str, *, runs: Collection[str] = (), titled: bool = False
) -> Markup:
    """Return a table that can be sorted and scrolls in a box of its own.

    A row whose first cell is one of ``runs`` can be picked by that name. ``titled`` shows the
    caption to all, not to screen readers alone: where the heading above does not say it.
    """
    words = [name in _READ for name in table.headers]
    head = _all(
        '<th scope="col"{}>{}</th>',
        [(_class("words" * w), name) for w, name in zip(words, table.headers, strict=True)],
    )
    body = Markup("").join(
        Markup('<tr{}{}><th scope="row">{}</th>{}</tr>\n').format(
            _class(mark),
            Markup(' data-run="{}"').format(row[0]) if row[0] in runs else "",
            row[0],
            Markup("").join(
                _cell(text, "words" * w, gate=name == "Gate")
                for text, w, name in zip(row[1:], words[1:], table.headers[1:], strict=True)
            ),
        )
        for row, mark in zip(table.rows, table.marks, strict=True)
    )
    wide = " wide" if len(table.headers) > 5 and "Gate" not in table.headers else ""
    return _boxed(f"sortable{wide}", caption, titled, head, body)


def rows_in_a_box(heads: Sequence[str], rows: Sequence[Sequence[Markup]], caption: str) -> Markup:
    """Return a table of texts that is read, not sorted, in a box of its own."""
    head = _all('<th scope="col" class="words">{}</th>', [(name,) for name in heads])
    body = _all(
        '<tr><th scope="row">{}</th>{}</tr>\n',
        [(row[0], _all('<td class="words">{}</td>', [(c,) for c in row[1:]])) for row in rows],
    )
    return _boxed("answers", caption, False, head, body)


def criteria(found: Sequence[Mapping[str, Any]], caption: str) -> Markup:
    """Return the gate's criteria as a table."""
    rows = [
        [
            str(c["name"]).replace("_", " "),
            "yes" if c["passed"] else "no",
            number(c["value"]),
            number(c["limit"]),
            str(c["words"]),
        ]
        for c in found
    ]
    return tabled(
        Table(["Criterion", "Held", "Value", "Limit", "In words"], rows, [""] * len(rows)), caption
    )


def _boxed(kind: str, caption: str, titled: bool, head: Markup, body: Markup) -> Markup:
    # The box scrolls, so the keyboard must reach it.
    return Markup(
        '<div class="across" role="group" aria-label="{}" tabindex="0"><table class="{}">'
        "<caption{}>{}</caption><thead><tr>{}</tr></thead><tbody>\n{}</tbody></table></div>"
    ).format(caption, kind, _class("" if titled else "unseen"), caption, head, body)


def _cell(text: str, kind: str, *, gate: bool) -> Markup:
    if text in ("yes", "no"):
        kind = text
    elif gate:
        kind = text.replace(" ", "-")
    if kind == "words":
        return Markup("<td{}>{}</td>").format(_class(kind), text)
    value, bracket, rest = text.partition(" [")
    # A number such as 1.5e-25 is not broken at its sign.
    whole = Markup("{}" if " " in value else '<span class="value">{}</span>').format(value)
    more = Markup(' <span class="range">[{}</span>').format(rest) if bracket else ""
    return Markup("<td{}>{}{}</td>").format(_class(kind), whole, more)


def _class(name: str) -> Markup:
    return Markup(' class="{}"').format(name) if name else Markup("")


def _all(template: str, items: Sequence[Sequence[Any]]) -> Markup:
    return Markup("").join(Markup(template).format(*item) for item in items)
