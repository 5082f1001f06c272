"""The course as static pages: the executed notebooks and documents become `build/site/`, for a browser with no network and no kernel.

    python -m workshop.site            # make site

`stage` writes what Sphinx reads (settings: docs/conf.py) to `build/site-src/`: the same texts, in which every link leads to a page,
to a file beside the pages or to the public repository; a quiz is the widget of `quizzes.as_page`; a picture carries its description;
and the cover says where the notebook, the slides and the task are. `build` runs Sphinx and puts the files to download beside the pages.
"""

from __future__ import annotations

import argparse
import html
import posixpath
import re
import shutil
import sys
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import nbformat
from markupsafe import Markup

from afina.errors import CourseError
from afina.runtime import course_root
from afina.teach.quiz import names
from afina.whole import discard, new_folder, write
from workshop.notebooks import colab_link, deck_of, github_link, sources
from workshop.pages import render
from workshop.pictures import alt, diagrams
from workshop.quizzes import as_markdown, as_page

DOCUMENTS = ("*.md", "docs/*.md", "data/README.md", "models/*/README.md", "tasks/README.md", "pdf/*.md")
DOWNLOADS = (".ipynb", ".pdf", ".csv", ".json", ".jsonl", ".gz")  # other files are read in the repository
PICTURES = (".png", ".svg")
CODE = r"(?s:(`{3,}|~{3,}).*?\2)|`[^`\n]*`"
THEME = {  # what the theme's templates say in English with no way to translate; docs/locale has the rest
    "Toggle primary sidebar": "Abrir ou fechar o menu",
    "Toggle secondary sidebar": "Abrir ou fechar o índice da página",
    "Toggle hidden content": "Mostrar ou esconder",
    "Main": "Páginas do curso",
    "Page": "Seções desta página",
}
LINK = re.compile(rf"({CODE})|(\]\(|\b(?:href|src)=\")<?([^)\s>\"]+)>?")


@dataclass
class Site:
    """What is published of the course at `root`. Paths are as the repository has them, with slashes."""

    root: Path
    stage: Path
    pages: dict[str, str] = field(default_factory=dict)  # path -> its page, without ".html"
    downloads: set[str] = field(default_factory=set)  # paths copied beside the pages

    def __post_init__(self):
        documents = [path for pattern in DOCUMENTS for path in sorted(self.root.glob(pattern))]
        tasks = sorted(self.root.glob("tasks/t*/t[0-9][0-9].ipynb"))
        lessons = [self.root / "notebooks" / f"{source.stem}.ipynb" for source in sources(self.root)]
        for path in (*documents, *lessons, *tasks):
            place = path.relative_to(self.root).as_posix()
            self.pages[place] = re.sub(r"(^|/)README$", r"\1index", place.rpartition(".")[0])

    def link(self, target: str, page: str) -> str:
        """Where a link of the file `page` leads on the site, relative to its page. CourseError when it leads nowhere."""
        if re.match(r"[a-z]+:|//|#", target):
            return target
        path, mark, fragment = target.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(path)))
        if not (self.root / place).exists() or place.startswith(".."):
            raise CourseError(f"o link {target} não leva a lugar nenhum.", "Corrija-o na fonte.", where=page)
        home = f"{place}/README.md"
        if page_of := self.pages.get(place) or self.pages.get(home):
            new = f"{page_of}.html"
        elif place.endswith((*DOWNLOADS, *PICTURES)):
            self.downloads.add(place)
            new = place
        else:
            return github_link(place) + mark + fragment
        return posixpath.relpath(new, posixpath.dirname(page) or ".") + mark + fragment

    def rewrite(self, text: str, page: str) -> str:
        """The Markdown text of `page` with the links of the site. Code is left alone; a picture is staged beside it."""

        def put(match: re.Match) -> str:
            if match[1]:
                return match[0]
            return match[3] + self.link(match[4], page)

        return LINK.sub(put, text)

    # --- one file ---------------------------------------------------------------------------------------------------

    @cached_property
    def quizzes(self) -> list[tuple[str, str]]:
        """Each quiz as the notebooks show it, and as the pages do."""
        return [(as_markdown(name), as_page(name)) for name in names()]

    @cached_property
    def drawings(self) -> dict[str, str]:
        """{description: SVG} of the diagrams: a page shows the drawing, sharp at any size, where a notebook has its picture."""
        return {alt(svg): svg.read_text(encoding="utf-8") for svg in diagrams(self.root).values()}

    def document(self, path: str) -> str:
        return self.rewrite((self.root / path).read_text(encoding="utf-8"), path)

    def notebook(self, path: str) -> nbformat.NotebookNode:
        """A committed notebook for reading: quizzes as widgets, named cells as anchors, the cover with what to take along."""
        book = nbformat.read(self.root / path, as_version=4)
        self.downloads.add(path)
        cells: list[nbformat.NotebookNode] = []
        for cell in book.cells:
            if cell.cell_type == "code" and re.search(r'^quiz\("\w+"\)$', cell.source, re.M):
                continue  # the widget follows, in place of the quiz to read
            if cell.cell_type == "markdown":
                for to_read, widget in self.quizzes:
                    cell.source = cell.source.replace(to_read, widget)
                cell.source = self.rewrite(cell.source, path)
            else:
                cell.source = re.sub(r"^# NBVAL_\w+\n", "", cell.source, flags=re.M)  # words for the test machinery
            if cell.id == "setup":
                cell.metadata["tags"] = ["hide-input"]
            for output in cell.get("outputs", []):
                if told := output.get("metadata", {}).get("image/png", {}).get("alt"):
                    cell.metadata["mystnb"] = {"image": {"alt": told}}
                    if told in self.drawings:
                        output.data = {"image/svg+xml": self.drawings[told]}
            if not cells:
                cell.source = f"{self.cover(cell.source, path)}\n\n{anchor(cell)}"
            elif cell.cell_type == "markdown":
                cell.source = f"{anchor(cell)}\n\n{cell.source}"
            elif not re.fullmatch("[0-9a-f]{8}", cell.id):  # a hash: nothing links to it
                cells.append(nbformat.v4.new_markdown_cell(anchor(cell)))
            cells.append(cell)
        book.cells = cells
        return book

    def cover(self, source: str, path: str) -> str:
        """The cover with a row of links: Colab, the notebook, and a lesson's slides and tasks or a task's lesson."""
        folder, name = posixpath.split(path.removesuffix(".ipynb"))
        links = [("Abrir no Colab", colab_link(name, folder)), ("Baixar o notebook", f"{name}.ipynb")]
        if folder == "notebooks":
            source = re.sub(r"^\[Abrir no Colab\]\(.*$", "", source, flags=re.M).rstrip()
            if deck := deck_of(name[:2]):
                links.append(("Apresentação em PDF", self.link(f"../pdf/{deck}.pdf", path)))
            links += [(f"Tarefa {task[1:]}", self.link(f"../{place}", path)) for task, place in self.tasks(name)]
        else:
            links += [
                (f"Aula {name[:2]}", self.link(f"../../notebooks/{name}.ipynb", path)) for name in self.lessons(path)
            ]
            links += [("Todas as tarefas", self.link("../README.md", path))]
        return f"{source}\n\n{actions(links)}"

    def tasks(self, lesson: str) -> list[tuple[str, str]]:
        """(name, path) of the tasks of a lesson, and `lessons` the other way: the front page's table says which."""
        return [(task, place) for task, place, name in self._gallery() if name == lesson]

    def lessons(self, path: str) -> list[str]:
        return [name for _, place, name in self._gallery() if place == path]

    def _gallery(self) -> list[tuple[str, str, str]]:
        text = (self.root / "README.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| \[.*\]\((tasks/\w+/(t\d\d)\.ipynb)\).*\]\(notebooks/(\w+)\.ipynb\)", text, re.M)
        return [(task, place, lesson) for place, task, lesson in rows]

    # --- the pages that no file has -----------------------------------------------------------------------------------

    def home(self) -> str:
        """The front page: the README with its tables of lessons and tasks as cards, and the map of all pages for the menu."""
        text = self.document("README.md")
        for title in ("As aulas", "As tarefas"):
            text = re.sub(rf"(?ms)^(## {title}\n.*?)((?:^\|[^\n]*\n)+)", lambda match: match[1] + cards(match[2]), text)
        lessons = [page for path, page in self.pages.items() if path.startswith("notebooks/")]
        first = [("Começar pela aula 00", f"{lessons[0]}.html"), ("Glossário", "docs/glossario.html")]
        text = re.sub(
            r"^\[English\]\((.*)\)$", lambda match: actions([*first, ("English", match[1])]), text, flags=re.M
        )
        tasks = [page for path, page in self.pages.items() if re.match(r"tasks/t", path)]
        guides = [
            "docs/glossario",
            "data/index",
            "docs/adaptar",
            "docs/escala",
            "docs/arquitetura",
            "docs/versoes",
            "docs/CONTRIBUTING",
            "docs/lancamento",
        ]
        known = [page for page in guides if page in self.pages.values()]
        shown = {"index", *lessons, *tasks, "tasks/index", *known}
        english = {"README.en": "In English <README.en>"}
        rest = [
            english.get(page, page) for page in self.pages.values() if page not in shown and not page.startswith("pdf/")
        ]
        trees = {
            "Aulas": lessons,
            "Tarefas": ["Como funcionam <tasks/index>", *tasks],
            "Para ter à mão": ["pdf/index", *known, *rest],
        }
        return text + "".join(toctree(caption, entries) for caption, entries in trees.items())

    def slides(self) -> str:
        """The page of the slides: the README's section, and the notes in the menu below it."""
        text = (self.root / "README.md").read_text(encoding="utf-8")
        (section,) = re.findall(r"(?ms)^#(# As apresentações\n.*?)(?=^## )", text)
        moved = re.sub(r"\]\((?:pdf/)?", lambda match: "](" if "pdf/" in match[0] else "](../", section)
        notes = [page for path, page in self.pages.items() if path.startswith("pdf/")]
        return self.rewrite(moved, "pdf/index.md") + toctree("", [f"/{page}" for page in notes])

    # --- everything ---------------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Write the stage: pages, the pictures that documents show, and the words of the menus."""
        discard(self.stage)
        for path, page in self.pages.items():
            if path.endswith(".ipynb"):
                text = nbformat.writes(self.notebook(path))
            else:
                text = self.home() if path == "README.md" else self.document(path)
            write(self.stage / (page + Path(path).suffix), text)
        write(self.stage / "pdf" / "index.md", self.slides())
        shutil.copytree(self.root / "docs" / "locale", self.stage / "locale")  # Sphinx compiles it in place
        for place in self.downloads:
            if place.endswith(PICTURES):
                copy(self.root / place, self.stage / place)


def anchor(cell: nbformat.NotebookNode) -> str:
    """The place that JupyterLab's own links, `NN.ipynb#cell-id=NAME`, find on the page."""
    return f'<div id="cell-id={cell.id}"></div>'


def actions(links: list[tuple[str, str]]) -> str:
    """A row of buttons, [(text, address), …]; the first is the one to press."""
    return render("actions.html", links=links).strip()


def cards(table: str) -> str:
    """A Markdown table as a list of cards: the first column is the title, the second the text, the others small facts."""
    head, _, *rows = ([part.strip() for part in line.strip().strip("|").split(" | ")] for line in table.splitlines())
    found = []
    for title, text, *facts in rows:
        pairs = zip(head[2:], map(inline, facts), strict=True)
        found.append({"title": inline(title), "text": inline(text), "facts": list(pairs)})
    return render("cards.html", cards=found)


def inline(text: str) -> Markup:
    """Links and code of a table cell as HTML."""
    text = html.escape(text, quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    return Markup(re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r'<a href="\2">\1</a>', text))


def toctree(caption: str, entries: list[str]) -> str:
    options = [":hidden:", ":titlesonly:"] + ([f":caption: {caption}"] if caption else [])
    return "\n".join(["", "```{toctree}", *options, "", *entries, "```", ""])


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


# --- searching -------------------------------------------------------------------------------------------------------

_ENDINGS = (("cao", "ção"), ("ancia", "ância"), ("encia", "ência"), ("avel", "ável"), ("ivel", "ível"))


def without_accents(word: str) -> str:
    """A word in small letters without accents: people who search often type none."""
    letters = unicodedata.normalize("NFD", word.lower())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def searched(word: str) -> str:
    """What is given to the Portuguese stemmer, whether the word was typed with accents or without.

    It knows endings by their accents, so those come back; "-ões" becomes "-ão". `docs/search.js` does the same.
    """
    word = re.sub("oes$", "ao", without_accents(word))
    for bare, accented in _ENDINGS:
        word = re.sub(f"{bare}(s?)$", rf"{accented}\1", word)
    return word


# --- command ---------------------------------------------------------------------------------------------------------


def build_site(root: Path, out: Path) -> None:
    """The whole site in `out`, or what was there before. CourseError when Sphinx is missing or finds fault with a page."""
    try:
        from sphinx.cmd.build import main as sphinx
    except ImportError:
        raise CourseError(
            "falta o Sphinx, que só o site usa.", "Rode `make site`, que o instala.", where="make site"
        ) from None
    site = Site(root, out.with_name(f"{out.name}-src"))
    site.write()
    doctrees = out.with_name(f"{out.name}-doctrees")
    discard(doctrees)  # a page of another day would stay in the menus
    words = ["-q", "-W", "--keep-going", "-b", "html", "-c", str(root / "docs"), "-d", str(doctrees)]
    with new_folder(out, marks=("index.html",)) as aside:
        if sphinx([*words, str(site.stage), str(aside)]):
            raise CourseError("o Sphinx encontrou os problemas acima.", "Corrija-os na fonte de cada página.", "site")
        translate(aside)
        for place in site.downloads:
            copy(root / place, aside / place)


def translate(folder: Path) -> None:
    """The theme's last English words on the pages, and the one page that is English."""
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for english, portuguese in THEME.items():
            text = text.replace(f'="{english}"', f'="{portuguese}"')
        if page.stem == "README.en":
            text = text.replace('<article class="bd-article"', '<article lang="en" class="bd-article"')
        page.write_text(text, encoding="utf-8", newline="\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m workshop.site", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=course_root() / "build" / "site", help="folder of the pages")
    out = parser.parse_args(argv).out.resolve()
    try:
        build_site(course_root(), out)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    pages = sum("_static" not in path.parts for path in out.rglob("*.html"))
    print(f"{pages} páginas, {size / 1e6:.0f} MB. Abra {(out / 'index.html').as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
