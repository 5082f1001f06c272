"""A child ends with its parent, says why it did not start, and Ctrl+C belongs to the parent."""

import os
import signal
import subprocess
import sys
import time

import pytest

from afina.child import Child, alive, listening
from afina.errors import CourseError

MODULE = """
import sys, time
from afina import child
from afina.errors import CourseError
asked = child.options()
if asked.get("refuse"):
    with child.refusing():
        raise CourseError("a porta está ocupada.", "Use outra.", "porta")
if asked.get("break"):
    with child.refusing():
        import threading
        threading.Thread(target=time.sleep, args=(60,)).start()  # no daemon: it would keep the process
        raise RuntimeError("quebrou no meio")
if asked.get("chatty"):
    print("Loading…", [1, 2], 17, sep="\\n", flush=True)
if asked.get("silent"):
    sys.stdout.close()
    __import__("os").close(1)
    time.sleep(60)
if asked.get("die"):
    sys.exit("faltou um pacote")
print("a remark", file=sys.stderr, flush=True)
child.tell({"asked": asked, "pid": __import__("os").getpid()})
child.wait_for_parent()
if asked.get("stubborn"):
    time.sleep(60)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "a_child.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    return "a_child"


def gone(pid, seconds=10):
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


def test_options_arrive_and_the_answer_comes_back(module):
    with Child(module, {"port": 0, "name": "açaí"}, "o servidor") as child:
        assert child.told["asked"] == {"port": 0, "name": "açaí"}
        assert "a remark" in child.log()
        process = child.process
    assert process.returncode == 0
    child.close()  # a second time does nothing


def test_a_refusal_is_raised_as_it_was(module):
    with pytest.raises(CourseError) as caught:
        Child(module, {"refuse": True}, "o servidor")
    assert (caught.value.problem, caught.value.where) == ("a porta está ocupada.", "porta")


@pytest.mark.parametrize(("options", "reason"), [({"die": True}, "faltou um pacote"), ({}, "No module named")])
def test_a_child_that_dies_says_its_last_words(module, options, reason):
    name = module if options else "no_such_module_anywhere"
    with pytest.raises(CourseError, match=f"o servidor não subiu .*{reason}"):
        Child(name, options, "o servidor")


def test_a_start_that_breaks_is_told_whatever_threads_run(module):
    with pytest.raises(CourseError, match=r"o servidor não subiu \(código 1: RuntimeError: quebrou no meio\)"):
        Child(module, {"break": True}, "o servidor")


def test_what_a_library_prints_is_not_the_answer(module):
    with Child(module, {"chatty": True}, "o servidor") as child:
        assert child.told["asked"] == {"chatty": True}


def test_a_child_that_closes_its_output_and_stays_is_killed(module, monkeypatch):
    monkeypatch.setattr("afina.child.PATIENCE", 0.3)
    with pytest.raises(CourseError, match="sem explicação"):
        Child(module, {"silent": True}, "o servidor")


@pytest.mark.parametrize("port", [-4, 65536, 99999])
def test_no_such_port(port):
    with pytest.raises(CourseError, match=f"não há porta {port}"):
        listening("127.0.0.1", port)


def test_a_child_that_does_not_leave_is_killed(module, monkeypatch):
    monkeypatch.setattr("afina.child.PATIENCE", 0.3)
    child = Child(module, {"stubborn": True}, "o servidor")
    pid = child.told["pid"]
    child.close()
    assert gone(pid)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_a_parent_that_was_killed(module, end):
    code = f"from afina.child import Child; import time\nprint(Child({module!r}, {{}}, 'x').told['pid'], flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.send_signal(end)
    parent.communicate()
    assert gone(pid)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_in_the_terminal_is_the_parents_to_handle(module):
    with Child(module, {}, "o servidor") as child:
        os.kill(child.told["pid"], signal.SIGINT)
        time.sleep(0.3)
        assert child.process.poll() is None


def test_alive_knows_this_process_and_no_dead_one():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert alive(os.getpid()) and alive(os.getppid()) and not alive(ended.pid) and not alive(0) and not alive(-1)
