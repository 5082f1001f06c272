"""`make stamp`: a copy of the course takes another address, none of the old one is left, and the gates hold there too."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from afina.errors import CourseError
from afina.runtime import course_root
from workshop import stamp
from workshop.notebooks import REPOSITORY, SETUP, renew_text

ROOT = course_root()
OLD = REPOSITORY.removeprefix("https://github.com/")
FORK, BRANCH = "https://github.com/escola-exemplo/curso.de-llm", "turma/2027"


def run(copy, *command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["PYTHONPATH"] = str(copy)
    return subprocess.run([sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True)


def files(root):
    """{path: bytes} of what git would track under a folder."""
    kept = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root): path.read_bytes() for path in kept}


def without_address(content):
    """A file's text with every address, old or new, in one form; notebooks and documents only."""
    text = content.decode()
    for name, branch in ((OLD, "main"), (FORK.removeprefix("https://github.com/"), BRANCH)):
        text = text.replace(f"{name}/blob/{branch}/", "HERE/blob/THERE/").replace(
            f"--branch={branch}", "--branch=THERE"
        )
        text = text.replace(name, "HERE")
    return re.sub(r" · \[A apresentação desta aula\]\([^)]*\)", "", text)  # the copy below has one deck only


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository, copied without git and stamped with another address and branch; one deck of slides stands for nine."""
    folder = tmp_path_factory.mktemp("fork") / "curso"
    tracked = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True, text=True
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file() and not re.match(r"pdf/(src/)?0[1-8]_.*\.(typ|py|pdf)$", name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    stamped = run(folder, "-m", "workshop.stamp", "git@github.com:escola-exemplo/curso.de-llm.git", "--branch", BRANCH)
    assert stamped.returncode == 0, stamped.stdout + stamped.stderr
    return folder


def test_none_of_the_old_address_is_left(copy):
    left = [str(path) for path, content in files(copy).items() if OLD.encode() in content]
    assert left == []
    assert f"{FORK.replace('github.com', 'colab.research.google.com/github')}/blob/{BRANCH}/notebooks/00" in (
        copy / "README.md"
    ).read_text(encoding="utf-8")


def test_nothing_else_changes(copy):
    for path, content in files(copy).items():
        before = (ROOT / path).read_bytes()
        if path.suffix in (".ipynb", ".md", ".yml", ".json", ".py", ".toml") and content != before:
            here, there = without_address(before), without_address(content)
            assert re.sub(r'BRANCH = ".*"', "", here) == re.sub(r'BRANCH = ".*"', "", there), path
        elif path.suffix != ".pdf":
            assert content == before, path


def test_the_gates_hold_in_the_copy(copy):
    checked = run(copy, "-m", "workshop.tasks", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    chosen = (
        "(front_door and not links_and_pictures) or passes_every_gate and (00 or 17)"  # the links lead to nine PDFs
    )
    tests = ["tests/test_front_door.py", "tests/workshop/test_gates.py", "-k", chosen]
    gates = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests)
    assert gates.returncode == 0, gates.stdout[-3000:]


@pytest.mark.parametrize(
    "text",
    [
        "https://github.com/voce/curso",
        "https://github.com/voce/curso/",
        "https://github.com/voce/curso.git\n",
        "http://github.com/voce/curso",
        "github.com/voce/curso",
        "git@github.com:voce/curso.git",
        "ssh://git@github.com/voce/curso.git",
        "https://ana:ghp_0123@github.com/voce/curso.git",
    ],
)
def test_an_address_in_any_of_its_forms(text):
    assert stamp.address(text) == "https://github.com/voce/curso"


@pytest.mark.parametrize(
    "text", ["", "https://gitlab.com/voce/curso", "/tmp/afina", "https://github.com/voce", "https://githubXcom/a/b"]
)
def test_what_colab_cannot_open_is_refused(text):
    with pytest.raises(CourseError, match="make stamp"):
        stamp.address(text)


def test_a_refusal_does_not_print_a_token():
    with pytest.raises(CourseError) as caught:
        stamp.address("https://ana:segredo@gitlab.com/voce/curso")
    assert "segredo" not in str(caught.value)


def test_the_address_is_read_from_git(tmp_path):
    with pytest.raises(CourseError, match="make stamp"):
        stamp.origin(tmp_path)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", "git@github.com:voce/curso.git"], check=True)
    assert stamp.address(stamp.origin(tmp_path)) == "https://github.com/voce/curso"


def test_a_branch_that_is_none_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(CourseError, match="ramo"):
        stamp.stamp(tmp_path, FORK, 'main"; import os #')


def test_new_prose_keeps_outputs_and_new_code_does_not():
    def book(prose, setup, code):
        cells = [nbformat.v4.new_markdown_cell(prose, id=f"p{len(prose)}")]
        cells += [nbformat.v4.new_code_cell(setup, id="setup"), nbformat.v4.new_code_cell(code, id="c")]
        return nbformat.v4.new_notebook(cells=cells)

    ran = book("antes", "rt = 1", "6 * 7")
    ran.cells[2].outputs = [nbformat.v4.new_output("stream", name="stdout", text="42\n")]
    assert not renew_text(ran, book("antes", "rt = 1", "6 * 8"))
    assert renew_text(ran, book("depois", SETUP, "6 * 7"))
    assert [cell.source for cell in ran.cells] == ["depois", SETUP, "6 * 7"]
    assert ran.cells[2].outputs[0].text == "42\n"
