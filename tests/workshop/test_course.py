"""`make course` as a student meets it: lessons that pass, fail, die; and the pages."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from small_course import MEETS, add_lesson

from afina.errors import CourseError
from workshop import course


def test_a_failing_lesson_is_explained_and_the_others_still_run(small_course, capsys):
    assert course.main([]) == 1
    told = capsys.readouterr().out
    for part in (
        "00 · Passa",
        "✔ passou",
        "✘ falhou",
        "célula de código 2 (id boom)",
        'open("nada.json")',
        "FileNotFoundError",
        "git status",
    ):
        assert part in told
    assert "o kernel morreu" in told
    out = small_course / "build" / "course"
    page = (out / "00_passes.html").read_text(encoding="utf-8")
    assert 'alt="um &quot;ponto&quot;"' in page
    assert 'lang="pt-BR"' in page
    assert 'href="01_fails.html"' in page
    assert not [part for part in page.split('src="')[1:] if part.startswith("http")]
    index = (out / "index.html").read_text(encoding="utf-8")
    assert "1 de 3 aulas rodaram" in index
    assert "FileNotFoundError" in index
    executed = nbformat.read(out / "00_passes.ipynb", as_version=4)
    assert executed.cells[1].outputs[0].text == "42\n"


def test_some_lessons_by_number_and_an_unknown_one(small_course, capsys):
    assert course.main(["00"]) == 0
    assert "Falha" not in capsys.readouterr().out
    with pytest.raises(CourseError, match="07"):
        course.main(["07"])


def test_two_lessons_run_at_a_time_with_the_cores_shared(small_course, monkeypatch, capsys):
    monkeypatch.setattr(course, "AT_ONCE", 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    add_lesson(small_course, "03_one", MEETS.format(mine="um", other="outro"))
    add_lesson(small_course, "04_other", MEETS.format(mine="outro", other="um"))
    assert course.main(["03", "04"]) == 0  # each waits for the other
    assert "2 aulas por vez" in capsys.readouterr().out
    for name in ("03_one", "04_other"):
        executed = nbformat.read(small_course / "build" / "course" / f"{name}.ipynb", as_version=4)
        assert executed.cells[1].outputs[0].text == "1\n"


def test_the_longest_lesson_first_and_only_what_fits_in_memory(monkeypatch):
    def lesson(name, seconds, peak_mb):
        return course.Lesson(name, name, "", None, 1, {"seconds": seconds, "peak_mb": peak_mb})

    monkeypatch.setattr(course, "AT_ONCE", 2)
    available = 3000
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("", (), {"available": available * 1e6}))
    big, middle, small = lesson("big", 90, 5000), lesson("middle", 60, 2000), lesson("small", 5, 800)
    assert course.next_to_run([big, middle, small], []) is big  # alone, it may try
    assert course.next_to_run([big, small], [middle]) is small
    middle.run.peak_mb = 2000  # what it takes is taken: `available` says so already
    assert course.next_to_run([lesson("other", 40, 2900), small], [middle]).name == "other"
    assert course.next_to_run([big], [middle]) is None  # waits for the memory
    assert course.next_to_run([small], [middle, big]) is None  # both places are taken
    assert course.next_to_run([], []) is None


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send there")
def test_ctrl_c_leaves_no_kernel_behind(small_course):
    add_lesson(small_course, "03_waits", MEETS.format(mine="pid", other="nunca"))
    command = [sys.executable, "-c", "import sys; from workshop.course import main; sys.exit(main(['03']))"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=small_course)
    limit = time.monotonic() + 60
    while not (small_course / "pid").exists() or not (small_course / "pid").read_text():
        assert running.poll() is None and time.monotonic() < limit
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=60) != 0
    assert not psutil.pid_exists(int((small_course / "pid").read_text()))
