"""The setup cell on Colab, with git and pip played by stand-ins; and the dev container. `make test-colab` is the real thing."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from afina import cli
from afina.runtime import course_root
from workshop import colab
from workshop.notebooks import BRANCH, REPOSITORY, SETUP
from workshop.tasks import tasks

ROOT = course_root()
GPU_FILE = (ROOT / "requirements-gpu.txt").read_text(encoding="utf-8")
# What it is asked is kept; then it either fails or brings a new version of one package, and another package.
PIP = """
import os, pathlib, sys
here = pathlib.Path(__file__).parent.parent
words = sys.argv[1:]
log = here / "asked.txt"
read = lambda flag: pathlib.Path(words[words.index(flag) + 1]).read_text()
log.write_text((log.read_text() if log.exists() else "") + f"{words[-2:]}\\n{read('-r')}\\n{read('-c')}\\n")
print("Collecting things")
if os.environ.get("PIP_FAILS"):
    sys.exit("ERROR: no network")
(here / "old_friend-1.0.dist-info").rename(here / "old_friend-2.0.dist-info")
(here / "old_friend-2.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\\nName: Old_Friend\\nVersion: 2.0\\n")
(here / "fresh-0.1.dist-info").mkdir()
(here / "fresh-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\\nName: fresh\\nVersion: 0.1\\n")
"""


class Colab:
    """A folder that plays /content, a course to clone, and a Python whose pip is a stand-in."""

    def __init__(self, home: Path):
        self.home, self.folder = home, home / "content" / "afina"
        self.folder.parent.mkdir()
        course = home / "course"
        for name, text in {
            "afina/__init__.py": "",
            "workshop/colab.py": (ROOT / "workshop" / "colab.py").read_text(encoding="utf-8"),
            "afina/runtime.py": "class Runtime:\n    @classmethod\n    def here(cls):\n        print('started')\n",
            "requirements-gpu.txt": GPU_FILE,
            "notebooks/aula.txt": "",
            "tasks/t01_clean_catalogue/t.txt": "",
        }.items():
            (course / name).parent.mkdir(parents=True, exist_ok=True)
            (course / name).write_text(text, encoding="utf-8")
        git = ["git", "-C", course, "-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "init", "-q", f"--initial-branch={BRANCH}", course], check=True)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-qm", "course"], check=True)
        self.site = home / "site"
        (self.site / "pip").mkdir(parents=True)
        (self.site / "pip" / "__init__.py").touch()
        (self.site / "pip" / "__main__.py").write_text(PIP)
        old = self.site / "old_friend-1.0.dist-info"
        old.mkdir()
        (old / "METADATA").write_text("Metadata-Version: 2.1\nName: Old_Friend\nVersion: 1.0\n")
        (home / "gitconfig").write_text(f'[url "file://{course}"]\n\tinsteadOf = {REPOSITORY}\n')

    def run(self, cell: str, **environment: str) -> subprocess.CompletedProcess:
        """Run a setup cell whose only change is where /content is; it prints the working folder at its end."""
        assert cell.count('"/content/afina"') == 1
        code = cell.replace("/content/afina", str(self.folder)) + "\nprint(os.getcwd())"
        known = os.environ | {
            "COLAB_RELEASE_TAG": "x",
            "PYTHONPATH": str(self.site),
            "GIT_CONFIG_GLOBAL": str(self.home / "gitconfig"),
            "PATH": os.environ["PATH"],
        }
        return subprocess.run(
            [sys.executable, "-c", code], cwd=self.home, env=known | environment, capture_output=True, text=True
        )

    def asked(self) -> str:
        return (self.site / "asked.txt").read_text()


@pytest.fixture
def machine(tmp_path):
    return Colab(tmp_path)


def test_the_cell_fetches_installs_once_and_starts(machine):
    first = machine.run(SETUP)
    assert first.returncode == 0, first.stderr
    assert "started" in first.stdout and first.stdout.rstrip().endswith(f"{machine.folder}/notebooks")
    assert "1 pacotes novos. Mudaram de versão: old-friend 1.0 → 2.0." in first.stdout
    assert f"['--editable', '{machine.folder}']" in machine.asked()
    assert "transformers==" in machine.asked() and "torch==" in machine.asked() and "numpy==" in machine.asked()
    (machine.folder / "mine.txt").touch()
    again = machine.run(SETUP)  # the session started again, or another lesson: nothing is fetched or installed
    assert again.returncode == 0 and "Preparando" not in again.stdout and "started" in again.stdout
    assert machine.asked().count("--editable") == 1 and (machine.folder / "mine.txt").exists()


def test_an_installation_that_failed_is_explained_and_tried_again(machine):
    failed = machine.run(SETUP, PIP_FAILS="1")
    assert failed.returncode != 0 and "started" not in failed.stdout
    assert "ERROR: no network" in failed.stderr and "rode a célula de novo" in failed.stderr
    again = machine.run(SETUP)
    assert again.returncode == 0 and "started" in again.stdout, again.stderr


def test_a_copy_that_is_already_there_is_used_as_it_is(machine):
    """How an unstamped fork is used: clone it to the same folder first."""
    subprocess.run(["git", "clone", "-q", machine.home / "course", machine.folder], check=True)
    (machine.folder / "afina" / "runtime.py").write_text(
        "class Runtime:\n    here = lambda: print('the fork started')\n"
    )
    assert "the fork started" in machine.run(SETUP).stdout


def test_a_task_opens_in_its_own_folder(machine):
    (cell,) = [cell for cell in tasks(ROOT, ["t01"])[0].cells if cell.id == "setup"]
    ran = machine.run(cell.source)
    assert ran.returncode == 0 and ran.stdout.rstrip().endswith("tasks/t01_clean_catalogue"), ran.stderr


def test_at_home_the_cell_fetches_nothing(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "COLAB_RELEASE_TAG"}
    code = SETUP.replace("/content/afina", str(tmp_path / "content"))
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert not (tmp_path / "content").exists()


def test_colab_keeps_its_own_torch_and_numpy():
    held = colab.constraints()
    assert "torch==2.13" in held
    assert "numpy==" in held


@pytest.mark.parametrize(("gpu", "wanted"), [(True, {"unsloth", "unsloth_zoo"}), (False, set())])
def test_unsloth_comes_only_with_a_gpu(gpu, wanted):
    lines = colab.requirements(GPU_FILE, gpu).splitlines()
    names = {re.split("[=<>[]", line)[0] for line in lines if line and not line.startswith("#")}
    assert names & {"unsloth", "unsloth_zoo"} == wanted
    assert {"transformers", "trl", "openai", "starlette"} <= names


@pytest.mark.parametrize(
    ("program", "has"),
    [(None, False), ("echo 'GPU 0: Tesla T4 (UUID: GPU-1)'", True), ("echo 'NVIDIA-SMI has failed'; exit 9", False)],
)
def test_a_gpu_is_one_that_the_driver_lists(program, has, tmp_path, monkeypatch):
    if program:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert colab.has_gpu() is has


def test_the_lists_of_what_colab_has_are_exact_and_hold_no_torch():
    for version in ("3.12", "3.13"):
        lines = (
            (ROOT / "workshop" / "colab_packages" / f"python-{version}.txt").read_text(encoding="utf-8").splitlines()
        )
        pins = [line for line in lines if not line.startswith("#")]
        assert len(pins) > 300 and all(re.fullmatch(r"[\w.-]+==[\w.+]+", pin) for pin in pins)
        assert not {"torch", "torchvision", "torchaudio"} & {pin.split("==")[0] for pin in pins}


def test_the_dev_container_is_json_and_its_commands_exist():
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    settings = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.M))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    assert set(re.findall(r"make ([a-z-]+)", text)) <= targets and settings["postCreateCommand"] == "make setup"
    assert "TORCH_ARGS" in text and "TORCH_ARGS ?=" in makefile
    image = (ROOT / ".devcontainer" / settings["build"]["dockerfile"]).read_text(encoding="utf-8")
    assert f" {settings['remoteUser']}" in image
    minor = int(re.search(r"python:3\.(\d+)", image)[1])
    assert re.search(
        rf"3\.{minor}\b", (ROOT / "README.md").read_text(encoding="utf-8")
    )  # a version that the course supports
    for name in settings["customizations"]["codespaces"]["openFiles"]:
        assert (ROOT / name).is_file()
    assert inspect.signature(cli.serve).parameters["port"].default in settings["forwardPorts"]
