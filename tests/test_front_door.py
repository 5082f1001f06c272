"""The front door keeps its promises: both READMEs, the measured minutes, links, the issue form, the map, the notebooks' sources."""

import re

import nbformat
import pytest

from afina import cli
from afina.runtime import course_root
from workshop.gates import text_link_problems
from workshop.notebooks import build, colab_link, minutes, read_measured, same_cells, sources
from workshop.tasks import tasks

ROOT = course_root()
READMES = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.en.md")]
LESSONS = [path.stem for path in sources(ROOT)]
DOCUMENTS = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("data/*.md"), *ROOT.glob("tasks/*.md")})


def commands(text):
    return re.findall(r"```(?:bash|powershell)\n(.*?)```", text, re.S) + re.findall(r"^\| `(afina [^`]+)`", text, re.M)


def lesson_rows(text):
    """(lesson, minutes, Colab link) of each row of the lesson table, in order."""
    return re.findall(
        r"^\| \[\d\d · [^\]]+\]\(notebooks/(\w+)\.ipynb\) \| .* \| (.*) \| \[\w+\]\((\S+)\) \|$", text, re.M
    )


def test_both_readmes_give_the_same_commands_and_lessons():
    portuguese, english = READMES
    assert commands(portuguese) == commands(english)
    assert len(commands(portuguese)) >= 6
    assert lesson_rows(portuguese) == lesson_rows(english)


def test_the_lesson_table_is_complete_and_measured():
    measured = read_measured(ROOT)
    expected = [(name, minutes(measured[name]["seconds"]), colab_link(name)) for name in LESSONS]
    assert lesson_rows(READMES[0]) == expected


def test_every_afina_command_of_the_readme_exists():
    assert {line.split()[1] for line in commands(READMES[0]) if line.startswith("afina ")} <= set(cli.COMMANDS)


@pytest.mark.parametrize("name", ["README.md", "README.en.md", "tasks/README.md"])
def test_the_gallery_shows_every_task(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for task in tasks(ROOT):
        place = f"{'' if name.startswith('tasks') else 'tasks/'}{task.folder.name}"
        assert f"| [{task.title.removeprefix('Tarefa ')}]({place}/{task.name}.ipynb) |" in text
        assert f"]({place}/solution.ipynb) |" in text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_pictures_of_documents(path):
    assert list(text_link_problems(path.read_text(encoding="utf-8"), path.parent, ROOT)) == []


def test_the_issue_form_knows_every_lesson():
    form = (ROOT / ".github" / "ISSUE_TEMPLATE" / "aula.yml").read_text(encoding="utf-8")
    assert [name for name in LESSONS if f'"{name}"' not in form] == []


@pytest.mark.parametrize("text", READMES, ids=["pt", "en"])
def test_the_readmes_show_the_map_that_the_first_lesson_shows(text):
    assert re.search(r"^!\[.{80,}\]\(workshop/diagrams/course_map\.svg\)$", text, re.M)


@pytest.mark.parametrize("name", LESSONS)
def test_each_notebook_is_its_source(name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    source = build(ROOT / "notebooks" / "src" / f"{name}.py", read_measured(ROOT).get(name))
    assert same_cells(source, notebook), "run `make notebooks`"


def test_torch_is_pinned_alike_everywhere():
    pin = re.search(r"^torch==\S+", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)[0]
    assert all(f"pip install {pin}" in text for text in READMES)


def test_gpu_pins_are_the_cpu_pins():
    cpu = set(re.findall(r"^[\w-]+==\S+", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M))
    gpu = set(re.findall(r"^[\w-]+==\S+", (ROOT / "requirements-gpu.txt").read_text(encoding="utf-8"), re.M))
    extra = {pin.split("==")[0] for pin in gpu - cpu}
    assert extra <= {"unsloth", "unsloth_zoo", "torchao"}  # the CPU set has no torchao
    assert not {"torch", "numpy"} & {pin.split("==")[0] for pin in gpu}
