"""Marks for what students send: right, strange, broken and hostile. Each gets a fair score and a clear line."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from grade_base import BAD_HALF, graded, submission
from nbformat.v4 import new_code_cell, new_notebook

from afina.errors import CourseError
from afina.runtime import course_root
from afina.teach.check import BLANK
from workshop.grade.kernel import DEAD, Outcome
from workshop.grade.marks import (
    Mark,
    Result,
    find_submissions,
    grade_folder,
    judge_hidden,
    probe_code,
    summary,
    which_task,
)
from workshop.grade.room import isolation
from workshop.tasks import NOT_PRINTED, Hidden, assemble, imported, solution

ROOT = course_root()

# --- hostile and broken submissions ----------------------------------------------------------------------------------


def edit(cell_id, source=None, **metadata):
    def change(book):
        cell = next(cell for cell in book.cells if cell.id == cell_id)
        cell.source = cell.source if source is None else source
        cell.metadata.update(metadata)

    return change


def drop_checks(book):
    book.cells = [cell for cell in book.cells if not cell.id.startswith("check-")]


def as_colab(book):
    book.nbformat_minor = 0
    for cell in book.cells:
        cell.pop("id")
        cell.metadata = {}
    book.metadata = {}


STRIP_SPACES = """
class Strip(ast.NodeTransformer):
    def visit_Expr(self, node):
        return None if "espaços repetidos" in ast.unparse(node) else node
get_ipython().ast_transformers.append(Strip())
"""
STRIP_ASSERTS = """
import ast
class Strip(ast.NodeTransformer):
    def visit_Expr(self, node):
        return None if "expect" in ast.unparse(node) else node
get_ipython().ast_transformers.append(Strip())
"""
MAGIC = """
class Anything(float):
    def __eq__(self, other): return True
    def __sub__(self, other): return 0
    def __abs__(self): return 0
def half(number): return Anything(0)
"""
FAKE_CHECKS = """
import afina.teach.check as check
check.expect = check.difference = lambda *a, **k: ""
check.probe = lambda *a: None
"""
PATCH_BUILTINS = "import builtins, math\nbuiltins.abs = builtins.all = math.isclose = lambda *a, **k: True\n"
STUBBORN = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
while True:
    try:
        while True: pass
    except BaseException: pass
"""
READ_KEY = f"""
def half(number):
    import pathlib
    return len(list(pathlib.Path({str(ROOT)!r}).glob("tasks/*/*.py")))
"""
REACH_OUT = """
def half(number):
    import ctypes, socket
    libc = ctypes.CDLL(None, use_errno=True)
    sock = libc.socket(2, 1, 0)
    address = (b"\\x02\\x00\\x00P" + bytes([1, 1, 1, 1]) + bytes(8))
    return number / 2 if libc.connect(sock, address, 16) == 0 else "sem rede"
"""
FORK = """
def half(number):
    import os, time
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    return number / 2
"""
MILLION = "def half(number):\n    for i in range(1_000_000): print('linha', i)\n    return number / 2\n"
EAT = "def half(number):\n    kept = []\n    while True:\n        kept.append(bytearray(b'x') * 20_000_000)\n"

# name: (changes of the right submission, points of 5, words of the half's reason or of a note)
HOSTILE = {
    "right": ({}, 5, ""),
    "empty": ({"double": "", "half": ""}, 0, "ainda em branco|NameError"),
    "only-the-example": ({"half": BAD_HALF}, 2, "em um caso escondido, com a entrada"),
    "syntax": ({"half": "def half(number:\n    return"}, 2, "NameError"),
    "raises": ({"half": "def half(number):\n    return 1 / 0\n"}, 2, "ZeroDivisionError"),
    "hangs-in-answer": ({"half": "def half(number):\n    while True: pass\n"}, 2, "passou de 2 s"),
    "hangs-at-top": ({"half": "while True: pass"}, 2, "passou de 2 s"),
    "hangs-for-good": ({"half": STUBBORN}, 2, "passou de 2 s"),
    "sys-exit": ({"half": "import sys\nsys.exit(0)\n"}, 2, "SystemExit"),
    "os-exit": ({"half": "import os\nos._exit(0)\n"}, 2, "encerrou o kernel"),
    "exit": ({"half": "exit()\n"}, 2, "NameError"),
    "kill": ({"half": "import os\ndef half(number): os.kill(os.getpid(), 9); os._exit(1)\n"}, 2, "encerrou o kernel"),
    "memory": ({"half": EAT}, 2, "MemoryError|de memória"),
    "million-lines": ({"half": MILLION}, 2, "não chegou ao fim|passou de"),
    "endless-lines": ({"half": "def half(number):\n    while True: print('x' * 80)\n"}, 2, "passou de 2 s"),
    "forks": ({"half": FORK}, 2, "processos|BlockingIOError|passou de"),
    "check-edited": ({"half": BAD_HALF, "change": edit("check-half", "assert True")}, 2, "foi mudada: valeu a original"),
    "check-skipped": ({"half": BAD_HALF, "change": edit("check-half", tags=["nbval-skip", "raises-exception"])}, 2, "esperava"),
    "checks-deleted": ({"half": BAD_HALF, "change": drop_checks}, 2, "esperava"),
    "ast-transformer": ({"half": BAD_HALF, "trick": STRIP_ASSERTS}, 0, "não chegou ao fim"),
    "fake-checks": ({"half": BAD_HALF, "trick": FAKE_CHECKS}, 0, ""),
    "patched-builtins": ({"half": BAD_HALF, "trick": PATCH_BUILTINS}, 2, "esperava"),
    "own-expect": ({"half": BAD_HALF, "trick": "def expect(*args): print('✔', args[2])"}, 2, "esperava"),
    "magic-object": ({"half": MAGIC}, 2, "esperava"),
    "broken-json": ({"half": "import json\njson.dumps = json.loads = None\n" + BAD_HALF}, 2, "esperava"),
    "reads-the-key": ({"half": READ_KEY}, 2, "esperava 2, encontrei 0"),
    "network": ({"half": REACH_OUT}, 2, "encontrei 'sem rede'"),
    "forbidden-module": ({"mine": "import afina.forbidden.thing"}, 0, "que é o gabarito"),
    "hidden-module": ({"half": "def half(number):\n    import importlib\n    return importlib.import_module('afina.data.shop')\n"}, 2,
                      "ImportError: este módulo é o gabarito"),
    "forged-answer": ({"half": "from IPython.display import display\n" + BAD_HALF +
                       "display({'application/x-afina-probe': '{}'}, raw=True)"}, 2, "esperava"),
    "colab": ({"change": as_colab}, 5, ""),
    "own-helper": ({"helper": "def one(x):\n    return x", "half": "def half(number):\n    return one(number) / 2"}, 5, ""),
    "prints-a-little": ({"half": "def half(number):\n    print('aqui')\n    return number / 2"}, 5, ""),
    "renamed": ({"half": "def metade(number):\n    return number / 2"}, 2, "NameError"),
}  # fmt: skip


@pytest.fixture(scope="module")
def hostile_class(task, tmp_path_factory):
    """{name: its result}: all of them handed in by one class, so that each also shows that it harms no other."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, (parts, _, _) in HOSTILE.items():
        nbformat.write(submission(task, **parts), str(folder / f"{name}_t99.ipynb"))
    return {result.student: result for result in grade_folder(folder, [task])}


@pytest.mark.skipif(not isolation().namespaces, reason="hostile submissions need namespaces here")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_submission_gets_its_fair_score(name, hostile_class):
    _, points, words = HOSTILE[name]
    result = hostile_class[name]
    reasons = " ".join([mark.why for mark in result.marks] + result.notes)
    assert result.points == points, (result.line, reasons)
    assert not words or any(word in reasons for word in words.split("|")), reasons


FILES = {
    "text": ("oi", "não é um notebook"),
    "list": ("[1, 2]", "não é um notebook"),
    "deep": ("[" * 100_000, "não é um notebook"),
    "cells": ('{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "não é um notebook"),
    "empty": ("", "não é um notebook"),
    "no code": (json.dumps(new_notebook()), "nenhuma célula de código"),
    "another": (json.dumps(new_notebook(cells=[new_code_cell("x = 1")])), "não sei de que tarefa é"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_submission_gets_one_clear_line(name, task, tmp_path):
    text, words = FILES[name]
    result = graded(task, text, tmp_path)
    assert words in result.line and result.points == 0 and "Traceback" not in result.line


# --- a class ---------------------------------------------------------------------------------------------------------


def test_a_class_is_graded_and_one_cannot_harm_another(task, tmp_path):
    (tmp_path / "bia").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("x")
    nbformat.write(submission(task), str(tmp_path / "ana_t99.ipynb"))
    nbformat.write(submission(task, half=BAD_HALF), str(tmp_path / "bia" / "t99.ipynb"))
    nbformat.write(submission(task, half="import os\nos._exit(0)"), str(tmp_path / "=caio().ipynb"))
    (tmp_path / "davi.pdf").write_bytes(b"%PDF")
    results = grade_folder(tmp_path, [task])
    assert {result.student: result.points for result in results} == {"ana": 5, "bia": 2, "=caio()": 2, "davi": 0}
    assert all(result.seconds > 0 for result in results)


def test_folders_that_hold_nothing_say_so(tmp_path):
    with pytest.raises(CourseError, match="vazia"):
        find_submissions(tmp_path)
    with pytest.raises(CourseError, match="não é uma pasta"):
        find_submissions(tmp_path / "nada")


def test_a_key_that_cannot_be_read_stops_before_the_first_submission(task, tmp_path, monkeypatch):
    nbformat.write(submission(task), str(tmp_path / "ana.ipynb"))
    monkeypatch.setattr(type(task), "hidden", lambda self: 1 / 0)
    monkeypatch.setattr("workshop.grade.marks.grade_file", lambda *_: pytest.fail("it began"))
    with pytest.raises(ZeroDivisionError):
        grade_folder(tmp_path, [task])


# --- nbval sees what the grader sees ---------------------------------------------------------------------------------


def test_nbval_on_a_submitted_notebook_gives_the_graders_verdict_on_the_visible_checks(tmp_path):
    """On a real task, inside the repository, where conftest.py holds: a wrong answer, then tricks on the check cells."""
    folder = ROOT / "submissions" / f"test-{os.getpid()}"
    folder.mkdir(parents=True)
    book = nbformat.read(str(ROOT / "tasks" / "t01_clean_catalogue" / "solution.ipynb"), as_version=4)
    cells = {cell.id: cell for cell in book.cells}
    cells["answer-clean"].source = cells["answer-clean"].source.replace('" ", text)', '"", text)')  # glues words
    cells["answer-clean"].source += "\n\nimport ast\n\nprint('oi')" + STRIP_SPACES
    cells["check-tags"].source = "# NBVAL_SKIP\nassert True"
    cells["check-tags"].metadata["tags"] = ["raises-exception"]
    book.cells = [cell for cell in book.cells if cell.id != "check-twice"]
    try:
        nbformat.write(book, str(folder / "ana.ipynb"))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--nbval-lax",
            "-p",
            "no:cacheprovider",
            "-rf",
            str(folder / "ana.ipynb"),
        ]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    finally:
        (folder / "ana.ipynb").unlink()
        folder.rmdir()
    assert run.returncode == 1 and "3 failed" in run.stdout, run.stdout
    assert NOT_PRINTED in run.stdout
    assert "esperava 'azul claro', encontrei 'azulclaro'" in run.stdout


# --- the pieces ------------------------------------------------------------------------------------------------------


ROWS = Hidden("[f(n) for n in inputs]", [1, 2], [2, 4])
ONE = Hidden("f(inputs)", 3, 6)


@pytest.mark.parametrize(
    ("case", "outcome", "said"),
    [
        (ROWS, Outcome(probe='{"found": [2, 4]}'), ""),
        (ROWS, Outcome(probe='{"found": [2, 5]}'), "em um caso escondido, com a entrada 2: esperava 4, encontrei 5"),
        (ONE, Outcome(probe='{"found": 7}'), "em um caso escondido, esperava 6, encontrei 7"),
        (ONE, Outcome(probe='{"error": "KeyError: 1"}'), "nos casos escondidos, sua função parou com KeyError: 1"),
        (ONE, Outcome(probe="["), "nos casos escondidos, o que voltou não dá para ler"),
        (ONE, Outcome(probe="3"), "nos casos escondidos, o que voltou não dá para ler"),
        (ONE, Outcome(DEAD, error="encerrou o kernel"), "nos casos escondidos, o código encerrou o kernel"),
        (ONE, Outcome(), "nos casos escondidos, o código não devolveu nada"),
    ],
)
def test_hidden_cases_are_judged_by_what_came_back(case, outcome, said):
    assert judge_hidden(case, outcome) == said


def test_only_inputs_go_to_the_kernel():
    assert "123" in probe_code(Hidden("f(inputs)", 123, 456)) and "456" not in probe_code(Hidden("f(inputs)", 123, 456))


def test_a_task_is_known_by_the_notebook_then_its_files_name_then_what_it_defines(task, tmp_path):
    plain = new_notebook(cells=[new_code_cell("def half(n):\n    return n")])
    assert which_task(tmp_path / "x.ipynb", plain, [task]) is task
    nothing = new_notebook(cells=[new_code_cell("x = 1")])
    assert which_task(tmp_path / "Ana-T99.ipynb", nothing, [task]) is task
    assert which_task(tmp_path / "x.ipynb", solution(task), [task]) is task
    nothing.metadata["afina"] = ["not", "ours"]
    with pytest.raises(CourseError, match="não sei de que tarefa é"):
        which_task(tmp_path / "at990.ipynb", nothing, [task])


@pytest.mark.parametrize(
    ("whys", "line"),
    [
        (["", ""], "tudo certo"),
        ([BLANK, BLANK], "em branco"),
        (["", BLANK], "1 de 2 critérios por acertar"),
        ([BLANK, "x"], "2 de 2 critérios por acertar"),
    ],
)
def test_one_line_says_how_it_went(task, whys, line):
    marks = [Mark(check, not why, why) for check, why in zip(task.checks, whys, strict=True)]
    assert summary(Result("ana", "ana.ipynb", task, marks)) == line


def test_a_students_name_is_the_folder_or_the_file_without_its_task(tmp_path):
    for name in ("t01_ana.ipynb", "bia-T02.ipynb", "t03.ipynb", "caio/t01.ipynb", "caio/sub/.hidden/x.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(student for student, _ in find_submissions(tmp_path)) == ["ana", "bia", "caio", "t03"]


def test_cells_keep_the_order_of_the_source_and_the_students_own_stay_beside_their_neighbours(task):
    book = submission(task, helper="x = 1")
    book.cells.append(new_code_cell("y = 2", id="mine-last"))
    book.cells[-2], book.cells[-3] = book.cells[-3], book.cells[-2]  # the two checks swapped
    made, notes = assemble(task, book)
    assert [cell.id.split("-")[0] for cell in made.cells] == [
        "setup",
        "own",
        "answer",
        "answer",
        "check",
        "own",
        "check",
    ]
    assert notes == []
    assert [cell.metadata.must_print for cell in made.cells if cell.id.startswith("check")] == [
        ["✔ o dobro de dois"],
        ["✔ a metade de quatro"],
    ]


def test_what_a_cell_imports():
    assert imported("import a.b, c as d\nfrom e.f import g\nfrom . import h\nif 1:\n    import i") == [
        "a.b",
        "c",
        "i",
        "e.f.g",
    ]
    assert imported("def (") == []
