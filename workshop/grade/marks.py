"""Marks: whose submission, which task, what it earned and why not. Hidden cases are judged here, outside the student's kernel."""

from __future__ import annotations

import json
import queue
import re
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from afina.errors import CourseError
from afina.runtime import progress
from afina.teach.check import BLANK, difference, shown
from workshop.grade.kernel import DONE, Kernel, Outcome, Steps
from workshop.grade.room import Isolation, Room, covers, isolation
from workshop.tasks import NOT_PRINTED, SEED, Check, Hidden, Task, assemble, came_to_its_end, defined_names, tasks

MAX_NOTEBOOK = 20_000_000  # bytes
READABLE = "Entregue o arquivo .ipynb salvo pelo Jupyter ou pelo Colab."


@dataclass
class Mark:
    """One criterion of one submission: earned or not, and why not, in Portuguese."""

    check: Check
    earned: bool = False
    why: str = ""


@dataclass
class Result:
    """The outcome of one submission. `line` is one sentence that says how it went; `notes` what the student should know."""

    student: str
    file: str
    task: Task | None = None
    marks: list[Mark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    line: str = ""
    seconds: float = 0.0

    @property
    def points(self) -> int:
        return sum(mark.check.points for mark in self.marks if mark.earned)


# --- one submission --------------------------------------------------------------------------------------------------


def grade_notebook(
    task: Task, submission: nbformat.NotebookNode, kernel: Kernel, seed: int = SEED, without: Collection[str] = ()
) -> tuple[list[Mark], list[str]]:
    """The marks of a submission, and notes for its student, run in a fresh `kernel`; the checks `without` are left out."""
    book, notes = assemble(task, submission)
    run = Steps(kernel, task.seconds)
    left_out = {f"check-{name}" for name in without}
    cells = {cell.id: cell for cell in book.cells if cell.id not in left_out}
    outcomes = {name: run.step(name, cell.source) for name, cell in cells.items()}
    for name, outcome in outcomes.items():
        if outcome.status != DONE and not name.startswith("check-"):
            notes.append(f"a célula {_cell_name(name)} {outcome.error}")
    hidden = task.hidden(seed)
    marks = []
    for check in task.checks:
        if check.name in without:
            continue
        name = f"check-{check.name}"
        why = outcomes[name].error
        if not why and not came_to_its_end(cells[name], outcomes[name].printed):
            why = NOT_PRINTED
        if not why and check.name in hidden:
            case = hidden[check.name]
            why = judge_hidden(case, run.step(f"hidden-{check.name}", probe_code(case)))
        marks.append(Mark(check, not why, why))
    return marks, notes


def _cell_name(name: str) -> str:
    return f"sua, número {int(name.removeprefix('own-')) + 1} do arquivo," if name.startswith("own-") else name


def probe_code(case: Hidden) -> str:
    """What the kernel is told of a hidden case: its inputs, never its answer."""
    inputs = json.dumps(case.inputs)
    return f"__import__('afina.teach.check', fromlist=['_']).probe({case.code!r}, {inputs!r}, globals())"


def judge_hidden(case: Hidden, outcome: Outcome) -> str:
    """What is wrong with the outcome of hidden cases, for the student to read; empty when it is right."""
    if outcome.probe is None:
        return f"nos casos escondidos, o código {outcome.error or 'não devolveu nada'}"
    try:
        answer = json.loads(outcome.probe)
        if "error" in answer:
            return f"nos casos escondidos, sua função parou com {answer['error']}"
        found = answer["found"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "nos casos escondidos, o que voltou não dá para ler"
    problem = difference(found, case.wanted, case.tolerance)
    if not problem:
        return ""
    rows = [case.inputs, found, case.wanted]
    if all(isinstance(row, list) for row in rows) and len({len(row) for row in rows}) == 1:
        for given, one, other in zip(*rows, strict=True):
            if single := difference(one, other, case.tolerance):
                return f"em um caso escondido, com a entrada {shown(given)}: {single}"
    return f"em um caso escondido, {problem}"


def grade_file(path: Path, student: str, only: list[Task], kind: Isolation, slot: int = 0) -> Result:
    """The result of one submitted file, whatever the file is."""
    started = time.monotonic()
    result = Result(student, path.name)
    try:
        book = read_submission(path)
        result.task = which_task(path, book, only)
        result.marks = [Mark(check, why="não foi corrigido") for check in result.task.checks]
        with Room(kind, result.task.memory_mb, slot, result.task.hides) as room, Kernel(room) as kernel:
            result.marks, result.notes = grade_notebook(result.task, book, kernel)
        result.line = summary(result)
    except CourseError as error:
        result.line = str(error)
    except Exception as error:  # one file, however strange, must not cost the others their marks
        result.line = f"o corretor não conseguiu com este arquivo: {type(error).__name__}: {error}"[:300]
    result.seconds = time.monotonic() - started
    return result


def read_submission(path: Path) -> nbformat.NotebookNode:
    """The notebook in a file. CourseError, in one line, for anything else."""
    if path.suffix != ".ipynb":
        raise CourseError("não é um notebook.", READABLE, where=path.name)
    if path.stat().st_size > MAX_NOTEBOOK:
        size = f"tem mais de {MAX_NOTEBOOK // 1_000_000} MB."
        raise CourseError(size, "Limpe as saídas e salve de novo.", where=path.name)
    try:
        book = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        cells = [cell for cell in book.cells if cell.cell_type == "code"]
        readable = all(isinstance(cell.source, str) for cell in cells)
    # broken JSON, another encoding, a list instead of an object, nesting without end: all are one thing here
    except Exception:
        readable = False
    if not readable:
        raise CourseError("não é um notebook que se possa ler.", READABLE, where=path.name)
    if not cells:
        raise CourseError("não tem nenhuma célula de código.", READABLE, where=path.name)
    return book


def which_task(path: Path, book: nbformat.NotebookNode, only: list[Task]) -> Task:
    """The task that a notebook answers: it says so itself, or its file's name does, or the names that it defines."""
    known = {task.name: task for task in only}
    said = book.metadata.get("afina", {})
    said = said.get("task") if isinstance(said, dict) else None
    named = re.findall(r"(?<![a-z0-9])t\d\d(?![0-9])", path.name.lower())
    for name in (said, *named):
        if isinstance(name, str) and name in known:
            return known[name]
    defined = set().union(*(defined_names(cell.source) for cell in book.cells if cell.cell_type == "code"))
    overlap = {task.name: len(defined & task.answer_names) for task in only}
    best = max(overlap, key=lambda name: overlap[name])
    if not overlap[best]:
        raise CourseError("não sei de que tarefa é.", f"Ponha a tarefa no nome: t01_{path.name}.", where=path.name)
    return known[best]


def summary(result: Result) -> str:
    """How a graded submission went, in a few words."""
    failed = [mark for mark in result.marks if not mark.earned]
    if not failed:
        return "tudo certo"
    if all(BLANK in mark.why for mark in failed) and not result.points:
        return "em branco"
    return f"{len(failed)} de {len(result.marks)} critérios por acertar"


# --- a class ---------------------------------------------------------------------------------------------------------


def find_submissions(folder: Path) -> list[tuple[str, Path]]:
    """(student, file) of everything handed in: `ana.ipynb`, or any file in a folder `ana/`."""
    if not folder.is_dir():
        raise CourseError("não é uma pasta.", "Dê a pasta com os notebooks entregues.", where=folder)
    files = [(path.relative_to(folder), path) for path in sorted(folder.rglob("*")) if path.is_file()]
    found = [(_student(name), path) for name, path in files if not any(part.startswith(".") for part in name.parts)]
    if not found:
        remedy = "Ponha nela os notebooks entregues: ana.ipynb, ou ana/t01.ipynb."
        raise CourseError("está vazia.", remedy, where=folder)
    return found


def _student(path: Path) -> str:
    if len(path.parts) > 1:
        return path.parts[0]
    return re.sub(r"(?i)[_-]t\d\d$|^t\d\d[_-]", "", path.stem) or path.stem


def grade_folder(
    folder: Path, only: list[Task] | None = None, jobs: int = 2, kind: Isolation | None = None
) -> list[Result]:
    """Grade every file of a folder, `jobs` at a time, with a progress bar; in rooms of `kind`, or the best there is."""
    files = find_submissions(folder)
    only = only or tasks()
    kind = kind or isolation()
    for task in only:
        task.hidden()  # what cannot be read, or hidden, stops here and not in the middle of a class
        covers(task.hides)
    slots: queue.SimpleQueue[int] = queue.SimpleQueue()
    for slot in range(jobs):
        slots.put(slot)

    def one(pair: tuple[str, Path]) -> Result:
        slot = slots.get()
        try:
            return grade_file(pair[1], pair[0], only, kind, slot)
        finally:
            slots.put(slot)
            bar.update(1)

    with progress(total=len(files), desc="corrigindo", unit=" arquivos") as bar, ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, files))
