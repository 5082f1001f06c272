"""Graded tasks as text: `tasks/tNN_name/src.py` becomes the student's notebook and the worked solution.

    python -m workshop.tasks            # rebuild the tasks whose source changed (make tasks)
    python -m workshop.tasks t01        # rebuild these
    python -m workshop.tasks --check    # fail if a notebook is not its source
    python -m workshop.tasks --text     # renew prose and the setup cell only: nothing runs, outputs stay

How `src.py` marks its cells, and what `key.py` holds, stands in tasks/README.md.
"""

from __future__ import annotations

import argparse
import ast
import copy
import re
import runpy
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import nbformat

from afina.errors import CourseError
from afina.ptbr import plural
from afina.runtime import course_root
from workshop.notebooks import SETUP, execute, renew_text, same_cells, tidy, write_notebook

LEVELS = {"easy": "fácil", "core": "essencial", "stretch": "desafio"}
HERE = "...  # escreva aqui"
NOT_PRINTED = "a conferência não chegou ao fim: algo no notebook a impediu de rodar"
IMPORT = "from afina.teach.check import expect"  # in each check, so that a student's own `expect` judges nothing
SEED = 8


@dataclass(frozen=True)
class Hidden:
    """Hidden cases of one check: see tasks/README.md."""

    code: str
    inputs: Any
    wanted: Any
    tolerance: float = 1e-4


@dataclass(frozen=True)
class Wrong:
    """A typical mistake: the change of the solution, and the checks that it must lose."""

    name: str
    swap: dict[str, str]
    loses: list[str]


@dataclass(frozen=True)
class Check:
    """One criterion of a task. `lesson` is the place that helps, "02#order"."""

    name: str
    points: int
    level: str
    title: str
    lesson: str
    slow: int = 0

    @property
    def headline(self) -> str:
        worth = f"{plural(self.points, 'ponto')}, {LEVELS[self.level]}"
        return f"# conferência · {self.title} · {worth} · ajuda: {self.help}"

    @property
    def help(self) -> str:
        """Where to read again, as a reader finds it: aula 02, "As quatro regras"."""
        number, _, cell = self.lesson.partition("#")
        return f"aula {number}, “{heading(number, cell)}”" if cell else f"aula {number}"

    @property
    def help_path(self) -> str:
        """The lesson from the repository's root, at the cell that helps (JupyterLab goes there)."""
        number, _, cell = self.lesson.partition("#")
        return f"notebooks/{lesson_file(number)}.ipynb" + (f"#cell-id={cell}" if cell else "")


@dataclass
class Task:
    """A task as its source tells it. `cells` are the source's cells, ids set, solutions still marked."""

    folder: Path
    cells: list[nbformat.NotebookNode]
    checks: list[Check] = field(default_factory=list)
    forbids: list[str] = field(default_factory=list)
    hides: list[str] = field(default_factory=list)
    seconds: float = 30
    memory_mb: int = 3000

    @property
    def name(self) -> str:
        return self.folder.name.split("_")[0]

    @property
    def title(self) -> str:
        return self.cells[0].source.splitlines()[0].removeprefix("# ")

    @property
    def points(self) -> int:
        return sum(check.points for check in self.checks)

    @cached_property
    def key(self) -> SimpleNamespace:
        """The answer key, `key.py`: loaded by the grader only."""
        return SimpleNamespace(**runpy.run_path(str(self.folder / "key.py")))

    def hidden(self, seed: int = SEED) -> dict[str, Hidden]:
        return self.key.hidden(Random(seed))

    @cached_property
    def printed(self) -> dict[str, list[str]]:
        """{check cell id: the ticks that it prints in the worked solution}, which a passing check must print too."""
        solved = nbformat.read(str(self.folder / "solution.ipynb"), as_version=4)
        texts = {
            cell.id: "".join(output.get("text", "") for output in cell.get("outputs", [])) for cell in solved.cells
        }
        return {name: ticks(text) for name, text in texts.items() if name.startswith("check-")}

    @property
    def answer_names(self) -> set[str]:
        answers = [cell.id for cell in self.cells if cell.id.startswith("answer-")]
        return set().union(*(self.names_of(cell_id) for cell_id in answers))

    def names_of(self, cell_id: str) -> set[str]:
        """What an answer cell must define at top level: how an answer is known where cell ids are lost."""
        source = next(cell.source for cell in self.cells if cell.id == cell_id)
        return defined_names(solved_text(source))


# --- reading the source ----------------------------------------------------------------------------------------------


def tasks(root: Path | None = None, wanted: list[str] | None = None) -> list[Task]:
    """The tasks of the repository in order; `wanted` are names ("t01"). CourseError for one that does not exist."""
    folders = sorted(path.parent for path in ((root or course_root()) / "tasks").glob("t[0-9][0-9]_*/src.py"))
    if wanted:
        missing = [name for name in wanted if not any(folder.name.split("_")[0] == name for folder in folders)]
        if missing:
            known = ", ".join(folder.name.split("_")[0] for folder in folders)
            raise CourseError(
                f"não existe a tarefa {', '.join(missing)}.", f"As tarefas são: {known}.", where="tarefas"
            )
        folders = [folder for folder in folders if folder.name.split("_")[0] in wanted]
    return [load(folder) for folder in folders]


def load(folder: Path) -> Task:
    """The task in `folder`, from its `src.py`. ValueError, in English, for a source that breaks the format."""
    import jupytext  # late: see workshop.notebooks

    cells = jupytext.read(folder / "src.py", fmt="py:percent").cells
    task = Task(folder, cells)
    for number, cell in enumerate(cells):
        notes = {name: value for name, value in cell.metadata.items() if name != "lines_to_next_cell"}  # jupytext's own
        cell.metadata = nbformat.from_dict({})
        cell.id = notes.pop("id", None) or f"{task.name}-{number}"
        if number == 0:
            task.hides = _names(notes.get("hides", ""))
            task.forbids = [*task.hides, *_names(notes.get("forbids", ""))]
            task.seconds = notes.get("seconds", task.seconds)
            task.memory_mb = notes.get("memory_mb", task.memory_mb)
        if cell.id == "setup":
            cell.source = SETUP.replace("{folder}/notebooks", f"{{folder}}/tasks/{folder.name}")
        if cell.id.startswith("check-"):
            task.checks.append(Check(cell.id.removeprefix("check-"), **notes))
            cell.source = f"{task.checks[-1].headline}\n{IMPORT}\n\n{cell.source}"
            cell.metadata["tags"] = ["check"]
        elif cell.id.startswith("answer-"):
            cell.metadata["tags"] = ["answer"]
    ids = [cell.id for cell in cells]
    if len(set(ids)) < len(ids) or {check.level for check in task.checks} - LEVELS.keys():
        raise ValueError(f"{folder.name}/src.py: ids repeat, or a level is none of {list(LEVELS)}")
    cells[0].source = cells[0].source.replace("{{rubric}}", points_table(task))
    return task


def lesson_file(number: str) -> str:
    """The name of a lesson by its number: "02" is "02_dataset_prep"."""
    return next((course_root() / "notebooks" / "src").glob(f"{number}_*.py")).stem


@cache
def heading(number: str, cell_id: str) -> str:
    """The heading of the section of a lesson that holds a cell."""
    path = course_root() / "notebooks" / f"{lesson_file(number)}.ipynb"
    last = ""
    for cell in nbformat.read(str(path), as_version=4).cells:
        found = re.findall(r"^#+ (.+)$", cell.source, re.M) if cell.cell_type == "markdown" else []
        if cell.id == cell_id:
            return found[0] if found and cell.source.startswith("#") else last
        last = found[-1] if found else last
    raise ValueError(f"lesson {number} has no cell {cell_id}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def points_table(task: Task) -> str:
    """The table of points of a statement."""
    rows = ["| critério | nível | pontos | ajuda |", "| --- | --- | --- | --- |"]
    for check in task.checks:
        link = f"[{check.help}](../../{check.help_path})"
        rows.append(f"| {check.title} | {LEVELS[check.level]} | {check.points} | {link} |")
    return "\n".join([*rows, f"| **Total** | | **{task.points}** | |"])


def defined_names(source: str) -> set[str]:
    """The names that a cell's code binds at top level; empty where it does not parse."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return set()
    names = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)}
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return names


def _regions(source: str, solve: bool) -> str:
    lines, part = [], ""
    for line in source.splitlines():
        word = line.strip()
        if word == "### SOLUTION":
            part, indent, own = "solution", line[: len(line) - len(line.lstrip())], False
        elif word == "### STUDENT":
            part, own = "student", True
        elif word == "### END":
            if not solve and not own:
                lines.append(indent + HERE)
            part = ""
        elif part == "student":
            if not solve:
                lines.append(re.sub(r"^(\s*)# ?", r"\1", line))
        elif part == "" or solve:
            lines.append(line)
    if part:
        raise ValueError("a `### SOLUTION` has no `### END`")
    return "\n".join(lines)


def solved_text(source: str) -> str:
    """An answer cell with its solution, unmarked."""
    return _regions(source, solve=True)


def student_text(source: str) -> str:
    """An answer cell as the student finds it."""
    return _regions(source, solve=False)


# --- the two notebooks -----------------------------------------------------------------------------------------------


def notebook(task: Task, text: Callable[[str], str]) -> nbformat.NotebookNode:
    """The notebook of a task, each answer cell passed through `text`; ids stable, outputs none."""
    cells = copy.deepcopy(task.cells)
    for cell in cells:
        if cell.id.startswith("answer-"):
            cell.source = text(cell.source)
        if cell.id.startswith("check-"):
            cell.metadata.update(deletable=False, editable=False)
    book = nbformat.v4.new_notebook(cells=cells)
    book.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "afina": {"task": task.name},
        }
    )
    book.nbformat, book.nbformat_minor = 4, 5
    return book


def student(task: Task) -> nbformat.NotebookNode:
    return notebook(task, student_text)


def solution(task: Task) -> nbformat.NotebookNode:
    return notebook(task, solved_text)


def wrong(task: Task, mistake: Wrong) -> nbformat.NotebookNode:
    """The solution with one typical mistake. ValueError if a text to swap is not there exactly once."""
    book = solution(task)
    answers = [cell for cell in book.cells if cell.id.startswith("answer-")]
    for old, new in mistake.swap.items():
        places = [cell for cell in answers if old in cell.source]
        if len(places) != 1 or places[0].source.count(old) != 1:
            raise ValueError(f"{task.name}, {mistake.name}: {old!r} is not exactly once in the solution")
        places[0].source = places[0].source.replace(old, new)
    return book


# --- a submission ----------------------------------------------------------------------------------------------------


def assemble(task: Task, submission: nbformat.NotebookNode) -> tuple[nbformat.NotebookNode, list[str]]:
    """The notebook that is really run, and notes for the student (Portuguese).

    Given and check cells come from the source; answers and the student's own cells from the submission, in the source's order.
    nbval (through conftest.py) and the grader both run this, so they agree.
    """
    official = {cell.id: cell for cell in student(task).cells if cell.cell_type == "code"}
    answers = {name: task.names_of(name) for name in official if name.startswith("answer-")}
    sent = [cell for cell in submission.cells if cell.cell_type == "code"]
    places = _places(sent, official, answers)
    notes, last = [], ""
    own: dict[str, list[nbformat.NotebookNode]] = {}  # the student's own cells, by the official one they come after
    theirs = []  # what the student may write
    for number, cell in enumerate(sent):
        last = places.get(number, last)
        if number not in places and cell.source.strip():
            own.setdefault(last, []).append(nbformat.v4.new_code_cell(cell.source, id=f"own-{number}"))
        if number not in places or last in answers:
            theirs.append(cell.source)
        elif cell.source.strip() != official[last].source.strip():
            notes.append(f"a célula {last} foi mudada: valeu a original")
        if number in places and last in answers:
            official[last].source = cell.source
    notes += [f"a célula {name} não está no arquivo" for name in answers if name not in places.values()]
    forbidden = [name for source in theirs for name in imported(source) if _is_forbidden(name, task.forbids)]
    notes += [_refusal(forbidden)] if forbidden else []
    for name, cell in official.items():
        if name.startswith("check-") and forbidden:
            cell.source = f"from afina.teach.check import NotYet\n\nraise NotYet({_refusal(forbidden)!r})"
        elif name.startswith("check-"):
            cell.metadata["must_print"] = task.printed[name]
    book = notebook(task, student_text)
    book.cells = own.get("", []) + [one for name, cell in official.items() for one in (cell, *own.get(name, []))]
    return book, notes


def _places(
    sent: list[nbformat.NotebookNode], official: dict[str, nbformat.NotebookNode], answers: dict[str, set[str]]
) -> dict[int, str]:
    """{number of a sent cell: the official one that it is}: by its id, else by its text, or by a name that an answer defines."""
    places: dict[int, str] = {}
    for number, cell in enumerate(sent):
        if cell.get("id") in official and cell.id not in places.values():
            places[number] = cell.id
    for number, cell in enumerate(sent):
        if number in places:
            continue
        free = [name for name in official if name not in places.values()]
        same = [name for name in free if official[name].source.strip() == cell.source.strip()]
        same += [name for name in free if name in answers and answers[name] & defined_names(cell.source)]
        if same:
            places[number] = same[0]
    return places


def ticks(text: str) -> list[str]:
    """The lines of an output in which `expect` says that an example is right."""
    return [line for line in text.splitlines() if line.startswith("✔ ")]


def came_to_its_end(check: nbformat.NotebookNode, printed: str) -> bool:
    """Did an assembled check cell print every tick of the solution? A student's own prints beside them do no harm."""
    return not Counter(check.metadata.get("must_print", [])) - Counter(ticks(printed))


def imported(source: str) -> list[str]:
    """The modules that a cell imports, and the names it takes from them, dotted; [] where it does not parse."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return []
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    taken = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return names + [f"{node.module}.{alias.name}" for node in taken for alias in node.names]


def _is_forbidden(name: str, forbids: list[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in forbids)


def _refusal(names: list[str]) -> str:
    return f"o notebook importa {', '.join(sorted(set(names)))}, que é o gabarito desta tarefa: nenhum critério vale"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m workshop.tasks", description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help='names, such as "t01"')
    parser.add_argument("--check", action="store_true", help="only compare notebooks with their sources")
    parser.add_argument("--text", action="store_true", help="renew prose and the setup cell without executing")
    args = parser.parse_args(argv)
    done = True
    for task in tasks(wanted=args.tasks):
        for path, book in (
            (task.folder / f"{task.name}.ipynb", student(task)),
            (task.folder / "solution.ipynb", solution(task)),
        ):
            current = nbformat.read(path, as_version=4) if path.exists() else None
            fresh = current is not None and same_cells(book, current)
            if fresh and (not args.tasks or args.check or args.text):
                continue
            if args.check:
                print(f"{task.folder.name}/{path.name}: differs from its source: run `make tasks`")
                done = False
            elif path.stem != "solution":
                write_notebook(book, path)
            elif args.text:
                done &= _renew(current, book, path)
            elif not _run(task, book, path):
                return 1
    return 0 if done else 1


def _renew(current: nbformat.NotebookNode | None, book: nbformat.NotebookNode, path: Path) -> bool:
    """Give the executed solution the new text; False, and it says so, where its code changed."""
    if current is None or not renew_text(current, book):
        print(f"{path.parent.name}/{path.name}: its code changed, so it must run: `make tasks`")
        return False
    write_notebook(current, path)
    return True


def _run(task: Task, book: nbformat.NotebookNode, path: Path) -> bool:
    """Execute and write the solution; False, and it says which cell failed, where it does not run."""
    print(f"{task.name}: running the solution", flush=True)
    run = execute(book, task.folder)
    if run.cell is not None:
        cell = book.cells[run.cell]
        print(f"{task.name}: cell {cell.id} failed\n{cell.source}\n\n{run.error}", file=sys.stderr)
        return False
    tidy(book)
    print(f"{task.name}: {run.seconds:.0f} s, {run.peak_mb:.0f} MB")
    write_notebook(book, path)
    return True


if __name__ == "__main__":
    sys.exit(main())
