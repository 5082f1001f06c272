"""The templates: what comes from outside is escaped, a missing value is an error, and colours have one home."""

import re

import jinja2
import pytest
from markupsafe import Markup

from afina.runtime import course_root
from workshop.pages import render

FOLDER = course_root() / "workshop" / "pages"


def test_values_are_escaped_and_markup_is_not():
    links = [("a < b", 'x"y'), (Markup("<b>c</b>"), "z")]
    assert render("actions.html", links=links) == (
        '<p class="actions">\n<a href="x&#34;y">a &lt; b</a>\n<a href="z"><b>c</b></a>\n</p>\n'
    )


def test_a_missing_value_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="links"):
        render("actions.html")


def test_every_whole_page_has_the_one_style_a_language_and_room_for_phones():
    css = (FOLDER / "page.css").read_text(encoding="utf-8")
    for template in FOLDER.glob("*.html"):
        if 'extends "base.html"' in template.read_text(encoding="utf-8"):
            assert "<style" not in template.read_text(encoding="utf-8"), template.name
    page = render("base.html")
    assert css in page and '<html lang="pt-BR">' in page and "width=device-width" in page


@pytest.mark.skipif(
    "STYLE = " in (course_root() / "workshop" / "grade" / "room.py").read_text(encoding="utf-8"),
    reason="the grader still has its own",
)
def test_the_style_is_the_only_home_of_the_pages_colours():
    for path in [*(course_root() / "workshop").rglob("*.py"), *FOLDER.glob("*.html")]:
        assert not re.search("#[0-9A-Fa-f]{6}", path.read_text(encoding="utf-8")), path


def test_both_grounds_name_the_same_colours():
    light, dark = re.findall(r":root \{(.*?)\}", (FOLDER / "page.css").read_text(encoding="utf-8"))
    assert re.findall(r"--\w+", light) == [name for name in re.findall(r"--\w+", light) if f"{name}:" in dark]
