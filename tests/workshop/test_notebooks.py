"""How notebooks are made from text, executed and checked: also by nbval, with this repository's conftest.py."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
from small_course import PASSES

from afina.runtime import course_root
from workshop import notebooks

ROOT = course_root()


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
    shutil.copy(ROOT / "conftest.py", small_course)
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
    order = runpy.run_path(str(ROOT / "conftest.py"))["pytest_collection_modifyitems"]
    order(config, items)
    assert [item.path.name for item in items] == names  # alone, as they come
    config.workerinput = {}
    order(config, items)
    told = [item.path.stem for item in items]
    assert told == ["02_dies", "01_fails", "test_b", "test_b", "test_a", "00_passes"]
