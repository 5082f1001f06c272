"""Quizzes as data: `quiz("02")` asks interactively, `as_markdown("02")` is the same to read, for GitHub and untrusted pages,
and `as_page("02")` is what the site shows, where no kernel runs.

A quiz is `data/quizzes/NAME.json`, a list of items: question, kind ("one" or "many" right answers), options with `text`,
`correct` and `why`, and the lesson and cell that teach it. Texts are plain, with `code` and *emphasis* marked as in Markdown.
The interactive side is drawn and judged by jupyterquiz (MIT), whose scripts are put into the output itself; ours adds the
score and the keyboard. Nothing is fetched, and the output is the same on every run.
"""

from __future__ import annotations

import html
import json
import re
from importlib import resources
from string import Template
from typing import Any

from afina.errors import CourseError
from afina.runtime import course_root

_OPTION_KEYS = {"text": str, "correct": bool, "why": str}
_ITEM_KEYS = {"question": str, "kind": str, "options": list, "lesson": str, "cell": str}
_STYLE = """
.afina-quiz { --jq-multiple-choice-bg: #22303C; --jq-many-choice-bg: #00506F; --jq-incorrect-color: #A33B00;
  --jq-correct-color: #00664A; --jq-mc-button-bg: #fafafa; --jq-mc-button-border: #7A8894; --jq-mc-button-inset-shadow: #555;
  --jq-text-color: #fafafa; border-radius: 10px; max-width: 720px; margin: 0 auto }
.afina-quiz .Quiz { max-width: 720px; font-size: 1.15rem; line-height: 1.35 }
.afina-quiz .Answer { grid-template-columns: 1fr; grid-gap: 8px }
.afina-quiz .MCButton { justify-content: flex-start; text-align: left; gap: .5ch; line-height: 1.35 }
.afina-quiz .MCButton:focus-visible { outline: 3px solid #56B4E9; outline-offset: 2px }
.afina-quiz code { background: none !important; color: inherit !important }
.afina-quiz .correctButton::before { content: "✔" } .afina-quiz .incorrectButton::before { content: "✘" }
.afina-quiz .Feedback { font-size: 1rem; text-align: left; padding: .1rem .8rem }
.afina-quiz .Feedback.correct, .afina-quiz .Feedback.incorrect { background: #F4F7F9; border-left: 4px solid; padding-block: .5rem }
.afina-quiz .afina-score { font-weight: 600; font-size: 1.1rem; margin: .8rem 0 }
"""
# A function of its own, so that two quizzes on a page share no name, and so that MathJax is undefined in it: jupyterquiz
# waits for no formula of ours. The box is the first of this quiz still to be filled: a notebook may be open twice. Options
# become buttons, each a stop of the Tab key: JupyterLab keeps the arrows, which radio buttons need, for moving between cells.
_SCRIPT = Template("""(function (MathJax) {
$library
const box = document.querySelector('.afina-quiz[data-quiz="$name"]:not([data-filled])');
if (!box) return;
box.dataset.filled = "";
box.textContent = "";
$items.forEach((item, i) => Question.create(item, makeid(8), i, {shuffleAnswers: false, maxWidth: 720}, box));
const score = box.appendChild(document.createElement("div"));
score.className = "afina-score";
const all = [...box.querySelectorAll(".Feedback")];
const options = [...box.querySelectorAll(".MCButton")];
[score, ...all].forEach(place => place.setAttribute("role", "status"));
box.querySelectorAll(".Quiz").forEach((one, i) => {
  one.setAttribute("role", "group");
  one.setAttribute("aria-label", "Pergunta " + (i + 1) + ": " + one.firstChild.textContent);
});
options.forEach(option => {
  option.querySelector("input").remove();
  option.tabIndex = 0;
  option.setAttribute("role", "button");
  option.addEventListener("keydown", event => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    option.click();
  });
});
const tell = () => {
  const right = all.filter(f => f.classList.contains("correct") &&
    (f.dataset.numcorrect <= 1 || f.dataset.answeredcorrect === f.dataset.numcorrect)).length;
  score.textContent = right + " de " + all.length + (right === 1 ? " certa" : " certas");
  options.forEach(o => o.setAttribute("aria-pressed", o.matches(".correctButton, .incorrectButton")));
};
box.addEventListener("click", tell);
tell();
})();""")


def names() -> list[str]:
    """The quizzes there are."""
    return sorted(path.stem for path in (course_root() / "data" / "quizzes").glob("*.json"))


def load(name: str) -> list[dict[str, Any]]:
    """The items of a quiz, checked. CourseError names the file, the item (from 1) and the field that is wrong."""
    path = course_root() / "data" / "quizzes" / f"{name}.json"
    if not path.is_file():
        raise CourseError(f'não há um quiz "{name}".', f"Os que há: {', '.join(names())}.", where="quiz")
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CourseError(f"o JSON não se lê ({error}).", "Corrija o arquivo.", where=path.name) from error
    if not isinstance(items, list) or not items:
        raise CourseError("esperava uma lista de perguntas.", "Veja outro quiz como exemplo.", where=path.name)
    for number, item in enumerate(items, 1):
        _check_item(item, f"{path.name}, item {number}")
    return items


def _check_item(item: Any, where: str) -> None:
    _check_keys(item, _ITEM_KEYS, where)
    if item["kind"] not in ("one", "many"):
        raise CourseError(f'"kind" é {item["kind"]!r}.', 'Use "one" ou "many".', where=where)
    if not 2 <= len(item["options"]) <= 5:
        raise CourseError(f"há {len(item['options'])} opções.", "Use de 2 a 5.", where=where)
    for number, option in enumerate(item["options"], 1):
        _check_keys(option, _OPTION_KEYS, f"{where}, opção {number}")
    right = sum(option["correct"] for option in item["options"])
    if right < 1 or (right > 1) != (item["kind"] == "many"):
        raise CourseError(
            f"{right} opções certas não combinam com {item['kind']!r}.", "Confira as opções.", where=where
        )


def _check_keys(value: Any, keys: dict[str, type], where: str) -> None:
    if not isinstance(value, dict) or set(value) != set(keys):
        raise CourseError(f"os campos devem ser {', '.join(keys)}.", "Confira os nomes.", where=where)
    for key, kind in keys.items():
        if not isinstance(value[key], kind) or value[key] == "":
            raise CourseError(f'"{key}" está vazio ou não é do tipo certo.', "Preencha-o.", where=where)


def quiz(name: str) -> None:
    """Ask the quiz in JupyterLab, Colab or a saved page: an answer gets its explanation at once, and the score is kept."""
    from IPython.display import display  # not needed to build a page, and jupyterquiz neither

    package = resources.files("jupyterquiz")
    library = "".join(
        (package / "js" / part).read_text(encoding="utf-8") for part in ("helpers.js", "multiple_choice.js")
    )
    items = [
        {
            "question": _question(item),
            "type": "multiple_choice",
            "answers": [
                {"answer": _as_html(o["text"]), "correct": o["correct"], "feedback": _as_html(o["why"])}
                for o in item["options"]
            ],
        }
        for item in load(name)
    ]
    data = json.dumps(items, ensure_ascii=False).replace("</", "<\\/")  # "</script>" would end the script
    script = _SCRIPT.substitute(library=_quiet(library), name=name, items=data)
    style = (package / "styles.css").read_text(encoding="utf-8") + _STYLE
    fallback = f"Quiz interativo, {len(items)} perguntas: rode esta célula, ou leia-as na célula abaixo."
    box = f'<div class="afina-quiz" data-quiz="{name}" lang="pt-BR">{fallback}</div>'
    page = f"{box}\n<style>\n{style}</style>\n<script>\n{script}\n</script>"
    display({"text/html": page, "text/plain": fallback}, raw=True)


def _quiet(script: str) -> str:
    """jupyterquiz without its messages to the browser's console, and without whole-line comments."""
    lines = (line for line in script.splitlines() if not re.match(r"\s*(//|console\.log\([^;]*\);\s*$)", line))
    return "\n".join(lines)


def _question(item: dict[str, Any]) -> str:
    return _as_html(item["question"]) + " (há mais de uma)" * (item["kind"] == "many")


def _as_html(text: str) -> str:
    """A text of ours as HTML: escaped, with `code` and *emphasis* marked, and no sign that jupyterquiz takes for a formula."""
    text = html.escape(text, quote=False).replace("$", "&#36;").replace("[", "&#91;")
    marked = re.split(r"`([^`]+)`", text)  # every second piece is code, where an asterisk is an asterisk
    marked[::2] = [re.sub(r"\*([^*]+)\*", r"<i>\1</i>", piece) for piece in marked[::2]]
    marked[1::2] = [f"<code>{piece}</code>" for piece in marked[1::2]]
    return "".join(marked)


def as_markdown(name: str) -> str:
    """The quiz to read, a line a question: it folds out to its options, each with its why and a mark on the right ones."""
    blocks = []
    for number, item in enumerate(load(name), 1):
        options = "".join(
            f"<li>{'✔' if o['correct'] else '✘'} <b>{_as_html(o['text'])}</b> {_as_html(o['why'])}</li>"
            for o in item["options"]
        )
        place = f"{item['lesson']}.ipynb#cell-id={item['cell']}"
        review = f'<p>Revise na aula <a href="{place}">{item["lesson"][:2]}</a>.</p>'
        summary = f"<summary><b>{number}.</b> {_question(item)}</summary>"
        blocks.append(f"<details>{summary}<ul>{options}</ul>{review}</details>")
    return "\n\n".join(["Para ler sem rodar:", *blocks])


def as_page(name: str) -> str:
    """The quiz as HTML for the site, whose `docs/_static/site.js` asks and judges. Without scripts it reads as a list of answers."""
    blocks = []
    for number, item in enumerate(load(name), 1):
        asked = f"quiz-{name}-{number}"
        options = "\n".join(
            f'<button type="button" data-correct="{str(o["correct"]).lower()}">{_as_html(o["text"])}</button>\n'
            f'<p class="why">{_as_html(o["why"])}</p>'
            for o in item["options"]
        )
        place = f"{item['lesson']}.ipynb#cell-id={item['cell']}"
        blocks.append(
            f'<div class="item" role="group" aria-labelledby="{asked}" data-kind="{item["kind"]}">\n'
            f'<p id="{asked}"><b>{number}.</b> {_question(item)}</p>\n{options}\n'
            f'<p class="review"><a href="{place}">Revise na aula {item["lesson"][:2]}</a></p>\n</div>'
        )
    # no empty line inside: in Markdown, one would end the HTML
    return "\n".join(
        [f'<div class="quiz" data-quiz="{name}">', *blocks, '<p class="score" role="status"></p>', "</div>"]
    )
