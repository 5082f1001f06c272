"""The room: closed, whatever kind of room the machine permits, and gone afterwards."""

import json
import os
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from grade_base import submission

import afina
from afina.runtime import course_root
from workshop.grade import room as rooms
from workshop.grade.kernel import DONE, Kernel, family
from workshop.grade.marks import grade_file
from workshop.grade.room import Isolation, Room, covers, isolation
from workshop.tasks import tasks

ROOT = course_root()
KINDS = {"no isolation": Isolation(), "user namespace": Isolation(namespaces=True)}
LOOK = f"""
import importlib.util, json, os, pathlib, sys
root = pathlib.Path({str(ROOT)!r})

def opened(path):
    try:
        return len(os.listdir(path)) if path.is_dir() else len(path.read_bytes())
    except OSError:
        return None

seen = {{name: opened(root / name) for name in json.loads(NAMES)}}
seen["listed"] = sorted(os.listdir(root))
seen["afina"] = opened(root / "afina" / "teach" / "check.py")
seen["workshop found"] = importlib.util.find_spec("workshop") is not None
seen["workshop loaded"] = [name for name in sys.modules if name.startswith("workshop")]
seen["tasks anywhere"] = [str(path) for path in root.rglob("key.py")] + [str(path) for path in root.rglob("solution.ipynb")]
print(json.dumps(seen))
"""


@pytest.mark.skipif(not isolation().namespaces, reason="the grader says so itself where it cannot isolate")
@pytest.mark.parametrize("kind", [isolation(), Isolation(namespaces=True)], ids=["the best", "user namespace"])
def test_a_room_shows_the_package_its_data_and_models_and_nothing_else_of_the_course(kind):
    secret = [path for task in sorted((ROOT / "tasks").glob("t[0-9]*")) for path in task.iterdir()]
    secret += [*(ROOT / "workshop").rglob("*.py"), ROOT / "workshop", ROOT / "tasks", ROOT / "tests", ROOT / ".git"]
    names = [str(path.relative_to(ROOT)) for path in secret if path.exists()]
    assert {"workshop/grade/marks.py", "tasks/t01_clean_catalogue/key.py", "tests"} <= set(names)
    with Room(kind, 600) as room, Kernel(room) as kernel:
        outcome = kernel.run(f"NAMES = {json.dumps(names)!r}" + LOOK, 30)
    assert outcome.status == DONE, outcome.error
    seen = json.loads(outcome.printed)
    assert {name: seen[name] for name in names} == dict.fromkeys(names)
    assert seen["afina"] and not seen["workshop found"] and seen["workshop loaded"] == seen["tasks anywhere"] == []
    environment = {part for part in (sys.prefix, sys.base_prefix) if part.startswith(str(ROOT))}
    assert set(seen["listed"]) == {
        "afina",
        "data",
        "models",
        *(os.path.relpath(part, ROOT).split("/")[0] for part in environment),
    }


def test_what_the_kernel_imports_of_the_course_needs_no_workshop():
    code = "import sys, afina.teach.check, afina.offline.sitecustomize; print([m for m in sys.modules if m.startswith('workshop')])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "[]\n", run.stderr


@pytest.mark.skipif(not isolation().namespaces, reason="the grader says so itself where it cannot isolate")
def test_what_a_room_shows_can_only_be_read_even_by_its_owner():
    code = f"""
for path in ({afina.__file__!r}, {str(ROOT / "data" / "clubes.json")!r}):
    try:
        open(path, "a")
    except OSError as error:
        print(error.strerror)
open("mine.txt", "w").write("x")
"""
    with Room(Isolation(namespaces=True), 600) as room:
        said, _ = room.start([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).communicate()
        assert said == "Read-only file system\n" * 2 and (room.folder / "mine.txt").read_text() == "x"


def test_the_environment_of_a_room_is_built_from_nothing(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("PYTHONPATH", "/home/someone")
    with Room(Isolation(), 600) as room:
        environment = room.environment
        assert environment["HOME"] == str(room.folder) and environment["AFINA_OFFLINE"] == "1"
    assert "secret" not in str(environment) and "someone" not in str(environment)


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
        room = Room(isolation(), 600)
        with room, Kernel(room) as kernel:
            outcome = kernel.run(escape, 20)
            names = [process.name() for process in family(kernel.process.pid)]
    finally:
        del os.environ["SECRET"]
    assert outcome.status == DONE and "sleep" in names, (outcome, names)
    assert "'home'" not in outcome.printed and " False " in outcome.printed and "None" in outcome.printed
    assert not room.folder.exists()
    time.sleep(0.2)
    running = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not any((command or [])[:2] == ["sleep", "86399"] for command in running)


@pytest.mark.parametrize("kind", KINDS)
def test_weaker_isolation_grades_the_same(kind, task, tmp_path):
    if KINDS[kind].namespaces and not isolation().namespaces:
        pytest.skip("no namespaces here")
    path = tmp_path / "ana.ipynb"
    nbformat.write(submission(task, half="import os\nos._exit(0)"), str(path))
    result = grade_file(path, "ana", [task], KINDS[kind])
    assert result.points == 2, result


def test_a_machine_that_cannot_isolate_has_its_reason_in_the_sentence(monkeypatch):
    monkeypatch.setattr(rooms, "_try", lambda kind: f"namespaces {kind.namespaces}")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    kind = isolation.__wrapped__()
    assert not kind.namespaces and not kind.become and "(namespaces True)" in kind.sentence
    monkeypatch.setattr(rooms, "_try", lambda kind: "" if not kind.namespaces else "recusado")
    assert isolation.__wrapped__() == Isolation(False, True, rooms.WEAK.format("recusado"))


def test_what_the_tasks_hide_is_there_to_be_hidden():
    for task in tasks(ROOT):
        assert len(covers(task.hides)) == len(task.hides)
    with pytest.raises(ValueError, match=r"hides afina\.data\.nothing: no such file"):
        covers(["afina.data.shop", "afina.data.nothing"])
