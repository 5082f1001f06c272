"""`make site`: what is staged for Sphinx, the pages that come out, and the pages as a reader meets them, in a real browser.

The first part needs nothing; the rest needs requirements-site.txt, and Chromium where a page is opened (`make test-site`).
"""

import json
import re
import runpy
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from browser import CHROMIUM, browser

from afina.errors import CourseError
from afina.runtime import course_root
from afina.teach import figures
from afina.teach import quiz as quizzes
from workshop import site as sites
from workshop.notebooks import colab_link, github_link, sources
from workshop.tasks import tasks

ROOT = course_root()
LESSONS = [f"notebooks/{path.stem}" for path in sources(ROOT)]
TASKS = [f"tasks/{task.folder.name}/{task.name}" for task in tasks(ROOT)]


# --- the stage -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    return sites.Site(ROOT, tmp_path_factory.mktemp("stage") / "src")


@pytest.mark.parametrize(
    ("page", "target", "leads"),
    [
        ("notebooks/02_dataset_prep.ipynb", "03_jsonl_building.ipynb#cell-id=file", "03_jsonl_building.html#cell-id=file"),
        ("notebooks/02_dataset_prep.ipynb", "../README.md", "../index.html"),
        ("notebooks/02_dataset_prep.ipynb", "../data/", "../data/index.html"),
        ("notebooks/09_pretraining.ipynb", "../models/gpt-pt/README.md", "../models/gpt-pt/index.html"),
        ("tasks/t01_clean_catalogue/t01.ipynb", "solution.ipynb", "solution.ipynb"),
        ("tasks/t01_clean_catalogue/t01.ipynb", "../../afina/data/clean.py", github_link("afina/data/clean.py")),
        ("README.md", "pdf/01_start_and_concepts.pdf", "pdf/01_start_and_concepts.pdf"),
        ("README.md", "LICENSE", github_link("LICENSE")),
        ("README.md", "https://pytorch.org/", "https://pytorch.org/"),
        ("README.md", "#instalação", "#instalação"),
    ],
)  # fmt: skip
def test_a_link_leads_to_a_page_a_download_or_the_repository(staged, page, target, leads):
    assert staged.link(target, page) == leads


@pytest.mark.parametrize("target", ["../nowhere.md", "../../outside.md", "99_missing.ipynb"])
def test_a_link_that_leads_nowhere_stops_the_build(staged, target):
    with pytest.raises(CourseError, match="não leva a lugar nenhum") as error:
        staged.link(target, "notebooks/02_dataset_prep.ipynb")
    assert str(error.value).startswith("notebooks/02_dataset_prep.ipynb")


def test_code_is_not_taken_for_links(staged):
    text = '`[a](b.md)` e\n\n```html\n<a href="b.md">\n[c](d.md)\n```\n\n[glossário](glossario.md) <a href="CONTRIBUTING.md">x</a>'
    changed = staged.rewrite(text, "docs/adaptar.md")
    assert changed == text.replace("(glossario.md)", "(glossario.html)").replace(
        '"CONTRIBUTING.md"', '"CONTRIBUTING.html"'
    )


@pytest.fixture(scope="module")
def books(staged):
    return {path: staged.notebook(path) for path in staged.pages if path.endswith(".ipynb")}


def test_every_quiz_is_asked_once_and_by_no_kernel(books):
    text = "\n".join(cell.source for book in books.values() for cell in book.cells)
    assert sorted(re.findall(r'<div class="quiz" data-quiz="(\w+)">', text)) == quizzes.names()
    assert "Para ler sem rodar" not in text
    assert "jupyterquiz" not in json.dumps(books).lower()
    assert not re.search(r'^quiz\("', text, re.M)


def test_pictures_keep_their_descriptions_and_named_cells_their_places(books):
    for path, book in books.items():
        committed = nbformat.read(ROOT / path, as_version=4)
        for cell in book.cells:
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    assert cell.metadata.mystnb.image.alt == output.metadata["image/png"].alt
        text = "\n".join(cell.source for cell in book.cells)
        assert "# NBVAL_" not in text
        for cell in committed.cells:
            if not re.fullmatch("[0-9a-f]{8}", cell.id) and not cell.source.endswith('")'):
                assert f'<div id="cell-id={cell.id}"></div>' in text, (path, cell.id)


def test_a_page_shows_the_drawing_itself_with_its_description(books):
    (cell,) = (cell for cell in books["notebooks/15_openai_job.ipynb"].cells if "show(job_states()" in cell.source)
    (output,) = cell.outputs
    assert list(output.data) == ["image/svg+xml"] and "validating_files</text>" in output.data["image/svg+xml"]
    assert cell.metadata.mystnb.image.alt == figures.JOB_STATES_ALT


def test_the_cover_says_what_to_take_along(books):
    cover = books["notebooks/07_attention.ipynb"].cells[0].source
    assert re.findall(r'<a href="(.*)">(.*)</a>', cover) == [
        (colab_link("07_attention"), "Abrir no Colab"),
        ("07_attention.ipynb", "Baixar o notebook"),
        ("../pdf/04_llm_by_hand_2.pdf", "Apresentação em PDF"),
        ("../tasks/t03_causal_attention/t03.html", "Tarefa 03"),
    ]
    cover = books["tasks/t03_causal_attention/t03.ipynb"].cells[0].source
    assert re.findall(r'<a href="(.*)">(.*)</a>', cover)[-4:] == [
        (colab_link("t03", "tasks/t03_causal_attention"), "Abrir no Colab"),
        ("t03.ipynb", "Baixar o notebook"),
        ("../../notebooks/07_attention.html", "Aula 07"),
        ("../index.html", "Todas as tarefas"),
    ]


def test_the_front_page_shows_every_lesson_and_task_as_a_card(staged):
    home = staged.home()
    shown = re.findall(r'<h3><a href="(\S+)\.html">', home)
    assert shown == LESSONS + TASKS
    assert "| aula |" not in home and "| apresentação |" in home


def test_a_table_becomes_cards():
    table = "| aula | o que | CPU |\n| --- | --- | --- |\n| [01](a.html) | `x < 1` e mais | < 1 min |\n"
    assert sites.cards(table) == (
        '<ol class="cards">\n<li><h3><a href="a.html">01</a></h3><p><code>x &lt; 1</code> e mais</p>'
        "<p class='facts'><span>CPU: &lt; 1 min</span></p></li>\n</ol>\n"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Quantização", "quantizacao"),
        ("definições", "definicao"),
        ("referência", "referencia"),
        ("possível", "possivel"),
    ],
)
def test_accents_and_plurals_do_not_matter_to_the_search(one, other):
    assert sites.searched(one) == sites.searched(other)


def test_without_sphinx_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sphinx.cmd.build", None)
    with pytest.raises(CourseError, match="make site"):
        sites.build_site(ROOT, tmp_path / "site")
    assert list(tmp_path.iterdir()) == []


def test_the_pins_of_the_site_are_its_own():
    def pins(name):
        text = (ROOT / name).read_text(encoding="utf-8")
        return {re.sub(r"[-_.]+", "-", pin.lower()) for pin in re.findall(r"^([\w.-]+)(?:\[\w+\])?==", text, re.M)}

    assert {"sphinx", "myst-nb", "sphinx-book-theme"} <= pins("requirements-site.txt")
    assert pins("requirements-site.txt") & pins("requirements.txt") == set()


# --- the pages -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make site` builds it."""
    pytest.importorskip("sphinx_book_theme", reason="precisa de requirements-site.txt: make test-site")
    pytest.importorskip("myst_nb", reason="precisa de requirements-site.txt: make test-site")
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "workshop.site", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return out


class Links(HTMLParser):
    """The ids of a page, what it leads to, and what it loads by itself."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.leads, self.loads = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.update(filter(None, [attrs.get("id"), attrs.get("name")]))
        if tag == "a" and attrs.get("href"):
            self.leads.append(attrs["href"])
        if tag == "link" and attrs.get("rel") in ("stylesheet", "icon", "preload", "search"):
            self.loads.append(attrs["href"])
        if tag in ("script", "img", "iframe", "source") and attrs.get("src"):
            self.loads.append(attrs["src"])


@pytest.fixture(scope="module")
def parsed(site):
    return {
        path.relative_to(site).as_posix(): Links(path) for path in site.rglob("*.html") if "_static" not in path.parts
    }


def test_no_link_is_broken_and_nothing_comes_from_elsewhere(site, parsed):
    broken = []
    for name, page in parsed.items():
        for target in page.leads + page.loads:
            parts = urlsplit(target)
            if parts.scheme:
                if target in page.loads and parts.scheme != "data":
                    broken.append(f"{name} loads {target}")
                continue
            place = ((site / name).parent / unquote(parts.path)).resolve() if parts.path else site / name
            known = (
                parsed.get(place.relative_to(site.resolve()).as_posix())
                if place.is_relative_to(site.resolve())
                else None
            )
            if not place.is_file() or (parts.fragment and known and unquote(parts.fragment) not in known.ids):
                broken.append(f"{name} → {target}")
    assert broken == []


def test_every_lesson_task_and_document_is_a_page_and_no_solution_is(site, parsed, staged):
    assert {f"{page}.html" for page in staged.pages.values()} | {"pdf/index.html", "search.html"} == set(parsed)
    menu = (
        (site / "docs" / "glossario.html")
        .read_text(encoding="utf-8")
        .split('<nav class="bd-links', 1)[1]
        .split("</nav>")[0]
    )
    assert [page for page in LESSONS + TASKS if f"{page}.html" not in menu] == []
    assert "solution" not in menu


def test_what_is_downloaded_is_what_is_committed(site):
    wanted = [
        *(f"{page}.ipynb" for page in LESSONS + TASKS),
        *(f"{page.rpartition('/')[0]}/solution.ipynb" for page in TASKS),
        *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("pdf/*.pdf")),
    ]
    assert [path for path in wanted if (site / path).read_bytes() != (ROOT / path).read_bytes()] == []


def test_pages_are_portuguese_and_described(site, parsed):
    for name in parsed:
        text = (site / name).read_text(encoding="utf-8")
        assert '<html lang="pt-BR"' in text, name
        words = r'(?:title|aria-label|placeholder)="((?:Toggle|Search|Main|Page|Light|Dark|Skip|Back|next)\b.*?)"|>(?:Skip|Back) to'
        assert re.findall(words, text) == [], name
        assert [image for image in re.findall(r"<img\b[^>]*>", text) if not re.search(r'alt="[^"]{10}', image)] == [], (
            name
        )


def test_money_is_no_formula(site, parsed):
    assert "US$ 60,50" in (site / "notebooks" / "01_core_concepts.html").read_text(encoding="utf-8")
    assert [name for name in parsed if "<math" in (site / name).read_text(encoding="utf-8")] == []  # no lesson has one


def test_a_formula_is_drawn_without_a_script(site):
    visit, _ = runpy.run_path(str(ROOT / "docs" / "conf.py"))["mathml"](as_block=True)
    from docutils import nodes

    drawn = SimpleNamespace(body=[])
    with pytest.raises(nodes.SkipNode):
        visit(drawn, nodes.math_block("", r"\frac{a}{b}"))
    assert "<math" in drawn.body[0] and "<mfrac>" in drawn.body[0]


def test_a_build_that_fails_leaves_the_site_that_was_there(site, tmp_path, monkeypatch):
    out = tmp_path / "site"
    out.mkdir()
    (out / "index.html").write_text("ontem", encoding="utf-8")
    monkeypatch.setattr("sphinx.cmd.build.main", lambda words: 1)
    with pytest.raises(CourseError, match="Sphinx"):
        sites.build_site(ROOT, out)
    assert (out / "index.html").read_text(encoding="utf-8") == "ontem"


# --- in a browser, from the disk: the strictest place, where nothing may be fetched ------------------------------------


@pytest.fixture(scope="module")
def page(site):
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, browser(Path(folder)) as tab:
        yield tab


def at_width(page, width):
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)


def test_every_page_opens_without_complaint_and_fits_a_phone(site, parsed, page):
    at_width(page, 390)
    page.console.clear()
    page.fetched.clear()
    wide = []
    for name in parsed:
        page.open((site / name).as_uri())
        if page.run("document.documentElement.scrollWidth") > 390:
            wide.append((name, page.run(WIDEST)))
        assert page.console == [], name
    assert wide == []
    assert {urlsplit(address).scheme for address in page.fetched} <= {"file", "data"}


def search(page, site, words):
    """[(title, address)] of what the search page shows, once it has quoted the sections."""
    page.open(f"{(site / 'search.html').as_uri()}?q={words}")
    page.wait("document.querySelector('.search-summary')?.textContent && typeof TEXTS === 'object'")
    return page.run("[...document.querySelectorAll('#search-results li > a')].map(a => [a.textContent, a.href])")


@pytest.mark.parametrize(
    ("typed", "accented", "title"),
    [
        ("quantizacao", "quantização", "17 · "),
        ("mascara causal", "máscara causal", "07 · "),
        ("tokenizacao", "Tokenização", "04 · "),
    ],
)
def test_the_search_finds_with_and_without_accents(site, parsed, page, typed, accented, title):
    found = search(page, site, typed)
    assert found == search(page, site, accented)
    assert any(name.startswith(title) for name, _ in found[:4]), found
    quoted = page.run("[...document.querySelectorAll('#search-results li p a')].map(a => a.href)")
    assert quoted
    for address in quoted:
        name, _, place = address.removeprefix(site.as_uri() + "/").partition("#")
        assert unquote(place) in parsed[name].ids
    assert page.run("document.querySelectorAll('#search-results mark').length") > 0


def test_the_search_that_finds_nothing_says_so(site, page):
    assert search(page, site, "xilofonista") == []
    assert "Sua busca não" in page.text("#search-results")


def test_the_browser_stems_as_the_index_does(site, page):
    class_ = runpy.run_path(str(ROOT / "docs" / "conf.py"))["Search"]
    stem = class_({}).stem
    search(page, site, "modelo")
    words = page.run(
        "[...new Set(Object.values(TEXTS).flat().map(([, , text]) => text).join(' ').match(/[\\p{L}]{3,}/gu))].sort()"
    )
    assert len(words) > 4000
    stems = page.run(f"(stemmer => {json.dumps(words)}.map(word => stemmer.stemWord(word)))(new Stemmer())")
    assert [pair for pair in zip(words, stems, strict=True) if stem(pair[0]) != pair[1]] == []


def test_a_quiz_answers_by_mouse_and_by_keyboard(site, page):
    at_width(page, 1280)
    page.open((site / f"{LESSONS[3]}.html").as_uri())
    (first, second, *rest) = quizzes.load_quiz("03")

    def option(item, correct):
        return f"[...document.querySelectorAll('.quiz .item')[{item}].querySelectorAll('button[data-correct={str(correct).lower()}]')][0]"

    def why(item):
        return page.run(
            f"[...document.querySelectorAll('.quiz .item')[{item}].querySelectorAll('.why')].map(w => w.innerText).join('')"
        )

    def score():
        return page.text(".quiz .score")

    total = len(rest) + 2
    right = next(o for o in first["options"] if o["correct"])
    wrong = next(o for o in first["options"] if not o["correct"])
    assert score() == f"0 de {total} certas" and why(0) == ""
    page.run(f"{option(0, False)}.click()")
    assert score() == f"0 de {total} certas" and why(0) == wrong["why"]
    page.run(f"{option(0, True)}.click()")
    assert score() == f"1 de {total} certa" and why(0) == right["why"]
    page.run(f"{option(1, True)}.focus()")
    page.press("Enter")
    assert score() == f"2 de {total} certas" and why(1) == next(o for o in second["options"] if o["correct"])["why"]
    page.press(" ")  # pressed again, it is taken back
    assert score() == f"1 de {total} certa" and why(1) == ""
    page.run("document.querySelectorAll('.quiz .item')[0].querySelector('button').focus()")
    page.press("Tab")
    assert page.run("document.activeElement.matches('.quiz button:nth-of-type(2)')")


def test_a_question_with_more_than_one_right_wants_them_all(site, page):
    page.open((site / f"{LESSONS[0]}.html").as_uri())
    many = "document.querySelector('.quiz[data-quiz=fine_tuning] .item[data-kind=many]')"
    score = "document.querySelector('.quiz[data-quiz=fine_tuning] .score').textContent[0]"
    seen = page.run(f"[...{many}.querySelectorAll('button[data-correct=true]')].map(b => (b.click(), {score}))")
    assert seen == ["0"] * (len(seen) - 1) + ["1"]
    page.run(f"{many}.querySelector('button[data-correct=false]').click()")
    assert page.run(score) == "0"


def test_without_scripts_the_quiz_reads_as_a_list_of_answers(site, page):
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open((site / f"{LESSONS[3]}.html").as_uri())
        shown = page.run(
            "[...document.querySelectorAll('.quiz .why')].filter(w => w.offsetHeight).map(w => w.innerText)"
        )
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)
    assert shown == [option["why"].replace("`", "") for item in quizzes.load_quiz("03") for option in item["options"]]


@pytest.mark.parametrize(("mode", "dark"), [("light", False), ("dark", True)])
def test_light_and_dark_hold_for_text_outputs_and_pictures(site, page, mode, dark):
    """Text and what is behind it are far apart in brightness, wherever notebooks leave something; a picture has its white paper."""
    page.open((site / f"{LESSONS[3]}.html").as_uri())
    page.run(f"(localStorage.setItem('mode', '{mode}'), localStorage.setItem('theme', '{mode}'))")
    for lesson in (LESSONS[3], LESSONS[13]):
        page.open((site / f"{lesson}.html").as_uri())
        page.wait(f"document.documentElement.dataset.theme === '{mode}'")
        contrasts = page.run(CONTRAST)
        assert len(contrasts) > 100
        assert [one for one in contrasts if one[1] < 4.5] == []
        behind = page.run(
            "[...document.querySelectorAll('.cell_output img')].map(i => getComputedStyle(i).backgroundColor)"
        )
        assert behind and set(behind) == {"rgb(255, 255, 255)" if dark else "rgba(0, 0, 0, 0)"}


WIDEST = """[...document.querySelectorAll("article *")].filter(node => node.getBoundingClientRect().right > 390 &&
  !node.closest("pre, .scrolls")).map(node => node.outerHTML.slice(0, 80))[0]"""
CONTRAST = """(() => {
  const rgb = color => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const color = rgb(getComputedStyle(node).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const nodes = document.querySelectorAll(".bd-article :is(p, li, td, th, pre, button, h2, .actions a)");
  return [...nodes].filter(node => node.offsetHeight && node.innerText.trim()).map(node => {
    const [one, other] = [light(rgb(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    return [node.innerText.slice(0, 40), (one + .05) / (other + .05)]; });
})()"""
