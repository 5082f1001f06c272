"""Quizzes as data: `quiz("02")` asks interactively. The builders (workshop.quizzes) write the same to read, and the site's.

A quiz is `data/quizzes/NAME.json`, a list of items: question, kind ("one" or "many" right answers), options with `text`,
`correct` and `why`, and the lesson and cell that teach it. Texts are plain, with `code` and *emphasis* marked as in Markdown.
jupyterquiz (MIT) draws and judges; its scripts are put into the output itself, and ours adds the score and the keyboard.
"""

import html
import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from afina.errors import CourseError, require
from afina.runtime import course_root

_OPTION_KEYS = {"text": str, "correct": bool, "why": str}
_ITEM_KEYS = {"question": str, "kind": str, "options": list, "lesson": str, "cell": str}
_HERE = Path(__file__)  # quiz.css and quiz.js stand beside it


def names() -> list[str]:
    """The quizzes there are."""
    return sorted(path.stem for path in (course_root() / "data" / "quizzes").glob("*.json"))


def load_quiz(name: str) -> list[dict[str, Any]]:
    """The items of a quiz, checked. CourseError names the file, the item (from 1) and the field that is wrong."""
    path = course_root() / "data" / "quizzes" / f"{name}.json"
    require(path.is_file(), f'não há um quiz "{name}".', f"Os que há: {', '.join(names())}.", "quiz")
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CourseError(f"o JSON não se lê ({error}).", "Corrija o arquivo.", where=path.name) from error
    some = isinstance(items, list) and items
    require(some, "esperava uma lista de perguntas.", "Veja outro quiz como exemplo.", path.name)
    for number, item in enumerate(items, 1):
        _check_item(item, f"{path.name}, item {number}")
    return items


def _check_item(item: Any, where: str) -> None:
    _check_keys(item, _ITEM_KEYS, where)
    options, kind = item["options"], item["kind"]
    require(kind in ("one", "many"), f'"kind" é {kind!r}.', 'Use "one" ou "many".', where)
    require(2 <= len(options) <= 5, f"há {len(options)} opções.", "Use de 2 a 5.", where)
    for number, option in enumerate(options, 1):
        _check_keys(option, _OPTION_KEYS, f"{where}, opção {number}")
    right = sum(option["correct"] for option in options)
    fits = right > 1 if kind == "many" else right == 1
    require(fits, f"{right} opções certas não combinam com {kind!r}.", "Confira as opções.", where)


def _check_keys(value: Any, keys: Mapping[str, type], where: str) -> None:
    same = isinstance(value, dict) and set(value) == set(keys)
    require(same, f"os campos devem ser {', '.join(keys)}.", "Confira os nomes.", where)
    for key, kind in keys.items():
        filled = isinstance(value[key], kind) and value[key] != ""
        require(filled, f'"{key}" está vazio ou não é do tipo certo.', "Preencha-o.", where)


def quiz(name: str) -> None:
    """Ask the quiz in JupyterLab, Colab or a saved page: an answer gets its explanation at once, and the score is kept."""
    from IPython.display import display  # not needed to build a page, and jupyterquiz neither

    package = resources.files("jupyterquiz")
    scripts = (package / "js" / part for part in ("helpers.js", "multiple_choice.js"))
    library = "".join(script.read_text(encoding="utf-8") for script in scripts)
    items = [
        {"question": question(item), "type": "multiple_choice", "answers": list(map(_answer, item["options"]))}
        for item in load_quiz(name)
    ]
    data = json.dumps(items, ensure_ascii=False).replace("</", "<\\/")  # "</script>" would end the script
    ours = Template(_quiet(_HERE.with_suffix(".js").read_text(encoding="utf-8")))
    script = ours.substitute(library=_quiet(library), name=name, items=data)
    style = "\n".join(css.read_text(encoding="utf-8") for css in (package / "styles.css", _HERE.with_suffix(".css")))
    fallback = f"Quiz interativo, {len(items)} perguntas: rode esta célula, ou leia-as na célula abaixo."
    box = f'<div class="afina-quiz" data-quiz="{name}" lang="pt-BR">{fallback}</div>'
    page = f"{box}\n<style>\n{style}</style>\n<script>\n{script}\n</script>"
    display({"text/html": page, "text/plain": fallback}, raw=True)


def _answer(option: dict[str, Any]) -> dict[str, Any]:
    return {"answer": as_html(option["text"]), "correct": option["correct"], "feedback": as_html(option["why"])}


def _quiet(script: str) -> str:
    """A script without its messages to the browser's console, and without whole-line comments."""
    lines = (line for line in script.splitlines() if not re.match(r"\s*(//|console\.log\([^;]*\);\s*$)", line))
    return "\n".join(lines)


def question(item: dict[str, Any]) -> str:
    """A question as HTML; it says where there is more than one right answer."""
    return as_html(item["question"]) + " (há mais de uma)" * (item["kind"] == "many")


def as_html(text: str) -> str:
    """A text of ours as HTML: escaped, with `code` and *emphasis* marked, and no sign that jupyterquiz takes for a formula."""
    text = html.escape(text, quote=False).replace("$", "&#36;").replace("[", "&#91;")
    marked = re.split(r"`([^`]+)`", text)  # every second piece is code, where an asterisk is an asterisk
    marked[::2] = [re.sub(r"\*([^*]+)\*", r"<i>\1</i>", piece) for piece in marked[::2]]
    marked[1::2] = [f"<code>{piece}</code>" for piece in marked[1::2]]
    return "".join(marked)
