"""The pages that the workshop writes: Jinja templates, and one style for all of them (`page.css`).

    render("course.html", lessons=lessons, seconds=42)

A template of a whole page begins with `{% extends "base.html" %}` and fills the blocks `title` and `body`. Values are escaped unless
they are `Markup`, and a value that a template misses is an error.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(template: str, **values: object) -> str:
    """The text of a template of this folder. jinja2.UndefinedError where a value is missing."""
    return _TEMPLATES.get_template(template).render(**values)
