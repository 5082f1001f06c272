"""The wheel stands alone: with its declared dependencies and nothing else, every verb works or names its extra."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from afina.cli import COMMANDS
from afina.runtime import course_root


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The wheel, built and unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(folder)]
    subprocess.run([*pip, str(course_root())], check=True, capture_output=True, cwd=folder)
    shutil.unpack_archive(next(folder.glob("afina-*.whl")), folder / "site", format="zip")
    return folder / "site"


def declared(requirements):
    """The installed distributions that these requirements bring along, without any extra that nobody asked for."""
    found, open_ = {}, [Requirement(line) for line in requirements]
    while open_:
        wanted = open_.pop()
        if wanted.name not in found and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
            found[wanted.name] = importlib.metadata.distribution(wanted.name)
            open_ += [Requirement(line) for line in found[wanted.name].requires or []]
    return found.values()


@pytest.fixture(scope="session")
def clean_room(site):
    """A folder with the wheel and links to what its declared dependencies are made of: what a clean environment would hold."""
    (metadata,) = site.glob("afina-*.dist-info/METADATA")
    lines = re.findall(r"^Requires-Dist: (.+)$", metadata.read_text(encoding="utf-8"), re.M)
    for distribution in declared(line for line in lines if "extra ==" not in line):
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    assert not (site / "torch").exists() and not (site / "nbformat").exists() and (site / "typer").exists()
    return site


@pytest.fixture
def run(clean_room, tmp_path):
    """Run `afina …` there; -S leaves out this environment's own packages."""
    work = tmp_path / "work"
    work.mkdir()
    environment = {
        "PYTHONPATH": str(clean_room),
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AFINA_OFFLINE": "1",
    }
    for name in ("SYSTEMROOT", "OPENBLAS_CORETYPE"):
        environment |= {name: os.environ[name]} if name in os.environ else {}

    def call(*words):
        command = [sys.executable, "-S", "-m", "afina.cli", *map(str, words)]
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        assert "não previmos" not in done.stderr, done.stderr
        return done

    call.work = work
    return call


def test_an_installed_package_carries_the_data_and_no_workshop(site, tmp_path):
    code = "from afina.runtime import course_root, build_folder; print(course_root()); print(build_folder())"
    environment = {**os.environ, "PYTHONPATH": str(site), "AFINA_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [str(site / "afina" / "_course"), str(tmp_path / "build")]
    assert (site / "afina" / "_course" / "data" / "README.md").is_file()
    assert not (site / "workshop").exists() and not (site / "tests").exists()


def test_what_needs_no_extra_works(run):
    assert "afina" in run("--version").stdout
    done = run("doctor")
    assert done.returncode == 0 and "torch ausente" in done.stdout and "não deu para saber" in done.stdout
    assert run("synthetic", "rows.json.gz", "--lines", 300).returncode == 0
    assert run("prep", "rows.json.gz", "--out", "clean").returncode == 0
    rows = [
        {"messages": [{"role": "user", "content": f"pergunta {n}"}, {"role": "assistant", "content": f"resposta {n}"}]}
        for n in range(12)
    ]
    (run.work / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert run("validate", "train.jsonl").returncode == 0
    assert "US$" in run("estimate", "train.jsonl").stdout
    assert run("jobs", "list").returncode == 0 and run("jobs", "clean").returncode == 0
    assert run("feedback", "list").returncode == 2
    assert "rede está desligada" in run("download", "--folder", "x").stderr


MISSING = {
    ("train", "gpt"): "afina[train]",
    ("train", "sft", "--check"): "afina[train]",
    ("describe", "model", "--title", "x"): "afina[train]",
    ("bert-steps", "--out", "x.json"): "afina[train]",
    ("serve", "model"): "afina[serve]",
    ("cloud",): "afina[cloud]",
    ("prep", "rows.json.gz", "--out", "y", "--ray", "auto"): "afina[cluster]",
    ("course",): "repositório",
    ("grade", "x", "--out", "y"): "repositório",
}


@pytest.mark.parametrize("words", MISSING, ids=" ".join)
def test_what_needs_an_extra_names_it_in_one_sentence(run, words):
    run("synthetic", "rows.json.gz", "--lines", 50)
    done = run(*words)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and MISSING[words] in done.stderr


def test_every_verb_was_tried():
    used = {words[0] for words in MISSING} | {
        "doctor",
        "synthetic",
        "prep",
        "validate",
        "estimate",
        "jobs",
        "feedback",
        "download",
    }
    assert used == set(COMMANDS)
