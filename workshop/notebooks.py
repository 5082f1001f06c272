"""From text to notebook: `notebooks/src/NN_name.py` (py:percent) becomes `notebooks/NN_name.ipynb`, executed and measured.

    python -m workshop.notebooks            # rebuild the notebooks whose source changed
    python -m workshop.notebooks 02 03      # rebuild these
    python -m workshop.notebooks --check    # fail if a notebook is not its source
    python -m workshop.notebooks --text     # renew prose and the setup cell only: nothing runs, outputs stay

Cell ids are stable: the `id="…"` that the source gives, else a hash of the cell's text. Three things are filled in here so
that they live once: the setup cell (an empty cell with `id="setup"`), a quiz to read (`{{quiz NAME}}`) and the ficha
técnica (`{{ficha}}` in the cover), which shows what the last run of this command measured (`notebooks/measured.json`).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import psutil

import afina
from afina.errors import CourseError
from afina.ptbr import decimal
from afina.runtime import course_root
from afina.whole import write
from workshop.quizzes import as_markdown

if TYPE_CHECKING:
    from nbclient import NotebookClient

CELL_TIMEOUT = 600  # seconds: ten times what the longest takes alone, since two lessons may share a slow machine
# Where the public course lives; `make stamp` (workshop.stamp) writes these two, and every place that shows them.
REPOSITORY = "https://github.com/afina-curso/afina"
BRANCH = "main"
SETUP = f'''\
import os
import subprocess
import sys

if "COLAB_RELEASE_TAG" in os.environ:  # on Colab, fetch the course; elsewhere it is here
    url, folder = "{REPOSITORY}", "/content/afina"
    if not os.path.exists(folder):
        subprocess.run(["git", "clone", "--depth=1", "--branch={BRANCH}", url, folder], check=True)
    subprocess.run([sys.executable, f"{{folder}}/workshop/colab.py"], check=True)
    os.chdir(f"{{folder}}/notebooks")
    sys.path.insert(0, folder)

from afina.runtime import Runtime

rt = Runtime.here()'''


@dataclass
class Run:
    """What executing one notebook costs, up to date while it runs, and how it ended. `cell` is the one that failed."""

    seconds: float = 0.0
    peak_mb: float = 0.0  # resident memory of the kernel and its children
    code_cells: int = 0  # started so far
    pid: int | None = None  # of the kernel, once it is there
    cell: int | None = None
    error: str = ""  # "ValueError: …", as the student would read it
    remedy: str = ""


def lesson_environment() -> dict[str, str]:
    """The environment of a lesson's kernel: cpu profile, offline, silent bars, guard armed before the first cell."""
    guard = str(Path(afina.__file__).resolve().parent / "offline")
    path = os.pathsep.join(filter(None, [guard, os.environ.get("PYTHONPATH", "")]))
    return {
        "AFINA_PROFILE": "cpu",
        "AFINA_OFFLINE": "1",
        "AFINA_PROGRESS": "0",
        "PYTHONPATH": path,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this environment, not one registered elsewhere under its name
    }


# --- building --------------------------------------------------------------------------------------------------------


def sources(root: Path, wanted: list[str] | None = None) -> list[Path]:
    """The lessons' source files in order; `wanted` are numbers or names ("02", "02_dataset_prep")."""
    every = sorted((root / "notebooks" / "src").glob("[0-9][0-9]_*.py"))
    if not wanted:
        return every
    chosen = [path for path in every if any(path.stem == w or path.stem.startswith(f"{w}_") for w in wanted)]
    missing = [w for w in wanted if not any(path.stem == w or path.stem.startswith(f"{w}_") for path in every)]
    if missing:
        known = ", ".join(path.stem for path in every)
        raise CourseError(f"não existe a aula {', '.join(missing)}.", f"As aulas são: {known}.", where="LESSONS")
    return chosen


def read_measured(root: Path) -> dict[str, dict[str, float]]:
    """{lesson: {"seconds", "peak_mb"}} of the last measured run."""
    path = root / "notebooks" / "measured.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def minutes(seconds: float) -> str:
    """Seconds as a student plans them, in either README's language: "< 1 min", "≈ 3 min"."""
    return "< 1 min" if seconds < 50 else f"≈ {max(1, round(seconds / 60))} min"


def github_link(path: str) -> str:
    """Where GitHub shows a file of the public repository."""
    return f"{REPOSITORY}/blob/{BRANCH}/{path}"


def colab_link(name: str, folder: str = "notebooks") -> str:
    """Where Colab opens a lesson (or, with its folder, a task) of the public repository."""
    return github_link(f"{folder}/{name}.ipynb").replace("github.com", "colab.research.google.com/github", 1)


def ficha(lesson: str, measured: dict[str, float] | None) -> str:
    """The cover's table of costs and its link; only measured numbers, and it says so where nothing was measured."""
    cpu = minutes(measured["seconds"]) if measured else "ainda não medido"
    memory = f"{decimal(max(0.1, measured['peak_mb'] / 1000), 1)} GB" if measured else "ainda não medido"
    deck = deck_of(lesson[:2])
    return (
        "| CPU (2 núcleos) | Colab com T4 | Memória | Download | Custo |\n| --- | --- | --- | --- | --- |\n"
        f"| {cpu} | ainda não medido | {memory} | nada | zero |\n\n"
        f"[Abrir no Colab]({colab_link(lesson)}) · [Todas as aulas](../README.md)"
        + (f" · [A apresentação desta aula](../pdf/{deck}.pdf)" if deck else "")
    )


def deck_of(number: str) -> str | None:
    """The deck in whose `lessons: ("00", …)` the lesson stands, such as "01_start_and_concepts"."""
    for source in sorted((course_root() / "pdf" / "src").glob("[0-9][0-9]_*.typ")):
        told = re.search(r"^ *lessons: \((.*)\)", source.read_text(encoding="utf-8"), re.M)
        if told and f'"{number}"' in told[1]:
            return source.stem
    return None


def build(source: Path, measured: dict[str, float] | None) -> nbformat.NotebookNode:
    """The notebook of a source file, without outputs."""
    import jupytext  # a second that whoever only asks for the environment, such as pytest, need not wait

    notebook = jupytext.read(source, fmt="py:percent")
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        cell_id = cell.metadata.pop("id", None)
        if cell_id == "setup":
            cell.source = SETUP
        cell.source = cell.source.replace("{{ficha}}", ficha(source.stem, measured))
        cell.source = re.sub(r"\{\{quiz (\w+)\}\}", lambda match: as_markdown(match[1]), cell.source)
        if cell_id is None:
            text = f"{cell.cell_type}\n{cell.source}"
            seen[text] = seen.get(text, 0) + 1  # equal cells stay distinct
            cell_id = hashlib.sha256(f"{text}\n{seen[text]}".encode()).hexdigest()[:8]
        cell.id = cell_id
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def same_cells(one: nbformat.NotebookNode, other: nbformat.NotebookNode) -> bool:
    """Do two notebooks hold the same cells (id, type, text), whatever their outputs?"""

    def key(notebook: nbformat.NotebookNode) -> list[tuple]:
        return [(cell.id, cell.cell_type, cell.source) for cell in notebook.cells]

    return key(one) == key(other)


def renew_text(executed: nbformat.NotebookNode, notebook: nbformat.NotebookNode) -> bool:
    """Give an executed notebook the prose and setup cell of a freshly built one; False if other code differs.

    What ran keeps its outputs, and the notebook its metadata.
    """

    def code(book: nbformat.NotebookNode) -> list[tuple]:
        return [(cell.id, cell.id == "setup" or cell.source) for cell in book.cells if cell.cell_type == "code"]

    if code(notebook) != code(executed):
        return False
    ran = {cell.id: cell for cell in executed.cells}
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            ran[cell.id].source = cell.source
            notebook.cells[number] = ran[cell.id]
        elif cell.id in ran:
            cell.metadata = ran[cell.id].metadata
    executed.cells = notebook.cells
    return True


# --- executing -------------------------------------------------------------------------------------------------------


def execute(notebook: nbformat.NotebookNode, folder: Path, run: Run | None = None, threads: int | None = None) -> Run:
    """Run every cell in a fresh kernel whose working folder is `folder`; outputs land in `notebook`. Stops at an error.

    Whoever wants to look meanwhile brings the `run` that is filled; whoever runs several at once says how many `threads`
    the kernel's libraries may take.
    """
    from nbclient import NotebookClient  # half a second, as above
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    run = run or Run()
    own_threads = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    current = 0

    def remember(cell, cell_index):
        nonlocal current
        current = cell_index
        run.code_cells += cell.cell_type == "code"

    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
        on_cell_start=remember,
        extra_arguments=["--log-level=40"],  # the kernel's notice about its loopback sockets would break the live table
    )
    try:
        with _watched(client, run):
            client.execute(env=os.environ | lesson_environment() | own_threads)
    except CellExecutionError as error:
        run.cell, run.error, run.remedy = current, f"{error.ename}: {error.evalue}", remedy_for(error.ename)
    except CellTimeoutError:
        run.cell, run.error, run.remedy = current, f"a célula passou de {CELL_TIMEOUT} s", remedy_for("TimeoutError")
    except DeadKernelError:
        run.cell, run.error, run.remedy = current, "o kernel morreu no meio da célula", remedy_for("MemoryError")
    return run


def remedy_for(error_name: str) -> str:
    """One sentence on what to do about an exception, for a student who has never seen it. Empty when the error says it."""
    return {
        "ModuleNotFoundError": "Falta um pacote: apague a pasta .venv e rode `make course` de novo.",
        "ImportError": "Um pacote está em outra versão: apague a pasta .venv e rode `make course` de novo.",
        "FileNotFoundError": "Falta um arquivo: confira se a pasta data/ está inteira (`git status`, `afina doctor`).",
        "MemoryError": "Faltou memória: feche outros programas e rode só esta aula, com LESSONS.",
        "TimeoutError": "O computador pode estar ocupado: rode só esta aula, com LESSONS.",
        "AssertionError": "Um resultado não saiu como a aula promete: rode `afina doctor` e abra uma issue com a célula.",
        "CourseError": "",
        "NetworkBlocked": "",
    }.get(error_name, "Rode `afina doctor` e abra uma issue com a aula, a célula e este erro.")


@contextlib.contextmanager
def _watched(client: NotebookClient, run: Run) -> Iterator[None]:
    """Four times a second, note in `run` the time and the memory of the client's kernel and its children."""
    done, start = threading.Event(), time.perf_counter()

    def watch() -> None:
        while not done.wait(0.25):  # each look reads every process there is
            run.seconds = time.perf_counter() - start
            run.pid = getattr(getattr(client.km, "provisioner", None), "pid", None)
            if run.pid is None:
                continue
            try:
                kernel = psutil.Process(run.pid)
                family = [kernel, *kernel.children(recursive=True)]
                run.peak_mb = max(run.peak_mb, sum(process.memory_info().rss for process in family) / 1e6)
            except psutil.NoSuchProcess:  # a child that ended between the listing and the reading
                continue

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        run.seconds = time.perf_counter() - start


def kill(run: Run) -> None:
    """End the kernel of a run that goes on in another thread, and its children: that thread then hears of a dead kernel."""
    with contextlib.suppress(psutil.NoSuchProcess):
        kernel = psutil.Process(run.pid) if run.pid else None
        for process in [*kernel.children(recursive=True), kernel] if kernel else []:
            process.kill()


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Drop what a run leaves that a reader does not need: widget state, transient metadata, memory addresses."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if plain := output.get("data", {}).get("text/plain"):
                output.data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", plain)
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "tags"})


def write_notebook(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook, whole or not at all."""
    write(path, nbformat.writes(notebook) + "\n")


# --- command ---------------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m workshop.notebooks", description=__doc__)
    parser.add_argument("lessons", nargs="*", help='numbers or names, such as "02"')
    parser.add_argument("--check", action="store_true", help="only compare notebooks with their sources")
    parser.add_argument("--text", action="store_true", help="renew prose and the setup cell without executing")
    args = parser.parse_args(argv)
    root = course_root()
    measured = read_measured(root)
    stale = 0
    for source in sources(root, args.lessons):
        target = root / "notebooks" / f"{source.stem}.ipynb"
        notebook = build(source, measured.get(source.stem))
        current = nbformat.read(target, as_version=4) if target.exists() else None
        fresh = current is not None and same_cells(notebook, current)
        if args.check:
            stale += not fresh
            print(f"{source.stem}: {'ok' if fresh else 'differs from its source: run `make notebooks`'}")
            continue
        if fresh and (args.text or not args.lessons):
            continue
        if args.text:
            if current is not None and renew_text(current, notebook):
                write_notebook(current, target)
                print(f"{source.stem}: text renewed")
            else:
                stale += 1
                print(f"{source.stem}: its code changed, so it must run: `make notebooks`")
            continue
        print(f"{source.stem}: running", flush=True)
        run = execute(notebook, target.parent)
        if run.cell is not None:
            cell = notebook.cells[run.cell]
            print(f"{source.stem}: cell {run.cell} ({cell.id}) failed\n{cell.source}\n\n{run.error}", file=sys.stderr)
            return 1
        measured[source.stem] = {"seconds": round(run.seconds), "peak_mb": round(run.peak_mb, -1)}
        write(root / "notebooks" / "measured.json", json.dumps(measured, indent=2) + "\n")
        for filled, done in zip(build(source, measured[source.stem]).cells, notebook.cells, strict=True):
            done.source, done.id = filled.source, filled.id  # the ficha, now that it is measured
        tidy(notebook)
        write_notebook(notebook, target)
        print(f"{source.stem}: {run.seconds:.0f} s, {run.peak_mb:.0f} MB")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
