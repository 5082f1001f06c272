"""The simulated Colab without its packages: the room is another machine, and what is looked at is read right."""

import hashlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from afina.runtime import course_root
from workshop import colab_room

ROOT = course_root()


@pytest.fixture
def machine(tmp_path):
    """A room whose /vm/python is a folder with one file."""
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "colab.txt").write_text("de lá", encoding="utf-8")
    room = colab_room.ColabMachine(tmp_path / "home", "/", tmp_path / "python")
    asked = room.run("/bin/true", capture_output=True)
    if asked.returncode:
        pytest.skip(f"no namespaces here: {asked.stderr.strip().splitlines()[-1]}")
    return room


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_the_room_has_an_empty_content_its_own_python_and_no_word_of_this_process(machine):
    told = machine.output("/bin/sh", "-c", "pwd; ls /content; cat /vm/python/colab.txt; echo; env")
    place, python, *environment = told.splitlines()
    assert (place, python) == ("/content", "de lá")
    assert "COLAB_RELEASE_TAG=release-colab-simulated" in environment and "HOME=/vm/user" in environment
    assert not [line for line in environment if line.startswith(("PYTHON", "AFINA_", "VIRTUAL_ENV"))]
    machine.output("/bin/sh", "-c", "echo escrito > /content/nota.txt")
    assert (machine.home / "content" / "nota.txt").read_text() == "escrito\n"


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_a_command_is_asked_which_python_it_is(machine):
    version, path = colab_room.which_python("/", sys.executable)
    assert version == "{}.{}".format(*sys.version_info) and path.endswith(f"/bin/python{version}")
    assert Path(path).exists()


def test_a_python_that_colab_never_had_and_one_that_is_not_there(monkeypatch):
    monkeypatch.setattr(colab_room, "which_python", lambda system, python: ("3.9", "/usr/bin/python3.9"))
    monkeypatch.setattr(sys, "argv", ["colab_room"])
    with pytest.raises(SystemExit, match=r"holds 3\.12 and 3\.13"):
        colab_room.main()
    monkeypatch.setattr(sys, "argv", ["colab_room", "--python", "python0.1"])
    with pytest.raises(SystemExit, match=r"no python0\.1"):
        colab_room.main()


def test_complaints_forget_the_version_of_who_complains():
    said = (
        "Torch 2.11.0 requires sympy>=1.13, which is not installed.\nfoo 1 has requirement bar<2, but you have bar 3.\n"
    )
    machine = SimpleNamespace(run=lambda *command, **options: SimpleNamespace(stdout=said))
    assert colab_room.complaints(machine) == {("torch", "sympy>=1.13"), ("foo", "bar<2")}


def test_every_committed_file_of_data_and_models_is_looked_at():
    found = colab_room.files_of_the_course()
    listed = subprocess.run(["git", "ls-files", "data", "models"], cwd=ROOT, capture_output=True, text=True).stdout
    assert sorted(found) == listed.splitlines()
    assert found["data/README.md"] == hashlib.sha256((ROOT / "data" / "README.md").read_bytes()).hexdigest()


def test_pip_is_told_of_a_torch_that_is_not_there(tmp_path):
    colab_room.stand_in_for_torch(tmp_path)
    told = (tmp_path / "torch-2.11.0+cu128.dist-info" / "METADATA").read_text()
    assert "Version: 2.11.0+cu128" in told and "Requires-Dist: triton==3.6.0" in told


def test_a_solution_is_named_by_its_task():
    assert colab_room.label(Path("tasks/t01_clean_catalogue/solution.ipynb")) == "t01_clean_catalogue"
    assert colab_room.label(Path("notebooks/02_dataset_prep.ipynb")) == "02_dataset_prep"


def test_each_colab_image_has_its_list():
    lists = sorted((ROOT / "workshop" / "colab_packages").glob("python-*.txt"))
    assert [path.stem for path in lists] == ["python-3.12", "python-3.13"]
    assert all("numpy==" in path.read_text(encoding="utf-8") for path in lists)
