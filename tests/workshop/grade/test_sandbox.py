"""The sandbox by itself, as a command: limits, what is shown, and how its end is told."""

import json
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

import afina
from workshop.grade import sandbox
from workshop.grade.room import COVER, Isolation, Room, isolation

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a sandbox of Linux")
namespaces = pytest.mark.skipif(not isolation().namespaces, reason="the grader says so itself where it cannot isolate")


def run(code, **settings):
    settings = {"namespaces": False, "uid": None, "memory": 10**9, "file_size": 10**6, "processes": 5000} | settings
    command = [sys.executable, "-I", "-S", sandbox.__file__, json.dumps(settings), "--", sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True)


def test_limits_hold_in_the_process_and_nothing_gives_more_rights_back():
    code = """
import resource, sys
for name in ("CORE", "DATA", "FSIZE", "NPROC"):
    print(*resource.getrlimit(getattr(resource, f"RLIMIT_{name}")))
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("NoNewPrivs")])
"""
    said = run(code).stdout
    assert said == "0 0\n1000000000 1000000000\n1000000 1000000\n5000 5000\n['1']\n"


def test_a_file_that_grows_too_large_and_a_list_that_does_are_refused(tmp_path):
    grow = f"open({str(tmp_path / 'x')!r}, 'wb').write(bytes(2_000_000))"
    assert "File too large" in run(grow).stderr and (tmp_path / "x").stat().st_size <= 10**6
    assert "MemoryError" in run("bytearray(400_000_000)", memory=200_000_000).stderr


def test_the_end_of_the_process_is_the_end_of_the_sandbox():
    assert run("import sys; sys.exit(7)").returncode == 7


@namespaces
@pytest.mark.parametrize(
    ("code", "wanted"), [("import sys; sys.exit(7)", 7), ("import resource; resource.getrlimit(-1)", 1)]
)
def test_in_namespaces_too_the_exit_code_comes_through(code, wanted):
    with Room(isolation(), 600) as room:
        assert room.start([sys.executable, "-c", code], stderr=subprocess.DEVNULL).wait(60) == wanted


@namespaces
@pytest.mark.parametrize("kind", [isolation(), Isolation(namespaces=True)], ids=["the best", "user namespace"])
def test_a_covered_module_shows_the_cover_and_nothing_compiled_of_it(kind):
    code = """
import os, afina.data
folder = os.path.dirname(afina.data.__file__)
print(open(f"{folder}/shop.py").read(), end="")
print(os.listdir(f"{folder}/__pycache__"))
"""
    py_compile.compile(Path(afina.__file__).with_name("data") / "shop.py")
    with Room(kind, 600, covered=["afina.data.shop"]) as room:
        said, _ = room.start([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).communicate()
    assert said == f"raise ImportError({COVER!r})\n[]\n"


@namespaces
def test_there_is_no_network_and_no_other_process():
    code = """
import os, socket
print(socket.if_nameindex(), os.getpid(), [name for name in os.listdir("/proc") if name.isdigit()])
"""
    with Room(isolation(), 600) as room:
        said, _ = room.start([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).communicate()
    assert said == "[(1, 'lo')] 1 ['1']\n"
