"""`afina course`: run the lessons, each in a fresh kernel, offline, and leave pages that a person opens.

Two run at a time, the longest first. Executed copies, one HTML page a lesson and `index.html` go to `build/course/`. The
exit code is 1 when a lesson failed; the others still run.
"""

from __future__ import annotations

import argparse
import html
import os
import re
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil
from rich.console import Console, JustifyMethod
from rich.live import Live
from rich.table import Table

from afina import __version__
from afina.errors import CourseError
from afina.runtime import course_root
from afina.whole import write
from workshop.notebooks import Run, execute, kill, read_measured, sources, write_notebook
from workshop.pages import render

WAITING, RUNNING, PASSED, FAILED = "na fila", "rodando", "✔ passou", "✘ falhou"
AT_ONCE = min(2, os.cpu_count() or 1)  # kernels; no lesson waits for another's files
UNMEASURED = {"seconds": 0.0, "peak_mb": 1000.0}


@dataclass
class Lesson:
    """One row of the table."""

    name: str
    title: str
    promise: str
    notebook: nbformat.NotebookNode
    total: int  # code cells
    expected: dict[str, float]  # {"seconds", "peak_mb"}, as last measured
    verdict: str = WAITING
    run: Run = field(default_factory=Run)

    @property
    def passed(self) -> bool:
        return self.verdict == PASSED


def load_lesson(path: Path, expected: dict[str, float]) -> Lesson:
    """A committed notebook as a row; title and promise come from its cover cell."""
    if not path.exists():
        raise CourseError("o notebook ainda não foi gerado.", "Rode `make notebooks`.", where=path)
    notebook = nbformat.read(path, as_version=4)
    cover = notebook.cells[0].source.splitlines()
    promise = next((line for line in cover[1:] if line.strip()), "")
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    return Lesson(path.stem, cover[0].lstrip("# "), promise, notebook, total, expected)


def lesson_table(lessons: list[Lesson]) -> Table:
    out = Table(title="Afina · as aulas neste computador", title_justify="left", title_style="bold")
    columns: tuple[tuple[str, JustifyMethod], ...] = (
        ("Aula", "left"),
        ("Progresso", "left"),
        ("Segundos", "right"),
        ("Memória", "right"),
        ("Veredito", "left"),
    )
    if AT_ONCE > 1 and len(lessons) > 1:
        out.caption, out.caption_justify = f"{AT_ONCE} aulas por vez, as mais demoradas primeiro", "left"
    for name, justify in columns:
        out.add_column(name, justify=justify, no_wrap=name != "Aula")
    for lesson in lessons:
        run, started = lesson.run, lesson.verdict != WAITING
        done = round(12 * run.code_cells / max(1, lesson.total))
        bar = f"{'━' * done}{'╌' * (12 - done)} {run.code_cells}/{lesson.total}"
        seconds = f"{run.seconds:.0f}" if started else ""
        memory = f"{run.peak_mb:.0f} MB" if started else ""
        style = {PASSED: "green", FAILED: "bold red", RUNNING: "yellow"}.get(lesson.verdict, "dim")
        out.add_row(lesson.title, bar, seconds, memory, f"[{style}]{lesson.verdict}[/]")
    return out


def run_lessons(lessons: list[Lesson], folder: Path, out: Path, console: Console) -> None:
    """Execute the lessons in `folder`, write each one's copy and page to `out` as soon as it ends, and keep the table live."""
    # a long one begun last would run on alone
    waiting = sorted(lessons, key=lambda lesson: -lesson.expected["seconds"])
    running: dict[Future[Run], Lesson] = {}
    with (
        Live(get_renderable=lambda: lesson_table(lessons), console=console, refresh_per_second=4),
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        try:
            while waiting or running:
                while lesson := next_to_run(waiting, list(running.values())):
                    waiting.remove(lesson)
                    lesson.verdict = RUNNING
                    for cell in lesson.notebook.cells:
                        if cell.cell_type == "code":
                            cell.outputs, cell.execution_count = [], None
                    threads = max(1, (os.cpu_count() or 1) // AT_ONCE)
                    running[pool.submit(execute, lesson.notebook, folder, lesson.run, threads)] = lesson
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    lesson = running.pop(future)
                    future.result()
                    lesson.verdict = PASSED if lesson.run.cell is None else FAILED
                    write_notebook(lesson.notebook, out / f"{lesson.name}.ipynb")
                    write(out / f"{lesson.name}.html", page(lesson, lessons))
                    if not console.is_terminal:  # a log shows only the last table: say each verdict when it comes
                        console.print(f"{lesson.name}: {lesson.verdict}, {lesson.run.seconds:.0f} s", highlight=False)
        except BaseException:  # Ctrl-C, say: a kernel is a session of its own and would outlive us
            while wait(running, timeout=0.5).not_done:
                for lesson in running.values():
                    kill(lesson.run)
            raise


def next_to_run(waiting: list[Lesson], running: list[Lesson]) -> Lesson | None:
    """The first that waits and, beside those that run, fits into the memory there is. Alone, any lesson may try."""
    if len(running) >= AT_ONCE or not waiting:
        return None
    if not running:
        return waiting[0]
    still_to_take = sum(max(0, lesson.expected["peak_mb"] - lesson.run.peak_mb) for lesson in running)
    free = psutil.virtual_memory().available / 1e6 - still_to_take
    return next((lesson for lesson in waiting if lesson.expected["peak_mb"] <= free), None)


def explain(lesson: Lesson) -> str:
    """A failed lesson in three lines: which cell, what happened, what to do."""
    run, at = lesson.run, lesson.run.cell or 0
    cell = lesson.notebook.cells[at]
    number = sum(c.cell_type == "code" for c in lesson.notebook.cells[: at + 1])
    first = next((line for line in cell.source.splitlines() if line.strip() and not line.startswith("#")), cell.id)
    lines = [
        f"{lesson.title}: a célula de código {number} (id {cell.id}) falhou",
        f"  célula   {first}",
        f"  erro     {run.error}",
    ]
    return "\n".join([*lines, f"  remédio  {run.remedy}"] if run.remedy else lines)


# --- pages -----------------------------------------------------------------------------------------------------------


def page(lesson: Lesson, lessons: list[Lesson]) -> str:
    """One executed lesson as a page that needs no network: pictures inside, with their descriptions, and no outside script."""
    from nbconvert import HTMLExporter  # half a second that `--help` need not pay

    notebook = nbformat.from_dict(lesson.notebook)
    exporter = HTMLExporter(template_name="lab", exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.mathjax_url = exporter.require_js_url = exporter.jquery_url = exporter.mermaid_js_url = ""
    body, _ = exporter.from_notebook_node(notebook)
    # nbconvert knows no alternative text: the pictures come in the order of the outputs, so the descriptions do too
    alts = iter(picture_alts(notebook))
    body = re.sub(r'alt="No description has been provided for this image"', lambda _: f'alt="{next(alts, "")}"', body)
    body = body.replace('<html lang="en">', '<html lang="pt-BR">').replace(
        "<title>Notebook</title>", f"<title>{lesson.title}</title>"
    )
    body = re.sub(r'href="([0-9]{2}_\w+)\.ipynb', r'href="\1.html', body)  # lesson to lesson stays inside the pages
    body = re.sub(r'href="\.\./', 'href="../../', body)  # and the rest of the repository is two folders up
    names = [other.name for other in lessons]
    at = names.index(lesson.name)
    before, after = (names[at - 1] if at else ""), "".join(names[at + 1 : at + 2])
    bar = render("lesson_bar.html", before=before, after=after)
    return re.sub(r"(<body[^>]*>)", lambda match: match[1] + bar, body, count=1)


def picture_alts(notebook: nbformat.NotebookNode) -> list[str]:
    """The alternative text of each picture output, in order, escaped for HTML; empty where there is none."""
    alts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                alts.append(html.escape(output.get("metadata", {}).get("image/png", {}).get("alt", ""), quote=True))
    return alts


def index(lessons: list[Lesson], seconds: float) -> str:
    """The page a person opens first: each lesson with its promise, verdict, seconds and memory; `seconds` took them all."""
    passed = sum(lesson.passed for lesson in lessons)
    words = {"lessons": lessons, "passed": passed, "seconds": seconds, "version": __version__}
    return render("course.html", **words, explain=explain)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="afina course", description="Executa as aulas, sem rede, e escreve as páginas."
    )
    parser.add_argument("lessons", nargs="*", metavar="AULA", help='números ou nomes, como "02"; sem nenhum, todas')
    args = parser.parse_args(argv)
    root = course_root()
    out = root / "build" / "course"
    out.mkdir(parents=True, exist_ok=True)
    measured, names = read_measured(root), [source.stem for source in sources(root, args.lessons)]
    lessons = [load_lesson(root / "notebooks" / f"{name}.ipynb", measured.get(name, UNMEASURED)) for name in names]
    console = Console()
    if not console.is_terminal:
        console.width = 110  # a log file has no width of its own
    start = time.perf_counter()
    run_lessons(lessons, root / "notebooks", out, console)
    write(out / "index.html", index(lessons, time.perf_counter() - start))
    failed = [lesson for lesson in lessons if lesson.verdict == FAILED]
    for lesson in failed:
        console.print(f"\n{explain(lesson)}", style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(f"\nAbra {(out / 'index.html').as_uri()}", highlight=False, soft_wrap=True)
    return 1 if failed else 0
