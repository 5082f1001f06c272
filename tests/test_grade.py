"""The grader against what students send: right, strange, broken and hostile. Each gets a fair score and a clear line."""

import copy
import csv
import json
import os
import subprocess
import sys
import time
from xml.etree import ElementTree

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from afina.errors import CourseError
from afina.runtime import course_root
from afina.teach.check import NotYet, difference, expect
from workshop.grade import room as grade
from workshop.grade.room import Isolation, find_submissions, grade_file, grade_folder, isolation, write_reports
from workshop.tasks import NOT_PRINTED, assemble, imported, load, solution, student

ROOT = course_root()
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


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A tiny task, whose setup imports nothing heavy."""
    folder = tmp_path_factory.mktemp("tasks") / "t99_double"
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


BAD_HALF = "def half(number):\n    return 2 if number == 4 else 0\n"  # passes only the example that is shown
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


@pytest.mark.skipif(not isolation().namespaces, reason="the grader says so itself where it cannot isolate")
def test_nothing_of_a_room_outlives_it_or_reaches_out_of_it(task, tmp_path):
    escape = f"""
import os, pathlib, subprocess
victim = pathlib.Path({str(tmp_path)!r})
print(sorted(os.listdir("/")), victim.exists(), os.getuid(), os.environ.get("SECRET"))
subprocess.Popen(["sleep", "86399"], start_new_session=True)
"""
    os.environ["SECRET"] = "s3cr3t"
    try:
        room = grade.Room(isolation(), 600)
        with room, grade.Kernel(room) as kernel:
            outcome = kernel.run(escape, 20)
            family = [process.name() for process in grade._family(kernel.process.pid)]
    finally:
        del os.environ["SECRET"]
    assert outcome.status == grade.DONE and "sleep" in family, (outcome, family)
    assert "'home'" not in outcome.printed and " False " in outcome.printed and "None" in outcome.printed
    assert not room.folder.exists()
    time.sleep(0.2)
    running = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not any((command or [])[:2] == ["sleep", "86399"] for command in running)


KINDS = {"no isolation": Isolation(), "user namespace": Isolation(namespaces=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_weaker_isolation_grades_the_same(kind, task, tmp_path):
    if KINDS[kind].namespaces and not isolation().namespaces:
        pytest.skip("no namespaces here")
    path = tmp_path / "ana.ipynb"
    nbformat.write(submission(task, half="import os\nos._exit(0)"), str(path))
    result = grade_file(path, "ana", [task], KINDS[kind])
    assert result.points == 2, result


def test_a_machine_that_cannot_isolate_says_so_once_in_one_line(task, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(grade, "isolation", lambda: Isolation(sentence=grade._WEAK.format("sem permissão")))
    monkeypatch.setattr(grade, "tasks", lambda wanted=None: [task])
    (tmp_path / "in").mkdir()
    nbformat.write(submission(task), str(tmp_path / "in" / "ana.ipynb"))
    assert grade.main([str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert said.err.count("aviso: esta máquina não deixa isolar os kernels (sem permissão)") == 1
    assert "5 de 5  ana: tudo certo" in said.out


# --- a class ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graded_class(task, tmp_path_factory):
    folder, out = tmp_path_factory.mktemp("submissions"), tmp_path_factory.mktemp("out")
    (folder / "bia").mkdir()
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    nbformat.write(submission(task), str(folder / "ana_t99.ipynb"))
    nbformat.write(submission(task, half=BAD_HALF), str(folder / "bia" / "t99.ipynb"))
    nbformat.write(submission(task, half="import os\nos._exit(0)"), str(folder / "=caio().ipynb"))
    (folder / "davi.pdf").write_bytes(b"%PDF")
    results = grade_folder(folder, [task])
    write_reports(results, out)
    return results, out


def test_a_class_is_graded_and_one_cannot_harm_another(graded_class):
    results, _ = graded_class
    assert {result.student: result.points for result in results} == {"ana": 5, "bia": 2, "=caio()": 2, "davi": 0}


def test_the_table_holds_every_submission_and_no_formula(graded_class):
    _, out = graded_class
    rows = list(csv.DictReader((out / "notas.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert [row["aluno"] for row in rows] == ["'=caio()", "ana", "bia", "davi"]
    assert [row["pontos"] for row in rows] == ["2", "5", "2", "0"]
    assert rows[2]["t99.double"] == "2" and rows[2]["t99.half"] == "0" and "não é um notebook" in rows[3]["observação"]
    suites = ElementTree.parse(out / "junit.xml").getroot()
    assert [suite.get("failures") for suite in suites] == ["1", "0", "1", "0"] and suites[3].get("errors") == "1"


def test_each_student_reads_what_was_expected_what_was_found_and_where_to_look(graded_class):
    _, out = graded_class
    pages = sorted((out / "alunos").glob("*.html"))
    assert len(pages) == 4
    bia = next(page for page in pages if "bia" in page.name).read_text(encoding="utf-8")
    for words in (
        "2 de 5 pontos",
        "<strong>esperava</strong>",
        "<strong>encontrei</strong>",
        "aula 02",
        'lang="pt-BR"',
    ):
        assert words in bia
    assert "src=" not in bia  # nothing is fetched
    index = (out / "index.html").read_text(encoding="utf-8")
    assert "sem correção: 1" in index and "Metade" in index and index.count("alunos/") == 4


def test_a_page_escapes_what_students_write(task, tmp_path):
    result = graded(task, submission(task, half="def half(n):\n    return '<script>alert(1)</script>'"), tmp_path)
    page = grade.student_page("<b>eva</b>", [result])
    assert "<script>" not in page and "&lt;script&gt;" in page and "<b>eva" not in page


def test_folders_that_hold_nothing_say_so(tmp_path):
    with pytest.raises(CourseError, match="vazia"):
        find_submissions(tmp_path)
    with pytest.raises(CourseError, match="não é uma pasta"):
        find_submissions(tmp_path / "nada")


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


@pytest.mark.parametrize(
    ("found", "wanted", "words"),
    [
        (None, 3, "em branco"),
        ([1, 2], [1, 3], "no item 1, esperava 3, encontrei 2"),
        ([1], [1, 2], "esperava 2 itens, encontrei 1"),
        (0.1 + 0.2, 0.3, ""),
        ((1, 2), [1, 2], ""),
        ("a", "b", "esperava 'b', encontrei 'a'"),
        (True, 1, "esperava 1, encontrei True"),
        (float("nan"), float("nan"), ""),
        ({"a": 1}, {"a": 2}, "esperava {'a': 2}"),
        (5, lambda n: n > 3 or "pequeno", ""),
        (2, lambda n: n > 3 or "pequeno", "pequeno"),
        ("x", lambda n: n > 3, "não deu para conferir"),
    ],
)
def test_difference(found, wanted, words):
    said = difference(found, wanted)
    assert (words in said) if words else said == ""


def test_expect_prints_or_raises(capsys):
    expect(copy.copy(4), 4, "quatro")
    assert capsys.readouterr().out == "✔ quatro\n"
    with pytest.raises(NotYet, match="quatro: esperava 4, encontrei 5"):
        expect(5, 4, "quatro")
