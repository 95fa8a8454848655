"""Rendering HTML from templates. Every value is escaped; nothing is loaded from elsewhere."""

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from sluice.store.quarantine import printable, printable_text

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, *, folder: Path = TEMPLATES, **values: Any) -> str:
    """A page; a value that the template uses and does not get is an error.

    Args:
        folder: where the template is.
    """
    return _environment(folder).get_template(template).render(values)


@cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["visible"] = printable_text
    environment.filters["bytes"] = printable
    return environment
