"""The page that all reports share: its frame, its style and its script, in one file."""

from __future__ import annotations

__all__ = ["Page", "Section", "render"]

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page with its heading; blocks (from ``report.blocks``) are escaped already."""

    title: str
    blocks: Sequence[Markup]

    @property
    def key(self) -> str:
        """What the section is called in a link."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


@dataclass(frozen=True, slots=True)
class Page:
    """A page: the verdict first, then its sections.

    ``mood`` is good, bad or mixed; ``lead`` says more of the verdict; ``texts`` whether the page
    shows texts of the data.
    """

    title: str
    verdict: str
    mood: str
    sections: Sequence[Section]
    lead: Markup = Markup("")  # noqa: RUF009
    texts: bool = False


def render(page: Page) -> str:
    """Return the HTML of ``page``; its policy allows no request and no script but its own."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = _asset("style.css"), _asset("tables.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return environment.from_string(_asset("page.html.j2")).render(
        page=page,
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        version=version("letheon"),
    )


def _asset(name: str) -> str:
    return files("letheon.report.page").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
