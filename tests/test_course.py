"""`make course` as a student meets it: lessons that pass, fail, die; the pages; and how notebooks are made from text."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import psutil
import pytest
import torch

import conftest
from afina.errors import CourseError
from afina.teach.check import check
from workshop import course, notebooks

PASSES = """\
# %% [markdown]
# # 00 · Passa
#
# Uma promessa.

# %% id="answer"
print(6 * 7)

# %%
from IPython.display import display

display({"image/png": "iVBORw0KGgo=", "text/plain": "x"}, metadata={"image/png": {"alt": 'um "ponto"'}}, raw=True)

# %% [markdown]
# [próxima](01_fails.ipynb)
"""
FAILS = """\
# %% [markdown]
# # 01 · Falha
#
# Outra promessa.

# %%
x = 1

# %% id="boom"
# a comment, then the line that matters
open("nada.json")
"""
DIES = "# %% [markdown]\n# # 02 · Morre\n\n# %%\nimport os\n\nos._exit(1)\n"
MEETS = """\
# %% [markdown]
# # 03 · Encontra

# %%
import os
import pathlib
import time

pathlib.Path("../{mine}").write_text(str(os.getpid()))
print(os.environ["OMP_NUM_THREADS"])
limit = time.monotonic() + 60
while not pathlib.Path("../{other}").exists():
    assert time.monotonic() < limit
    time.sleep(0.1)
"""


def add_lesson(root: Path, name: str, text: str) -> None:
    source = root / "notebooks" / "src" / f"{name}.py"
    source.write_text(text, encoding="utf-8")
    notebooks.write_notebook(notebooks.build(source, None), root / "notebooks" / f"{name}.ipynb")


@pytest.fixture
def small_course(tmp_path, monkeypatch):
    """A repository with three lessons: one passes, one fails, one kills its kernel."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "clubes.json").write_text("[]", encoding="utf-8")
    (tmp_path / "notebooks" / "src").mkdir(parents=True)
    for name, text in (("00_passes", PASSES), ("01_fails", FAILS), ("02_dies", DIES)):
        add_lesson(tmp_path, name, text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_failing_lesson_is_explained_and_the_others_still_run(small_course, capsys):
    assert course.main([]) == 1
    told = capsys.readouterr().out
    for part in (
        "00 · Passa",
        "✔ passou",
        "✘ falhou",
        "célula de código 2 (id boom)",
        'open("nada.json")',
        "FileNotFoundError",
        "git status",
    ):
        assert part in told
    assert "o kernel morreu" in told
    out = small_course / "build" / "course"
    page = (out / "00_passes.html").read_text(encoding="utf-8")
    assert 'alt="um &quot;ponto&quot;"' in page
    assert 'lang="pt-BR"' in page
    assert 'href="01_fails.html"' in page
    assert not [part for part in page.split('src="')[1:] if part.startswith("http")]
    index = (out / "index.html").read_text(encoding="utf-8")
    assert "1 de 3 aulas rodaram" in index
    assert "FileNotFoundError" in index
    executed = nbformat.read(out / "00_passes.ipynb", as_version=4)
    assert executed.cells[1].outputs[0].text == "42\n"


def test_some_lessons_by_number_and_an_unknown_one(small_course, capsys):
    assert course.main(["00"]) == 0
    assert "Falha" not in capsys.readouterr().out
    with pytest.raises(CourseError, match="07"):
        course.main(["07"])


def test_two_lessons_run_at_a_time_with_the_cores_shared(small_course, monkeypatch, capsys):
    monkeypatch.setattr(course, "AT_ONCE", 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    add_lesson(small_course, "03_one", MEETS.format(mine="um", other="outro"))
    add_lesson(small_course, "04_other", MEETS.format(mine="outro", other="um"))
    assert course.main(["03", "04"]) == 0  # each waits for the other
    assert "2 aulas por vez" in capsys.readouterr().out
    for name in ("03_one", "04_other"):
        executed = nbformat.read(small_course / "build" / "course" / f"{name}.ipynb", as_version=4)
        assert executed.cells[1].outputs[0].text == "1\n"


def test_the_longest_lesson_first_and_only_what_fits_in_memory(monkeypatch):
    def lesson(name, seconds, peak_mb):
        return course.Lesson(name, name, "", None, 1, {"seconds": seconds, "peak_mb": peak_mb})

    monkeypatch.setattr(course, "AT_ONCE", 2)
    available = 3000
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("", (), {"available": available * 1e6}))
    big, middle, small = lesson("big", 90, 5000), lesson("middle", 60, 2000), lesson("small", 5, 800)
    assert course.next_to_run([big, middle, small], []) is big  # alone, it may try
    assert course.next_to_run([big, small], [middle]) is small
    middle.run.peak_mb = 2000  # what it takes is taken: `available` says so already
    assert course.next_to_run([lesson("other", 40, 2900), small], [middle]).name == "other"
    assert course.next_to_run([big], [middle]) is None  # waits for the memory
    assert course.next_to_run([small], [middle, big]) is None  # both places are taken
    assert course.next_to_run([], []) is None


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send there")
def test_ctrl_c_leaves_no_kernel_behind(small_course):
    add_lesson(small_course, "03_waits", MEETS.format(mine="pid", other="nunca"))
    command = [sys.executable, "-c", "import sys; from workshop.course import main; sys.exit(main(['03']))"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=small_course)
    limit = time.monotonic() + 60
    while not (small_course / "pid").exists() or not (small_course / "pid").read_text():
        assert running.poll() is None and time.monotonic() < limit
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=60) != 0
    assert not psutil.pid_exists(int((small_course / "pid").read_text()))


def test_the_run_is_measured(small_course):
    notebook = nbformat.read("notebooks/00_passes.ipynb", as_version=4)
    run = notebooks.execute(notebook, small_course / "notebooks")
    assert run.cell is None
    assert run.seconds > 0
    assert run.peak_mb > 20


def test_building_fills_ids_and_ficha_and_is_repeatable(small_course):
    source = small_course / "notebooks" / "src" / "00_passes.py"
    one, two = notebooks.build(source, None), notebooks.build(source, None)
    assert nbformat.writes(one) == nbformat.writes(two)
    assert one.cells[1].id == "answer"
    source.write_text(PASSES.replace("Uma promessa.", "{{ficha}}"), encoding="utf-8")
    filled = notebooks.build(source, {"seconds": 130, "peak_mb": 512})
    assert "≈ 2 min" in filled.cells[0].source
    assert "0,5 GB" in filled.cells[0].source
    assert [cell.id for cell in filled.cells[1:]] == [cell.id for cell in one.cells[1:]]


def test_make_notebooks_rebuilds_only_what_changed(small_course, capsys):
    (small_course / "docs").mkdir()
    assert notebooks.main(["00"]) == 0
    capsys.readouterr()
    assert notebooks.main(["--check", "00"]) == 0
    measured = json.loads((small_course / "notebooks" / "measured.json").read_text(encoding="utf-8"))
    assert set(measured["00_passes"]) == {"seconds", "peak_mb"}
    source = small_course / "notebooks" / "src" / "00_passes.py"
    source.write_text(PASSES.replace("6 * 7", "6 * 8"), encoding="utf-8")
    assert notebooks.main(["--check", "00"]) == 1
    assert notebooks.main(["01"]) == 1  # the failing lesson is never written
    assert "FileNotFoundError" in capsys.readouterr().err


def test_nbval_gives_the_right_verdict_with_one_option(small_course):
    """What a grader types, without knowing our options: a wrong committed output, a failing cell and a dead kernel all fail."""
    shutil.copy(Path(course.__file__).parents[2] / "conftest.py", small_course)
    checked = nbformat.read("notebooks/00_passes.ipynb", as_version=4)
    checked.cells[1].source = "# NBVAL_CHECK_OUTPUT\nprint(6 * 7)"
    checked.cells[1].execution_count = 1
    checked.cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text="41\n")]
    nbformat.write(checked, "notebooks/03_wrong.ipynb")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider", "--nbval-cell-timeout=5"]
    run = subprocess.run([*command, "notebooks"], capture_output=True, text=True, env=environment, cwd=small_course)
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")]
    assert run.returncode == 1, run.stdout
    assert {name for name in ("00_passes", "01_fails", "02_dies", "03_wrong") if name in " ".join(failed)} == {
        "01_fails",
        "02_dies",
        "03_wrong",
    }, run.stdout


def test_with_several_processes_long_lessons_start_first_and_short_ones_last(small_course):
    measured = {"00_passes": {"seconds": 3}, "01_fails": {"seconds": 60}, "02_dies": {"seconds": 200}}
    (small_course / "notebooks" / "measured.json").write_text(json.dumps(measured), encoding="utf-8")
    names = ["00_passes.ipynb", "01_fails.ipynb", "02_dies.ipynb", "test_a.py", "test_b.py", "test_b.py"]
    items = [SimpleNamespace(path=Path(name)) for name in names]
    config = SimpleNamespace(rootpath=small_course)
    conftest.pytest_collection_modifyitems(config, items)
    assert [item.path.name for item in items] == names  # alone, as they come
    config.workerinput = {}
    conftest.pytest_collection_modifyitems(config, items)
    told = [item.path.stem for item in items]
    assert told == ["02_dies", "01_fails", "test_b", "test_b", "test_a", "00_passes"]


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        (..., "Ainda em branco"),
        (None, "Ainda em branco"),
        (4, "Isso mesmo"),
        (np.float64(4), "Isso mesmo"),
        (np.float64(5), "Ainda não: era 4"),
        (torch.tensor(4), "Isso mesmo"),
        (5, "Ainda não: era 4"),
        ("x", "parou com TypeError"),
    ],
)
def test_check_explains(answer, printed, capsys):
    check(answer, lambda n: n + 0 == 4 or "era 4")
    assert printed in capsys.readouterr().out
