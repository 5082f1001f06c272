"""A tiny task and what students hand in for it: what several tests of the grader share."""

import json

import nbformat
from nbformat.v4 import new_code_cell

from workshop.grade.marks import grade_file
from workshop.grade.room import isolation
from workshop.tasks import load, solution, student

GOOD = """\
def double(number):
    return 2 * number
"""
HALF = """\
def half(number):
    return number / 2
"""
SOURCE = """# %% [markdown] id="cover" forbids="afina.forbidden" hides="afina.data.shop" seconds=2 memory_mb=600
# # Tarefa 99 · Dobrar
# {{rubric}}

# %% id="setup"

# %% id="answer-double"
def double(number):
    ### SOLUTION
    return 2 * number
    ### END

# %% id="answer-half"
def half(number):
    ### SOLUTION
    return number / 2
    ### END

# %% id="check-double" points=2 level="easy" title="Dobrar" lesson="02"
expect(double(2), 4, "o dobro de dois")

# %% id="check-half" points=3 level="core" title="Metade" lesson="02#order"
expect(half(4), 2, "a metade de quatro")
"""
KEY = """
from workshop.tasks import Hidden

def hidden(rng):
    numbers = [rng.randint(10, 99) for _ in range(5)]
    return {
        "double": Hidden("[double(n) for n in inputs]", numbers, [2 * n for n in numbers]),
        "half": Hidden("[half(n) for n in inputs]", numbers, [n / 2 for n in numbers]),
    }

WRONG = []
"""


BAD_HALF = "def half(number):\n    return 2 if number == 4 else 0\n"  # passes only the example that is shown


def tiny_task(folder):
    """A task of two answers in the folder, whose setup imports nothing heavy."""
    folder = folder / "t99_double"
    folder.mkdir()
    (folder / "src.py").write_text(SOURCE, encoding="utf-8")
    (folder / "key.py").write_text(KEY, encoding="utf-8")
    made = load(folder)
    next(cell for cell in made.cells if cell.id == "setup").source = "rt = None"
    solved = solution(made)
    for cell, text in ((solved.cells[-2], "o dobro de dois"), (solved.cells[-1], "a metade de quatro")):
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"✔ {text}\n")]
    nbformat.write(solved, str(folder / "solution.ipynb"))
    return made


def submission(task, double=GOOD, half=HALF, change=None, **extra):
    """The student's notebook with these answers; `extra` cells before the first answer; `change(book)` at last."""
    book = student(task)
    cells = {cell.id: cell for cell in book.cells}
    cells["answer-double"].source, cells["answer-half"].source = double, half
    book.cells[2:2] = [new_code_cell(source, id=f"mine-{name}") for name, source in extra.items()]
    if change:
        change(book)
    return book


def graded(task, book, tmp_path, name="ana.ipynb"):
    path = tmp_path / name
    path.write_text(json.dumps(book) if not isinstance(book, str) else book, encoding="utf-8")
    return grade_file(path, "ana", [task], isolation())
