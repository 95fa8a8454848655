"""Rendering pages from the package's templates. Every value is escaped."""

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from sluice.store.quarantine import printable

STATIC = Path(__file__).parent / "static"
"""The chart library (uPlot, with its licence) and what draws with it."""


def markdown(text: str) -> Markup:
    """Markdown as HTML; what is HTML in it already is shown as text."""
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return Markup(html)  # noqa: S704 - the renderer has escaped it


def render(template: str, **values: Any) -> str:
    """A page; a value that the template asks for and does not get is an error."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["visible"] = lambda text: printable(text.encode())
    environment.filters["bytes"] = printable
    return environment
