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
from string import Template

import nbformat
import psutil
from rich.console import Console
from rich.live import Live
from rich.table import Table

from afina import __version__
from afina.errors import CourseError
from afina.runtime import course_root
from workshop.notebooks import Run, execute, kill, read_measured, sources, write_notebook

WAITING, RUNNING, PASSED, FAILED = "na fila", "rodando", "✔ passou", "✘ falhou"
AT_ONCE = min(2, os.cpu_count() or 1)  # kernels; no lesson waits for another's files
UNMEASURED = {"seconds": 0, "peak_mb": 1000}


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


def load(path: Path, expected: dict[str, float]) -> Lesson:
    """A committed notebook as a row; title and promise come from its cover cell."""
    if not path.exists():
        raise CourseError("o notebook ainda não foi gerado.", "Rode `make notebooks`.", where=path)
    notebook = nbformat.read(path, as_version=4)
    cover = notebook.cells[0].source.splitlines()
    promise = next((line for line in cover[1:] if line.strip()), "")
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    return Lesson(path.stem, cover[0].lstrip("# "), promise, notebook, total, expected)


def table(lessons: list[Lesson]) -> Table:
    out = Table(title="Afina · as aulas neste computador", title_justify="left", title_style="bold")
    if AT_ONCE > 1 and len(lessons) > 1:
        out.caption, out.caption_justify = f"{AT_ONCE} aulas por vez, as mais demoradas primeiro", "left"
    for name, justify in (
        ("Aula", "left"),
        ("Progresso", "left"),
        ("Segundos", "right"),
        ("Memória", "right"),
        ("Veredito", "left"),
    ):
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
    waiting = sorted(
        lessons, key=lambda lesson: -lesson.expected["seconds"]
    )  # a long one begun last would run on alone
    running: dict[Future[Run], Lesson] = {}
    with (
        Live(get_renderable=lambda: table(lessons), console=console, refresh_per_second=4),
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
                    (out / f"{lesson.name}.html").write_text(page(lesson, lessons), encoding="utf-8")
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
    run = lesson.run
    cell = lesson.notebook.cells[run.cell]
    number = sum(c.cell_type == "code" for c in lesson.notebook.cells[: run.cell + 1])
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
    links = ['<a href="index.html">Afina · índice</a>']
    links += [f'<a href="{names[at - 1]}.html">← anterior</a>'] if at else []
    links += [f'<a href="{names[at + 1]}.html">próxima →</a>'] if at + 1 < len(names) else []
    bar = f'<style>{PAGE_STYLE}</style><nav aria-label="Aulas">{" ".join(links)}</nav>'
    return re.sub(r"(<body[^>]*>)", lambda match: match[1] + bar, body, count=1)


def picture_alts(notebook: nbformat.NotebookNode) -> list[str]:
    """The alternative text of each picture output, in order, escaped for HTML; empty where there is none."""
    alts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                alts.append(html.escape(output.get("metadata", {}).get("image/png", {}).get("alt", ""), quote=True))
    return alts


PAGE_STYLE = """
nav { display:flex; gap:1.5rem; padding:.8rem 1.2rem; font:15px system-ui,sans-serif; background:#E8EDF1; border-radius:8px }
nav, main { max-width:62rem; margin:0 auto } .jp-RenderedImage img { max-width:100%; height:auto }
.jp-RenderedHTMLCommon { font-size:16px; line-height:1.6 }
"""
INDEX = Template(
    """<!doctype html>
<html lang="pt-BR"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Afina · o curso neste computador</title>
<style>
:root { --ink:#22303C; --soft:#5B6B78; --line:#DCE3E8; --blue:#0072B2; --good:#00735A; --bad:#B23A00; --paper:#fff; --mist:#F4F7F9 }
@media (prefers-color-scheme: dark) {
  :root { --ink:#E6EDF3; --soft:#A3B3C0; --line:#32414D; --blue:#6CC0F0; --good:#4FD1A9; --bad:#FF9A66; --paper:#141B21; --mist:#1C252D } }
* { box-sizing:border-box } body { margin:0; background:var(--mist); color:var(--ink); font:17px/1.55 system-ui,sans-serif }
main { max-width:56rem; margin:0 auto; padding:3rem 1.2rem 4rem } h1 { font-size:2.1rem; line-height:1.15; margin:0 0 .4rem }
.lead { color:var(--soft); margin:0 0 2rem } ol { list-style:none; margin:0; padding:0; display:grid; gap:.9rem }
li { background:var(--paper); border:1px solid var(--line); border-radius:12px; padding:1.1rem 1.3rem }
li h2 { font-size:1.15rem; margin:0 } li p { margin:.25rem 0 .5rem; color:var(--soft) } a { color:var(--blue) }
.facts { display:flex; flex-wrap:wrap; gap:.2rem 1.4rem; font-size:.93rem } .good { color:var(--good) } .bad { color:var(--bad) }
pre { white-space:pre-wrap; background:var(--mist); border-radius:8px; padding:.8rem; font-size:.88rem; margin:.7rem 0 0 }
</style></head><body><main>
<h1>Afina</h1><p class="lead">$lead</p><ol>$rows</ol>
<p class="lead" style="margin-top:2rem">Para mexer nas células, rode <code>make lab</code>. Versão $version.</p>
</main></body></html>
"""
)


def index(lessons: list[Lesson], seconds: float) -> str:
    """The page a person opens first: each lesson with its promise, verdict, seconds and memory; `seconds` took them all."""
    rows = []
    for lesson in lessons:
        run, good = lesson.run, lesson.verdict == PASSED
        trouble = "" if good else f"<pre>{html.escape(explain(lesson))}</pre>"
        rows.append(
            f'<li><h2><a href="{lesson.name}.html">{html.escape(lesson.title)}</a></h2><p>{html.escape(lesson.promise)}</p>'
            f'<div class="facts"><span class="{"good" if good else "bad"}">{lesson.verdict}</span>'
            f"<span>{run.seconds:.0f} s</span><span>{run.peak_mb:.0f} MB de memória</span>"
            f'<a href="{lesson.name}.ipynb">notebook executado</a></div>{trouble}</li>'
        )
    passed = sum(lesson.verdict == PASSED for lesson in lessons)
    lead = f"{passed} de {len(lessons)} aulas rodaram aqui, sem internet, em {seconds:.0f} segundos."
    return INDEX.substitute(lead=lead, rows="".join(rows), version=__version__)


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
    lessons = [load(root / "notebooks" / f"{name}.ipynb", measured.get(name, UNMEASURED)) for name in names]
    console = Console()
    if not console.is_terminal:
        console.width = 110  # a log file has no width of its own
    start = time.perf_counter()
    run_lessons(lessons, root / "notebooks", out, console)
    (out / "index.html").write_text(index(lessons, time.perf_counter() - start), encoding="utf-8")
    failed = [lesson for lesson in lessons if lesson.verdict == FAILED]
    for lesson in failed:
        console.print(f"\n{explain(lesson)}", style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(f"\nAbra {(out / 'index.html').as_uri()}", highlight=False, soft_wrap=True)
    return 1 if failed else 0
