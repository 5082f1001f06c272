"""Every task keeps its promises: generated files up to date and without secrets, and the graded grader.

For each task found: the empty notebook scores 0 and says why, the worked solution scores all, and each typical wrong answer
loses exactly the points meant for it. One kernel serves them all, forgetting the names between two notebooks.
"""

import os
import re

import nbformat
import pytest

from afina.runtime import course_root
from afina.teach.check import BLANK
from workshop.grade import Isolation, Kernel, Room, grade_notebook
from workshop.notebooks import same_cells
from workshop.tasks import LEVELS, SEED, solution, student, tasks, wrong

ROOT = course_root()
TASKS = tasks(ROOT)
by_name = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


@by_name
def test_the_committed_notebooks_are_those_of_the_source(task):
    for name, book in ((f"{task.name}.ipynb", student(task)), ("solution.ipynb", solution(task))):
        assert same_cells(book, nbformat.read(str(task.folder / name), as_version=4)), f"{name}: run `make tasks`"


@by_name
def test_the_students_notebook_holds_no_solution_and_no_hidden_case(task):
    text = (task.folder / f"{task.name}.ipynb").read_text(encoding="utf-8")
    book = nbformat.reads(text, as_version=4)
    assert all(not cell.get("outputs") for cell in book.cells) and "### SOLUTION" not in text
    given = "\n".join(cell.source for cell in student(task).cells)
    solved = "\n".join(cell.source for cell in solution(task).cells)
    own_lines = {line.strip() for line in solved.splitlines()} - {line.strip() for line in given.splitlines()}
    mine = {line.strip() for cell in book.cells for line in cell.source.splitlines()}
    assert own_lines and not {line for line in own_lines if len(line) > 8} & mine
    for name, case in task.hidden().items():
        for value in case.inputs if isinstance(case.inputs, list) else [case.inputs]:
            assert len(repr(value)) < 12 or repr(value) not in text, name


@by_name
def test_a_task_is_fit_for_a_class(task):
    assert task.points == 10
    assert {check.level for check in task.checks} == set(LEVELS)
    assert len(task.key.WRONG) >= 5 and set(task.hidden()) <= {check.name for check in task.checks}
    assert re.match(r"# Tarefa \d\d · \S", task.cells[0].source) and "| **Total** |" in task.cells[0].source
    ids = {cell.id for path in (ROOT / "notebooks").glob("*.ipynb") for cell in nbformat.read(str(path), 4).cells}
    assert {check.lesson.split("#")[1] for check in task.checks if "#" in check.lesson} <= ids


@by_name
def test_hidden_cases_follow_their_seed(task):
    one, same, other = (task.hidden(seed) for seed in (SEED, SEED, SEED + 1))
    assert {name: case.inputs for name, case in one.items()} == {name: case.inputs for name, case in same.items()}
    assert any(one[name].inputs != other[name].inputs for name in one)


@pytest.fixture(scope="module")
def one_kernel():
    with Room(Isolation(), max(task.memory_mb for task in TASKS)) as room, Kernel(room) as kernel:
        yield kernel


@pytest.fixture
def kernel(one_kernel):
    """One kernel for all notebooks, since isolation is not what is tried here: torch is imported once."""
    one_kernel.reset()
    return one_kernel


@by_name
def test_the_empty_version_scores_nothing_and_says_so_kindly(task, kernel):
    marks, _ = grade_notebook(task, student(task), kernel)
    assert [mark.check.name for mark in marks if mark.earned] == []
    assert all(BLANK in mark.why for mark in marks), [mark.why for mark in marks]


@by_name
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_the_solution_scores_everything(task, kernel):
    marks, notes = grade_notebook(task, solution(task), kernel)
    assert [(mark.check.name, mark.why) for mark in marks if not mark.earned] == [] and notes == []


CASES = [(task, mistake) for task in TASKS for mistake in task.key.WRONG]


@pytest.mark.parametrize(
    ("task", "mistake"), CASES, ids=[f"{task.name}-{mistake.name.replace(' ', '-')}" for task, mistake in CASES]
)
def test_each_wrong_answer_loses_exactly_its_points(task, mistake, kernel):
    slow = {check.name for check in task.checks if check.slow} if "AFINA_SLOW" not in os.environ else set()
    marks, _ = grade_notebook(task, wrong(task, mistake), kernel, without=slow)
    lost = {mark.check.name: mark.why for mark in marks if not mark.earned}
    assert set(lost) == set(mistake.loses) - slow != set(), lost
    assert all("esperava" in why or "parou com" in why or "encontrei" in why for why in lost.values()), lost
