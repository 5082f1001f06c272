"""Graded tasks as text: `tasks/tNN_name/src.py` becomes the student's notebook and the worked solution.

    python -m workshop.tasks            # rebuild the tasks whose source changed (make tasks)
    python -m workshop.tasks t01        # rebuild these
    python -m workshop.tasks --check    # fail if a notebook is not its source
    python -m workshop.tasks --text     # renew prose and the setup cell only: nothing runs, outputs stay

A task is a folder of four files, of which people edit two:

    src.py           py:percent: the statement, the answers with their solutions, the visible checks
    key.py           hidden cases and typical wrong answers; read only by the grader, never by a student's kernel
    tNN.ipynb        generated: the student's notebook, not executed, without solutions
    solution.ipynb   generated: the same with the solutions, executed, outputs kept

`src.py` marks its cells in the cell line. Every cell but plain prose has an id, stable for ever:

    # %% [markdown] id="cover" hides="afina.data.clean" seconds=20 memory_mb=2000
        The first cell: `# Tarefa NN · Title`, the story, and `{{rubric}}`, which becomes the table of points.
        forbids    modules or names in them, comma-separated, whose import by the student forfeits the checks (optional)
        hides      modules that are forbidden and, in the grader, not there at all, however they are reached (optional)
        seconds    time limit of one cell, a hidden case included, in the grader (default 30; all cells together: 4 times that)
        memory_mb  memory limit of the kernel in the grader (default 3000)
    # %% id="setup"                         empty; filled with the course's setup cell, which defines `rt`
    # %% id="answer-NAME"                   an answer. Between `### SOLUTION` and `### END` the solution; the student finds
                                            `...  # escreva aqui` there, or the lines after `### STUDENT`, each behind `# `
    # %% id="check-NAME" points=2 level="easy" title="Entidades viram letras" lesson="02#order"
        One criterion: points (whole), level easy | core | stretch, title (Portuguese), the lesson cell that helps.
        Its code is the visible check: `expect(found, wanted, "what")` of afina.teach.check, one example each (the generator
        puts a comment with title, points and lesson, and the import, above it). A check passes if it ends without error and
        prints all the ticks that it prints in solution.ipynb, so `what` holds nothing that varies.
        slow=1 on a check: it takes long (a real job), so the tests run it for the solution only, and for wrong answers
        too where AFINA_SLOW=1.
    # %% id="anything"                      a cell that is given (loads data, defines helpers)

The student keeps all helpers inside answer cells or cells of their own; given and check cells always come from the source.
The functions and variables that an answer cell defines at top level in `src.py` are how a notebook without ids is understood.

`key.py` has two names. `hidden(rng)` returns the hidden cases of each check; a criterion is earned when its visible check passes
and its hidden cases are right (a check may have none only if its visible check cannot be fooled; give one where you can):

    def hidden(rng: random.Random) -> dict[str, Hidden]:
        texts = ["a &amp; b", …]
        return {"entities": Hidden("[clean_text(text) for text in inputs]", texts, [clean(text) for text in texts])}

Hidden(code, inputs, wanted, tolerance=1e-4): `code` runs in the student's kernel, where `inputs` (JSON) is set; it is an expression,
or statements that set `output`. Its value (JSON; tensors and arrays become lists) travels to the grader and is compared there with
`wanted` by `afina.teach.check.difference`: a value, or a function from what was found to True or a Portuguese sentence, such as
"esperava …, encontrei …". Only inputs cross to the kernel: never an answer.

`WRONG` lists at least five typical mistakes, each a change of the solution and exactly the checks it must lose:

    WRONG = [Wrong("entidades destruídas", {'html.unescape(text)': 'text.replace("&", "")'}, loses=["entities"])]

Wrong(name, swap, loses): each key of `swap` is a text that occurs exactly once in all answer cells of the solution.
tests/test_tasks.py grades every task found: empty 0, solution all, each wrong answer exactly its points.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import jupytext
import nbformat

from afina.errors import CourseError
from afina.runtime import course_root
from workshop.notebooks import SETUP, execute, renew_text, same_cells, tidy, write_notebook

LEVELS = {"easy": "fácil", "core": "essencial", "stretch": "desafio"}
HERE = "...  # escreva aqui"
NOT_PRINTED = "a conferência não chegou ao fim: algo no notebook a impediu de rodar"
IMPORT = "from afina.teach.check import expect"  # in each check, so that a student's own `expect` judges nothing
SEED = 8


@dataclass(frozen=True)
class Hidden:
    """Hidden cases of one check: see the head of this module."""

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
        worth = f"{self.points} ponto{'s' if self.points > 1 else ''}, {LEVELS[self.level]}"
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
    def key(self) -> ModuleType:
        """The answer key, `key.py`: loaded by the grader only."""
        spec = importlib.util.spec_from_file_location(f"afina_key_{self.name}", self.folder / "key.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

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
    cells[0].source = cells[0].source.replace("{{rubric}}", rubric(task))
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


def rubric(task: Task) -> str:
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
    An answer is known by its cell id, else by a name that it defines.
    nbval (through conftest.py) and the grader both run this, so they agree.
    """
    official = {cell.id: cell for cell in student(task).cells if cell.cell_type == "code"}
    answers = {name: task.names_of(name) for name in official if name.startswith("answer-")}
    sent = [cell for cell in submission.cells if cell.cell_type == "code"]
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
    notes, own, last = [], {}, None
    for number, cell in enumerate(sent):
        if number in places:
            last = places[number]
            if last in answers:
                official[last].source = cell.source
            elif cell.source.strip() != official[last].source.strip():
                notes.append(f"a célula {last} foi mudada: valeu a original")
        elif cell.source.strip():
            own.setdefault(last, []).append(nbformat.v4.new_code_cell(cell.source, id=f"own-{number}"))
    missing = [name for name in official if name not in places.values()]
    notes += [f"a célula {name} não está no arquivo" for name in missing if name in answers]
    theirs = [cell.source for number, cell in enumerate(sent) if places.get(number, "answer-").startswith("answer-")]
    forbidden = [name for source in theirs for name in imported(source) if _is_forbidden(name, task.forbids)]
    cells = list(own.get(None, []))
    for name, cell in official.items():
        if name.startswith("check-"):
            if forbidden:
                cell.source = f"from afina.teach.check import NotYet\n\nraise NotYet({_refusal(forbidden)!r})"
            else:
                cell.metadata["must_print"] = task.printed[name]
        cells += [cell, *own.get(name, [])]
    notes += [_refusal(forbidden)] if forbidden else []
    book = notebook(task, student_text)
    book.cells = cells
    return book, notes


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
    return names + [
        f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    ]


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
    stale = 0
    for task in tasks(wanted=args.tasks):
        for path, book in (
            (task.folder / f"{task.name}.ipynb", student(task)),
            (task.folder / "solution.ipynb", solution(task)),
        ):
            current = nbformat.read(path, as_version=4) if path.exists() else None
            if current is not None and same_cells(book, current) and (not args.tasks or args.check or args.text):
                continue
            if args.check:
                stale += 1
                print(f"{task.folder.name}/{path.name}: differs from its source: run `make tasks`")
                continue
            if args.text and path.name == "solution.ipynb":
                if current is None or not renew_text(current, book):
                    stale += 1
                    print(f"{task.folder.name}/{path.name}: its code changed, so it must run: `make tasks`")
                    continue
                book = current
            elif path.name == "solution.ipynb":
                print(f"{task.name}: running the solution", flush=True)
                run = execute(book, task.folder)
                if run.cell is not None:
                    cell = book.cells[run.cell]
                    print(f"{task.name}: cell {cell.id} failed\n{cell.source}\n\n{run.error}", file=sys.stderr)
                    return 1
                tidy(book)
                print(f"{task.name}: {run.seconds:.0f} s, {run.peak_mb:.0f} MB")
            write_notebook(book, path)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
