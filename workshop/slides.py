"""The slides: `pdf/src/NN_name.typ` becomes `pdf/NN_name.pdf` and, for whoever speaks, the notes `pdf/NN_name.md`.

    python -m workshop.slides            # build the decks
    python -m workshop.slides 03         # build this one
    python -m workshop.slides --check    # fail if a PDF or its notes are not their source

How a deck is written stands at the head of `pdf/src/theme.typ`. The same sources give the same bytes on every run, in any
folder: no clock, no fonts of the system. Every PDF is PDF/UA-1, so a figure without a description stops the build.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib.pyplot as plt
import nbformat
import typst
from matplotlib.figure import Figure

from afina.errors import CourseError
from afina.runtime import course_root
from afina.teach import figures
from afina.teach.figures import Diagram
from afina.whole import write
from workshop.notebooks import colab_link, github_link, sources
from workshop.pictures import FONTS, diagrams

Picture = tuple[Figure | Diagram, str]  # what is drawn, and its alternative text


def decks(root: Path, wanted: list[str] | None = None) -> list[Path]:
    """The decks' sources in order; `wanted` are numbers or names ("03", "03_llm_by_hand_1")."""
    every = sorted((root / "pdf" / "src").glob("[0-9][0-9]_*.typ"))
    chosen = [path for path in every if not wanted or {path.stem, path.stem[:2]} & set(wanted)]
    if wanted and len(chosen) < len(wanted):
        known = ", ".join(path.stem for path in every)
        raise CourseError(f"não existe a apresentação {', '.join(wanted)}.", f"Há estas: {known}.", where="DECKS")
    return chosen


# --- figures: drawn by the code of the lessons, from what the lessons measured ---------------------------------------


def outputs(lesson: str) -> list[str]:
    """Every text that the executed lesson ("01") shows, in order: printed lines, tables, figures' descriptions."""
    cells = _notebook(lesson).cells
    shown = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    texts = [output.get("text") or output.get("data", {}).get("text/plain") for output in shown]
    return [text for text in texts if text]


def said(lesson: str, pattern: str) -> tuple[str, ...]:
    """The groups of the one place of a lesson's stored outputs that matches `pattern` (^ and $ are the ends of a line).

    So a chart shows what was measured, and changes when the lesson is measured again. Raises ValueError when no place, or
    more than one, matches.
    """
    found = [match for text in outputs(lesson) for match in re.finditer(pattern, text, re.M)]
    if len(found) != 1:
        raise ValueError(f"lesson {lesson}: {len(found)} places say {pattern!r}")
    return found[0].groups()


def numbers(text: str) -> list[float]:
    """The numbers of a row of a stored table, in order."""
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]


def cell_picture(lesson: str, marker: str, **names: Any) -> tuple[Figure, str]:
    """Run the one code cell of a lesson that contains `marker`, with `names` in scope, and catch the (figure, alt) it shows."""
    cells = [cell.source for cell in _notebook(lesson).cells if cell.cell_type == "code" and marker in cell.source]
    if len(cells) != 1:
        raise ValueError(f"lesson {lesson}: {len(cells)} code cells contain {marker!r}")
    with _caught() as shown:
        scope = {**vars(figures), "plt": plt, **names, "show": figures.show}
        exec(compile(cells[0], f"lesson {lesson}", "exec"), scope)
    ((fig, alt),) = shown
    if len(fig.axes) == 1:
        fig.axes[0].set_title("", loc="left")  # the page's own title says it
    return fig, alt


def flatter(picture: tuple[Figure, str], height: float) -> tuple[Figure, str]:
    """The same (figure, alt), `height` inches high: a chart made for a column fills a wide page with larger letters."""
    picture[0].set_figheight(height)
    return picture


@contextlib.contextmanager
def _caught() -> Iterator[list[tuple[Figure, str]]]:
    """While open, `figures.show` keeps what it is given instead of displaying it."""
    shown: list[tuple[Figure, str]] = []
    with patch.object(figures, "show", lambda fig, alt: shown.append((fig, alt))):
        yield shown


def _notebook(lesson: str) -> nbformat.NotebookNode:
    (source,) = sources(course_root(), [lesson])
    return nbformat.read(source.parent.parent / f"{source.stem}.ipynb", as_version=4)


def _pictures(deck: Path) -> dict[str, dict[str, Any]]:
    """{name: {"svg", "alt", "ratio"}} of the deck's figures: PICTURES of the Python file beside it, if it has one."""
    code = deck.with_suffix(".py")
    if not code.exists():
        return {}
    drawn = {}
    for name, draw in runpy.run_path(str(code))["PICTURES"].items():
        with plt.rc_context():
            plt.rcdefaults()  # a chart must not lean on what was drawn before
            picture, alt = draw()
            svg = _svg(picture)
        width, height = re.findall(r'viewBox="\S+ \S+ (\S+) (\S+)"', svg)[0]
        drawn[name] = {"svg": svg, "alt": alt, "ratio": float(width) / float(height)}
    return drawn


def _svg(picture: Figure | Diagram) -> str:
    """A diagram as it is committed; a figure as matplotlib draws it, cut to what it shows."""
    if isinstance(picture, Diagram):
        return diagrams(course_root())[picture.name].read_text(encoding="utf-8")
    svg = io.StringIO()
    page: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.03, "transparent": True}
    picture.savefig(svg, format="svg", dpi=216, metadata={"Date": None, "Creator": None}, **page)
    plt.close(picture)
    return svg.getvalue()


# --- building --------------------------------------------------------------------------------------------------------


def build_deck(deck: Path, root: Path) -> tuple[bytes, str, list[dict[str, Any]]]:
    """(PDF, notes in Markdown, pages) of a deck. A page is {"title", "lesson", "notes", "page"}.

    Raises typst.TypstError when a page overflows, a figure has no description or a number is no longer where it was read.
    """
    lessons = {path.stem[:2]: {"file": path.stem, "title": _title(path)} for path in sources(root)}
    course = {
        "page": github_link("notebooks/"),
        "colab": colab_link("").removesuffix(".ipynb"),
        "lessons": lessons,
        "palette": {name: value for name, value in vars(figures).items() if str(value).startswith("#")},
        "pictures": _pictures(deck),
    }
    world: dict[str, Any] = {
        "root": str(root),
        "font_paths": [str(FONTS)],
        "ignore_system_fonts": True,
        "sys_inputs": {"course": json.dumps(course, ensure_ascii=False)},
    }
    pdf: bytes = typst.compile(str(deck), format="pdf", pdf_standards=["ua-1"], timestamp=0, **world)
    pages = [found["value"] for found in json.loads(typst.query(str(deck), "<slide>", **world))]
    return pdf, _notes(deck, pages, lessons), pages


def _title(source: Path) -> str:
    """The lesson's title, from its cover: "# # 07 · Atenção" -> "Atenção"."""
    (title,) = re.findall(r"^# # \d\d · (.+)$", source.read_text(encoding="utf-8"), re.M)
    return title


def _notes(deck: Path, pages: list[dict], lessons: dict[str, dict]) -> str:
    """What to say on each page, as a document that GitHub and any editor show."""
    lines = [
        f"# Notas de quem apresenta: {pages[0]['title']}",
        "",
        f"Da apresentação [{deck.stem}.pdf]({deck.stem}.pdf); geradas por `make slides`.",
    ]
    for number, page in enumerate(pages, 1):
        lesson = lessons[page["lesson"]]
        link = f"[aula {page['lesson']}](../notebooks/{lesson['file']}.ipynb)"
        lines += ["", f"## {number}. {page['title']}", "", f"{page['notes']} ({link})"]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m workshop.slides", description=__doc__)
    parser.add_argument("decks", nargs="*", help='numbers or names, such as "03"')
    parser.add_argument("--check", action="store_true", help="only compare the PDFs and notes with their sources")
    args = parser.parse_args(argv)
    root, stale = course_root(), 0
    for deck in decks(root, args.decks):
        pdf, notes, pages = build_deck(deck, root)
        wanted = {root / "pdf" / f"{deck.stem}.pdf": pdf, root / "pdf" / f"{deck.stem}.md": notes.encode()}
        if args.check:
            fresh = all(path.exists() and path.read_bytes() == content for path, content in wanted.items())
            stale += not fresh
            print(f"{deck.stem}: {'ok' if fresh else 'differs from its source: run `make slides`'}")
            continue
        for path, content in wanted.items():
            write(path, content)
        print(f"{deck.stem}: {len(pages)} pages, {len(pdf) / 1e3:.0f} kB", flush=True)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
