"""Quizzes: every item is whole, taught somewhere and gives nothing away; what is shown is the same on every run."""

import html
import json
import re
import shutil
import subprocess

import pytest

from afina.errors import CourseError
from afina.runtime import course_root
from afina.teach import quiz as quizzes
from workshop.notebooks import build, sources

ROOT = course_root()
NAMES = quizzes.names()
LESSONS = {path.stem: {cell.id for cell in build(path, None).cells} for path in sources(ROOT)}
ONE = [item for name in NAMES for item in quizzes.load_quiz(name) if item["kind"] == "one"]


def places(item):
    return [option["correct"] for option in item["options"]].index(True)


@pytest.mark.parametrize("name", NAMES)
def test_every_item_is_whole_and_taught_by_a_cell_that_exists(name):
    items = quizzes.load_quiz(name)
    assert len(items) >= 5
    assert len({item["question"] for item in items}) == len(items)
    for item in items:
        assert item["cell"] in LESSONS[item["lesson"]], item["question"]
        assert 3 <= len(item["options"]) <= 4
        assert all(len(option["why"]) >= 15 for option in item["options"])
        assert len({option["text"] for option in item["options"]}) == len(item["options"])


def test_there_is_a_quiz_for_every_lesson_and_the_extra_ones():
    assert {name[:2] for name in LESSONS} | {"fine_tuning", "hf1", "hf2", "hf3"} == set(NAMES)
    for lesson in LESSONS:
        source = (ROOT / "notebooks" / "src" / f"{lesson}.py").read_text(encoding="utf-8")
        assert f'quiz("{lesson[:2]}")' in source
        assert f"{{{{quiz {lesson[:2]}}}}}" in source


def test_neither_place_nor_length_gives_the_answer_away():
    share = [sum(places(item) == place for item in ONE) / len(ONE) for place in range(3)]
    assert max(share) < 0.5
    assert min(share) > 0.15
    longest = sum(max(item["options"], key=lambda option: len(option["text"]))["correct"] for item in ONE)
    assert longest / len(ONE) < 0.5


def shown(name, monkeypatch):
    """What `quiz(name)` displays."""
    outputs = []
    with monkeypatch.context() as patch:
        patch.setattr("IPython.display.display", lambda data, raw: outputs.append(data))
        quizzes.quiz(name)
    (output,) = outputs
    return output


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_complete_small_quiet_and_the_same_every_time(name, capsys, monkeypatch):
    output = shown(name, monkeypatch)
    assert output == shown(name, monkeypatch)
    page = output["text/html"]
    assert len(page.encode()) < 40_000
    assert "http" not in re.sub(r"<http|http\$1", "", page)  # jupyterquiz's own pattern for links
    assert page.count("</script>") == page.count("<script>") == 1
    for item in quizzes.load_quiz(name):
        for option in item["options"]:
            assert json.dumps(quizzes.as_html(option["why"]), ensure_ascii=False).replace("</", "<\\/") in page
    # without scripts, as in a notebook that is not trusted: one sentence, the same as in plain text
    assert f">{output['text/plain']}</div>" in page and "rode esta célula" in output["text/plain"]
    assert capsys.readouterr() == ("", "")


def test_texts_reach_the_page_as_they_were_written():
    assert quizzes.as_html("US$ 5 < `a*b*c[0](x)` e *sim*") == (
        "US&#36; 5 &lt; <code>a*b*c&#91;0](x)</code> e <i>sim</i>"
    )


DRIVER = """
const errors = [], seen = {};
addEventListener("error", event => errors.push(event.message));
addEventListener("load", () => {
  const [one, many] = document.querySelectorAll(".afina-quiz");
  const option = (box, question, right) =>
    box.querySelectorAll(".Quiz")[question].querySelector(`.MCButton[data-correct=${right}]`);
  const press = (place, key) => place.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
  const score = box => box.querySelector(".afina-score").textContent;
  seen.start = score(one);
  option(one, 0, true).click();
  seen.mouse = score(one);
  seen.why = one.querySelector(".Feedback").textContent;
  press(option(one, 1, true), "Enter");
  seen.enter = score(one);
  press(option(one, 1, false), " ");
  seen.space = score(one);
  seen.reachable = [...document.querySelectorAll(".MCButton")].every(o => o.tabIndex === 0 && o.role === "button");
  seen.pressed = option(one, 0, true).getAttribute("aria-pressed") + option(one, 0, false).getAttribute("aria-pressed");
  const rights = [...many.querySelectorAll(".Quiz")[1].querySelectorAll(".MCButton[data-correct=true]")];
  seen.many = rights.map(right => { right.click(); return score(many); });
  seen.fetched = performance.getEntriesByType("resource").map(entry => entry.name);
  seen.errors = errors;
  document.body.append(Object.assign(document.createElement("pre"), {id: "seen", textContent: JSON.stringify(seen)}));
});
"""
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_answers_explain_themselves_and_the_score_follows(tmp_path, monkeypatch):
    """Two quizzes on one page, by mouse and by keyboard; no script error, nothing fetched."""
    boxes = "".join(shown(name, monkeypatch)["text/html"] for name in ("02", "fine_tuning"))
    page = tmp_path / "page.html"
    page.write_text(f'<meta charset="utf-8"><script>{DRIVER}</script>{boxes}', encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    dom = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, timeout=60).stdout.decode()
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.S)
    assert found, dom[-500:]
    seen = json.loads(html.unescape(found[1]))
    right = next(option for option in quizzes.load_quiz("02")[0]["options"] if option["correct"])
    assert seen == {
        "start": "0 de 5 certas",
        "mouse": "1 de 5 certa",
        "why": right["why"],
        "enter": "2 de 5 certas",
        "space": "1 de 5 certa",
        "reachable": True,
        "pressed": "truefalse",
        "many": ["0 de 6 certas", "1 de 6 certa"],
        "fetched": [],
        "errors": [],
    }


GOOD = {"question": "?", "kind": "one", "lesson": "x", "cell": "y", "options": []}
RIGHT, WRONG = ({"text": "a", "correct": True, "why": "b"}, {"text": "c", "correct": False, "why": "d"})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "não se lê"),
        ("[]", "lista de perguntas"),
        (json.dumps([{"question": "?"}]), "item 1: os campos"),
        (json.dumps([GOOD | {"options": [RIGHT]}]), "há 1 opções"),
        (json.dumps([GOOD | {"options": [WRONG, WRONG]}]), "0 opções certas"),
        (json.dumps([GOOD | {"options": [RIGHT, RIGHT]}]), "2 opções certas"),
        (json.dumps([GOOD | {"kind": "few", "options": [RIGHT, WRONG]}]), "'few'"),
        (json.dumps([GOOD | {"options": [RIGHT, WRONG | {"why": ""}]}]), 'opção 2: "why" está vazio'),
    ],
)
def test_a_broken_quiz_is_one_clear_error(content, told, tmp_path, monkeypatch):
    (tmp_path / "data" / "quizzes").mkdir(parents=True)
    (tmp_path / "data" / "clubes.json").write_text("[]", encoding="utf-8")
    (tmp_path / "data" / "quizzes" / "bad.json").write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CourseError, match=told) as error:
        quizzes.load_quiz("bad")
    assert "bad.json" in str(error.value)


def test_an_unknown_quiz_names_the_known_ones():
    with pytest.raises(CourseError, match="fine_tuning"):
        quizzes.load_quiz("99")
