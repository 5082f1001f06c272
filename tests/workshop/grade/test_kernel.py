"""The kernel: whatever a cell does, it comes back, says what happened, and can go on."""

import sys
import time

import psutil
import pytest

from workshop.grade.kernel import DEAD, DONE, ERROR, HUNG, MAX_PRINTED, RESTARTS, Kernel, Outcome, Steps, take
from workshop.grade.room import Isolation, Room


@pytest.fixture(scope="module")
def kernel():
    with Room(Isolation(), 600) as room, Kernel(room) as one:
        yield one


def test_a_cell_that_ends_gives_what_it_printed(kernel):
    outcome = kernel.run("import sys\nprint('oi', file=sys.stderr)\nprint('dois'); print('três')\n7", 20)
    assert outcome == Outcome(DONE, "dois\ntrês\n")


def test_an_error_is_named_and_the_kernel_goes_on(kernel):
    assert kernel.run("1 / 0", 20) == Outcome(ERROR, error="parou com ZeroDivisionError: division by zero")
    assert kernel.run("from afina.teach.check import expect\nexpect(1, 2, 'um')", 20).error.startswith("um: esperava 2")
    assert kernel.run("exit()\nprint(1)", 20).printed == "1\n"


def test_a_cell_that_hangs_is_stopped_and_its_names_stay(kernel):
    outcome = kernel.run("kept = 3\nwhile True: pass", 1)
    assert outcome.status == HUNG and outcome.error == "passou de 1 s"
    assert kernel.run("print(kept)", 20).printed == "3\n"
    kernel.reset()
    assert "NameError" in kernel.run("kept", 20).error


def test_a_kernel_that_died_says_so_and_starts_again(kernel):
    first = kernel.process.pid
    assert kernel.run("import os\nos._exit(3)", 20) == Outcome(DEAD, error="encerrou o kernel")
    kernel.restart()
    assert kernel.process.pid != first and kernel.run("print(1)", 20).printed == "1\n"


def test_the_hidden_cases_answer_comes_by_its_own_road(kernel):
    outcome = kernel.run("import afina.teach.check as c\nc.probe('[2 * n for n in inputs]', '[1, 2]', globals())", 20)
    assert outcome.probe == '{"found": [2, 4]}' and outcome.printed == ""


FILL = "import mmap\nshared = mmap.mmap(-1, 900_000_000)\nfor _ in range(9): shared.write(bytes(100_000_000))\n"
BREED = "import subprocess\nborn = [subprocess.Popen(['sleep', '600'], start_new_session=True) for _ in range(80)]\n"
WAIT = "import time\ntime.sleep(60)"


@pytest.mark.skipif(sys.platform == "win32", reason="sleep is a program of Unix")
@pytest.mark.parametrize(
    ("cell", "why"), [(FILL, "passou de 600 MB de memória"), (BREED, "criou mais de 64 processos")]
)
def test_a_kernel_that_takes_too_much_is_ended_and_told_why(cell, why, kernel):
    kernel.restart()
    assert kernel.run(cell + WAIT, 30) == Outcome(DEAD, error=why)
    kernel.restart()


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(sys.platform == "win32", reason="sleep is a program of Unix")
def test_what_a_kernel_started_ends_with_it(kernel):
    printed = kernel.run(BREED.replace("80", "3") + "print(*(one.pid for one in born))", 20).printed
    born = [int(pid) for pid in printed.split()]
    assert len(born) == 3 and all(map(runs, born))
    kernel.restart()
    time.sleep(0.5)
    assert not any(map(runs, born))


def test_a_message_that_would_fill_our_memory_is_not_read(kernel):
    assert kernel.run("print('x' * 9_000_000)", 20).printed == ""
    kernel.restart()
    assert kernel.run("print(1)", 20).printed == "1\n"


# --- messages --------------------------------------------------------------------------------------------------------


def message(kind, **content):
    return {"msg_type": kind, "content": content}


def test_a_flood_is_cut_and_an_errors_text_too():
    outcome = Outcome()
    for _ in range(3):
        assert not take(message("stream", name="stdout", text="x" * 3 * MAX_PRINTED), outcome)
    assert not take(message("error", ename="ValueError", evalue="y" * 9000), outcome)
    assert outcome.printed == "x" * MAX_PRINTED and len(outcome.error) == 1500 and outcome.status == ERROR


@pytest.mark.parametrize("name", ["NotYet", "NetworkBlocked", "CourseError"])
def test_what_the_course_says_is_shown_as_it_is(name):
    outcome = Outcome()
    take(message("error", ename=name, evalue="esperava 1."), outcome)
    assert outcome.error == "esperava 1."


def test_only_idle_ends_a_cell():
    assert take(message("status", execution_state="idle"), Outcome())
    assert not take(message("status", execution_state="busy"), Outcome())
    assert not take(message("display_data", data={"text/plain": "1"}), Outcome())


# --- one cell after the other ----------------------------------------------------------------------------------------


class FakeKernel:
    """Runs nothing; a cell's text is what becomes of it."""

    def __init__(self):
        self.said, self.restarts = [], 0

    def run(self, source, seconds):
        self.said.append(source)
        return Outcome(DEAD if source == "dies" else HUNG if source == "hangs" else DONE)

    def restart(self):
        self.restarts += 1
        self.said.append("--")


def test_after_a_death_the_cells_before_it_run_again_and_no_check():
    kernel = FakeKernel()
    steps = Steps(kernel, 10)
    for name, source in (
        ("own-1", "a"),
        ("check-x", "c"),
        ("answer-h", "hangs"),
        ("own-2", "b"),
        ("answer-d", "dies"),
        ("own-3", "e"),
    ):
        steps.step(name, source)
    assert kernel.said == ["a", "c", "hangs", "b", "dies", "--", "a", "b", "e"]


def test_a_kernel_that_keeps_dying_is_given_up():
    kernel = FakeKernel()
    steps = Steps(kernel, 10)
    said = [steps.step("answer-a", "dies") for _ in range(RESTARTS + 2)]
    assert kernel.restarts == RESTARTS and said[-1].status == HUNG and "caído vezes demais" in said[-1].error


def test_a_submission_has_a_total_time():
    steps = Steps(FakeKernel(), 20)
    steps.deadline = 0
    assert steps.step("own-1", "a").error == "não rodou: o tempo total, 80 s, acabou antes"
