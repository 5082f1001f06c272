"""The quizzes of `afina.teach.quiz` where no kernel runs: to read, in a notebook and on GitHub, and asked by the site's own script."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from afina.teach.quiz import as_html, load_quiz, question
from workshop.pages import render


def as_markdown(name: str) -> str:
    """The quiz to read, a line a question: it folds out to its options, each with its why and a mark on the right ones."""
    return render("quiz.md", items=_marked(name)).strip()


def as_page(name: str) -> str:
    """The quiz as HTML for the site, whose `docs/_static/site.js` asks and judges. Without scripts it reads as a list of answers.

    No empty line inside: in Markdown, one would end the HTML.
    """
    return render("quiz.html", name=name, items=_marked(name)).strip()


def _marked(name: str) -> list[dict[str, Any]]:
    """The items with their texts as HTML."""

    def option(one: dict[str, Any]) -> dict[str, Any]:
        return one | {"text": Markup(as_html(one["text"])), "why": Markup(as_html(one["why"]))}

    return [
        item | {"question": Markup(question(item)), "options": [option(one) for one in item["options"]]}
        for item in load_quiz(name)
    ]
