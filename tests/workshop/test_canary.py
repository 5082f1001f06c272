"""The canary names what breaks: the set, the file, the test and the first error, here with stand-ins instead of environments."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from afina.runtime import course_root
from workshop import canary

ROOT = course_root()
SOURCE = Path(sys.prefix) / "gpu-src"


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """The JUnit file of a real pytest run over a file that fails in three ways and passes in one."""
    tmp_path = tmp_path_factory.mktemp("broken")
    (tmp_path / "test_apart.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_gone(): raise AttributeError(\"module 'trl' has no attribute 'SFTTrainer'\")\n"
        "def test_follows(): assert 1 == 2\n"
        "@pytest.mark.skip\n"
        "def test_left_out(): pass\n",
        encoding="utf-8",
    )
    (tmp_path / "test_whole.py").write_text("import a_package_that_nobody_has\n", encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    junit = tmp_path / "broken.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junitxml={junit}",
        "--continue-on-collection-errors",
    ]
    subprocess.run([*command, str(tmp_path)], cwd=tmp_path, capture_output=True)
    return junit


def test_a_break_is_named_with_file_test_and_error(broken):
    passed, failed, breaks = canary.read_junit(broken)
    assert (passed, failed) == (1, 3)
    found = {one["file"]: one for one in breaks}
    assert found["test_apart.py"] == {
        "file": "test_apart.py",
        "test": "test_gone",
        "error": "AttributeError: module 'trl' has no attribute 'SFTTrainer'",
        "more": 1,
    }
    assert found["test_whole.py"]["error"] == "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"


def test_a_cell_that_breaks_is_named_by_its_notebook(tmp_path):
    junit = tmp_path / "cells.xml"
    junit.write_text(
        '<testsuites><testsuite><testcase classname="notebooks.14_tinyllama_qlora.ipynb" name="Cell 0" time="1"/>'
        '<testcase classname="notebooks.14_tinyllama_qlora.ipynb" name="Cell 7" time="1"><failure message="Notebook cell execution '
        "failed\">#x1B[91mNotebook cell execution failed#x1B[0m\nCell 7\nTypeError: SFTConfig() got 'packing'</failure></testcase>"
        "</testsuite></testsuites>",
        encoding="utf-8",
    )
    passed, failed, (one,) = canary.read_junit(junit)
    assert (passed, failed) == (1, 1)
    assert (one["file"], one["test"]) == ("notebooks/14_tinyllama_qlora.ipynb", "Cell 7")
    assert one["error"] == "TypeError: SFTConfig() got 'packing'"


def test_a_cell_that_ran_out_of_time_is_not_taken_for_a_break_of_its_library():
    said = "Notebook cell execution failed\nCell 18: Timeout of 1800 seconds exceeded while executing cell.\n\nInput:\nx = 1"
    assert canary.first_error(said).startswith("Timeout of 1800 seconds exceeded")


def copy_of_requirements(folder):
    (folder / "docs").mkdir(exist_ok=True)
    for name in ("requirements.txt", "requirements-gpu.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


def judged(monkeypatch, tmp_path, broken, breaks_in):
    """main() with environments that are not built: the sets in `breaks_in` get the broken file's verdict."""

    def judge_set(one, root, folder, lessons, keep):
        verdict = canary.Verdict(one.name, "3.11.7", one.pinned, passed=20)
        if one.name in breaks_in:
            verdict.passed, verdict.failed, verdict.breaks = canary.read_junit(broken)
            verdict.differs = {"trl": ["1.15.0", "1.16.0"], "anyio": ["4.16.0", "4.17.0"]}
        return verdict

    monkeypatch.setattr(canary, "judge_set", judge_set)
    monkeypatch.setattr(canary, "build_folder", lambda: tmp_path)
    monkeypatch.setattr(canary, "course_root", lambda: copy_of_requirements(tmp_path))
    monkeypatch.setattr(canary, "find_python", lambda version: sys.executable if version == "3.12" else None)
    monkeypatch.setattr(canary, "wheels_for", lambda version, root, folder: f"há rodas para {version}")
    code = canary.main([])
    return code, (tmp_path / "canary" / "report.md").read_text(encoding="utf-8"), tmp_path / "canary" / "report.json"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the stand-in pretends that 3.12 is another Python")
def test_a_newer_set_that_breaks_is_reported_and_no_failure(monkeypatch, tmp_path, broken):
    code, page, data = judged(monkeypatch, tmp_path, broken, {"beyond"})
    assert code == 0
    assert "| beyond | 3.11.7 | as mais novas de tudo (só o torch fica) | 1 | 3 | **quebra** |" in page
    assert (
        "**test_apart.py**, `test_gone`: `AttributeError: module 'trl' has no attribute 'SFTTrainer'` (e mais 1 neste arquivo)"
        in page
    )
    assert "trl 1.15.0 → 1.16.0" in page and "anyio" not in page and "E 1 pacotes que elas trazem" in page
    assert "| control | 3.11.7 | as versões fixadas, com o Python deste ambiente | 20 | 0 | passa |" in page
    assert "| python3.12 | 3.11.7 |" in page and "- Python 3.13: há rodas para 3.13." in page
    sets = {row["name"]: row for row in json.loads(data.read_text(encoding="utf-8"))["sets"]}
    assert list(sets) == ["control", "inside", "beyond", "python3.12"]
    assert [row["ok"] for row in sets.values()] == [True, True, False, True]
    # one set again: the others stay as the day's report has them
    monkeypatch.setattr(canary, "judge_set", lambda one, *_: canary.Verdict(one.name, "3.11.7", one.pinned, passed=5))
    assert canary.main(["--sets", "beyond"]) == 0
    again = json.loads(data.read_text(encoding="utf-8"))
    assert [(row["name"], row["passed"]) for row in again["sets"]] == [
        ("control", 20),
        ("inside", 20),
        ("beyond", 5),
        ("python3.12", 20),
    ]
    shown = tmp_path / "docs" / "versoes.md"
    assert "| beyond | 3.11.7 | as mais novas de tudo (só o torch fica) | 5 | 0 | passa |" in shown.read_text(
        encoding="utf-8"
    )
    shown.unlink()
    (tmp_path / "canary" / "report.json").unlink()
    assert canary.main(["--sets", "beyond"]) == 0 and not shown.exists()  # a part is no page


@pytest.mark.parametrize("name", ["control", "python3.12"])
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the stand-in pretends that 3.12 is another Python")
def test_a_pinned_set_that_breaks_is_a_failure(monkeypatch, tmp_path, broken, name):
    code, page, _ = judged(monkeypatch, tmp_path, broken, {name})
    assert code == 1 and "**quebra**" in page


def test_an_environment_that_pip_refuses_is_a_break(monkeypatch, tmp_path):
    def refused(one, folder, root, log):
        log.write(
            "Collecting trl\nERROR: Cannot install trl and datasets<5 because these package versions have conflicting dependencies.\n"
        )
        raise subprocess.CalledProcessError(1, ["pip", "install"])

    monkeypatch.setattr(canary, "install_set", refused)
    one = canary.Set("inside", sys.executable, [], ["torch==2.13.0"], [], False)
    verdict = canary.judge_set(one, ROOT, tmp_path, ["02"], keep=False)
    assert not verdict.ok
    assert verdict.breaks[0]["test"] == "instalação" and verdict.breaks[0]["error"].startswith(
        "ERROR: Cannot install trl and datasets<5"
    )


def test_the_sets_are_the_pins_the_bounds_and_everything():
    sets, lacking = canary.all_sets(ROOT, SOURCE)
    control, inside, beyond = sets[:3]
    assert all(one.bounds[0] == control.bounds[0] and one.bounds[0].startswith("torch==") for one in sets)
    assert {"transformers", "trl", "datasets"} <= {name.split("!")[0] for name in inside.bounds}
    assert any("datasets" in bound and "<5" in bound for bound in inside.bounds)
    assert "transformers" in inside.wants and not any("=" in name for name in inside.wants)
    assert beyond.wants == inside.wants and len(beyond.bounds) == 1
    assert [one.pinned for one in sets[:3]] == [True, False, False] and all(one.pinned for one in sets[3:])
    assert {one.name.removeprefix("python") for one in sets[3:]} | set(lacking) < set(canary.SUPPORTED)


def test_the_supported_pythons_are_those_of_the_readme():
    text = (ROOT / "README.en.md").read_text(encoding="utf-8")
    assert "Python {}, {} or {}".format(*canary.SUPPORTED) in text


@pytest.mark.parametrize("version", canary.SUPPORTED)
def test_the_page_of_versions_has_a_verdict_on_each_python(version):
    page = (ROOT / "docs" / "versoes.md").read_text(encoding="utf-8")
    judged = re.findall(
        rf"^\| (?:control|python{re.escape(version)}) \| {re.escape(version)}\.\d+ \|.*\| (\S+) \|$", page, re.M
    )
    assert judged == ["passa"] or f"- Python {version}: há uma roda" in page


def test_differences_know_extras_names_and_what_is_gone():
    pinned = {"moto[s3]": "5.2.5", "PyYAML": "6.0.3", "h11": "0.16.0"}
    assert canary.differences(pinned, {"moto": "5.2.6", "pyyaml": "6.0.3", "hub": "2.0", "pip": "1"}) == {
        "h11": ["0.16.0", None],
        "hub": [None, "2.0"],
        "moto": ["5.2.5", "5.2.6"],
    }
