"""Quizzes to read and on the site: each has every option and every why."""

import re

import nbformat
import pytest

from afina.runtime import course_root
from afina.teach import quiz as quizzes
from workshop.quizzes import as_markdown, as_page

ROOT = course_root()


def test_the_version_to_read_has_every_option_and_every_why():
    text = as_markdown("03")
    for item in quizzes.load_quiz("03"):
        for option in item["options"]:
            assert quizzes.as_html(option["why"]) in text
    assert text.count("<details>") == text.count("</details>") == len(quizzes.load_quiz("03"))
    assert 'href="03_jsonl_building.ipynb#cell-id=file"' in text
    assert "(há mais de uma)" in as_markdown("fine_tuning")
    assert len(text.splitlines()) < 40  # the gate's limit for a cell


def test_the_builder_fills_it_in():
    notebook = nbformat.read(ROOT / "notebooks" / "03_jsonl_building.ipynb", as_version=4)
    assert any(as_markdown("03") in cell.source for cell in notebook.cells)


@pytest.mark.parametrize("name", quizzes.names())
def test_the_quiz_of_a_page_has_every_option_with_its_why(name):
    page = as_page(name)
    assert "\n\n" not in page  # Markdown would end the HTML there
    options = [option for item in quizzes.load_quiz(name) for option in item["options"]]
    found = re.findall(r'<button type="button" data-correct="(\w+)">(.*)</button>\n<p class="why">(.*)</p>', page)
    as_html = quizzes.as_html
    assert found == [(str(o["correct"]).lower(), as_html(o["text"]), as_html(o["why"])) for o in options]
