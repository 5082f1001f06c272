"""Grade submissions of the course's tasks: each in its own room, hidden cases judged here, outside the student's kernel.

    afina grade SUBMISSIONS --out FOLDER       (make grade SUBMISSIONS=… OUT=…)

SUBMISSIONS is a folder of notebooks, `ana.ipynb` or `ana/t01.ipynb`. FOLDER receives `notas.csv` (one row a submission, one column a
criterion), `junit.xml`, `index.html` (the class) and `alunos/*.html` (one page a student).

How a submission runs: `workshop.tasks.assemble` puts its answers into the official notebook; a kernel runs it inside
`workshop.grade.sandbox`, with limits on time, memory, output, files and processes. A cell that hangs or kills the kernel is left out
and the rest runs again, so it costs only its own points. Then the hidden inputs of `key.py` go in and what comes out is compared here.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import html
import io
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from string import Template
from xml.etree import ElementTree

import nbformat
import psutil
import zmq
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

import afina
from afina.errors import CourseError
from afina.runtime import course_root, progress
from afina.teach.check import BLANK, PROBE_MIME, difference, shown
from workshop.notebooks import github_link, lesson_environment
from workshop.tasks import (
    LEVELS,
    NOT_PRINTED,
    SEED,
    Check,
    Hidden,
    Task,
    assemble,
    came_to_its_end,
    defined_names,
    tasks,
)

START_SECONDS = 60  # for a kernel to answer, on a busy machine
TOTAL_CELLS = 4  # a submission's whole time, in cells' time limits
RESTARTS = 3
MAX_PRINTED = 20_000  # characters kept of a cell's output
MAX_MESSAGE = 8_000_000  # bytes of one message from a kernel
MAX_PROCESSES = 64
MAX_NOTEBOOK = 20_000_000  # bytes
# Checks are imported before anyone can patch what they are made of; `exit()`, which would end the kernel after its cell, does nothing.
PRELUDE = "import afina.teach.check\nget_ipython().ask_exit = lambda: None\ndel afina"
FREE_UID = 64_000  # from here on, user ids that nothing else is likely to use
DONE, ERROR, HUNG, DEAD = "done", "error", "hung", "dead"


# --- the room --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Isolation:
    """How apart from the machine a kernel can run here. `sentence` is for the grader to read; empty when nothing is missing."""

    namespaces: bool = False
    become: bool = False  # an unprivileged user, because we are root
    sentence: str = ""


@cache
def isolation() -> Isolation:
    """The strongest isolation that this machine permits, tried with a real process."""
    if sys.platform != "linux":
        return Isolation(sentence=_WEAK.format("namespaces só existem em Linux"))
    root = os.getuid() == 0
    reason = ""
    for kind in (Isolation(True, True), Isolation(True, False), Isolation(False, True)):
        if kind.become and not root:
            continue
        with Room(kind, memory_mb=2000) as room:
            tried = subprocess.run(
                room.command([sys.executable, "-c", "import afina.teach.check, ipykernel, os; open('try', 'w').close()"]),
                cwd=room.folder, env=room.environment, capture_output=True, text=True,
            )  # fmt: skip
        if tried.returncode == 0:
            return kind if kind.namespaces else Isolation(False, True, _WEAK.format(reason))
        reason = reason or (tried.stderr.strip().splitlines() or ["sem motivo dito"])[-1]
    return Isolation(sentence=_WEAK.format(reason))


_WEAK = (
    "esta máquina não deixa isolar os kernels ({}). As respostas esperadas continuam fora deles e a rede fica com a guarda, mas um "
    "notebook pode ler os arquivos deste usuário. Para notas que contam, corrija em um Linux com namespaces ou em um contêiner."
)


class Room:
    """A fresh folder and the command line that locks a process into it. A context manager: at the end all of it is gone."""

    def __init__(self, kind: Isolation, memory_mb: float, slot: int = 0, covered: list[str] | None = None):
        self.kind, self.memory = kind, int(memory_mb * 1e6)
        self.uid = FREE_UID + slot if kind.become else None
        self.covered = covered or []

    def __enter__(self) -> Room:
        self._place = tempfile.TemporaryDirectory(prefix="afina-", ignore_cleanup_errors=True)
        base = Path(self._place.name).resolve()
        self.folder, self._root = base / "sala", base / "raiz"
        self.folder.mkdir()
        self._root.mkdir()
        if self.uid is not None:
            os.chmod(base, 0o711)
            os.chown(self.folder, self.uid, self.uid)
        return self

    def __exit__(self, *_) -> None:
        self._place.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """Built from nothing: no key or token of the grader's gets in."""
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "SYSTEMROOT", "TZ") if name in os.environ}
        lesson = lesson_environment()
        package = str(Path(afina.__file__).resolve().parents[1])
        python_path = os.pathsep.join([lesson.pop("PYTHONPATH").split(os.pathsep)[0], package])
        home = str(self.folder)
        return kept | lesson | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
            "PYTHONPATH": python_path, "HOME": home, "USERPROFILE": home, "IPYTHONDIR": f"{home}/.ipython",
            "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip

    def command(self, command: list[str]) -> list[str]:
        if sys.platform != "linux":
            return command
        package = Path(afina.__file__).resolve().parent
        course = course_root()
        system = [
            *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt"),
            *("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/ld.so.conf"),
            *("/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime", "/etc/fonts", "/etc/ssl", "/etc/mime.types"),
        ]
        python = [sys.prefix, sys.base_prefix, *(path for path in sys.path if path.endswith("site-packages"))]
        settings = {
            "namespaces": self.kind.namespaces,
            "uid": self.uid,
            "root": str(self._root),
            "writable": str(self.folder),
            "read_only": [*system, *python, str(package), str(course / "data"), str(course / "models")],
            "covered": {
                str(
                    package / f"{module.removeprefix('afina.').replace('.', '/')}.py"
                ): f"raise ImportError({_COVER!r})\n"
                for module in self.covered
            },
            "memory": self.memory,
            "file_size": 256_000_000,
            "processes": 512 if self.kind.become else _user_threads() + 512,
        }
        launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("sandbox.py"))]
        return [*launcher, json.dumps(settings), "--", *command]


_COVER = "este módulo é o gabarito da tarefa: escreva o seu"


def _user_threads() -> int:
    """Threads of this user now: on older systems RLIMIT_NPROC counts them all."""
    mine, total = os.getuid(), 0
    for process in psutil.process_iter(["uids", "num_threads"]):
        if process.info["uids"] and process.info["uids"].real == mine:
            total += process.info["num_threads"] or 0
    return total


# --- the kernel ------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What one cell did. `error` is a Portuguese sentence, or the exception's name and text."""

    status: str = DONE
    printed: str = ""
    error: str = ""
    probe: str | None = None
    seconds: float = 0.0


class Kernel:
    """A kernel in a room, that nothing it does can stop us from leaving. A context manager."""

    def __init__(self, room: Room):
        self.room = room
        self.killed = ""  # why the watcher ended it

    def __enter__(self) -> Kernel:
        self._start()
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def reset(self) -> None:
        """Forget the student's names, for many notebooks that are not out to break it. A twin that is open stays so."""
        self.run(
            "get_ipython().run_line_magic('reset_selective', '-f ^(?!_|cloud$|In$|Out$|get_ipython$|exit$|quit$)')",
            START_SECONDS,
        )

    def restart(self) -> None:
        self._stop()
        self._start()

    def _start(self) -> None:
        self.killed = ""
        self._run_folder = Path(tempfile.mkdtemp(prefix="k", dir=self.room.folder))
        if self.room.uid is not None:
            os.chown(self._run_folder, self.room.uid, self.room.uid)
        connection = str(self._run_folder / "c.json")
        # Unix sockets: files of the room, so they cross into a kernel that has no network
        where = {"transport": "ipc", "ip": str(self._run_folder / "s")} if sys.platform != "win32" else {}
        _, settings = write_connection_file(connection, **where)
        if self.room.uid is not None:
            os.chown(connection, self.room.uid, self.room.uid)
        command = [
            sys.executable,
            "-m",
            "ipykernel_launcher",
            "-f",
            connection,
            "--log-level=50",
            "--HistoryManager.enabled=False",
        ]
        self.process = subprocess.Popen(
            self.room.command(command), cwd=self.room.folder, env=self.room.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._context = zmq.Context()
        self._context.maxmsgsize = MAX_MESSAGE  # a message that fills our memory is not read
        self._context.linger = 0
        self.client = BlockingKernelClient(context=self._context)
        self.client.load_connection_info(settings)
        self.client.start_channels(stdin=False, hb=False)
        threading.Thread(target=self._watch, args=(self.process,), daemon=True).start()
        try:
            self._ready()
        except BaseException:
            self._stop()
            raise

    def _ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            self.client.kernel_info()
            with contextlib.suppress(queue.Empty):
                self.client.get_shell_msg(timeout=1)
                self.run(PRELUDE, START_SECONDS)
                return
        raise CourseError("um kernel não respondeu.", "Feche outros programas e corrija de novo.", where="afina grade")

    def _stop(self) -> None:
        _kill(self.process)
        self.client.stop_channels()
        self._context.destroy(linger=0)

    def _watch(self, process: subprocess.Popen) -> None:
        """Ten times a second, end a kernel whose family holds too much memory or too many processes."""
        while process.poll() is None:
            family = _family(process.pid)
            resident = 0
            for member in family:
                with contextlib.suppress(psutil.Error):
                    resident += member.memory_info().rss
            if resident > self.room.memory:
                self.killed = f"passou de {self.room.memory / 1e6:.0f} MB de memória"
            elif len(family) > MAX_PROCESSES:
                self.killed = f"criou mais de {MAX_PROCESSES} processos"
            if self.killed:
                _kill(process)
                return
            time.sleep(0.1)

    def run(self, code: str, seconds: float) -> Outcome:
        """Execute one cell. It returns within `seconds` plus a few, whatever the cell does."""
        started = time.monotonic()
        outcome = Outcome()
        message_id = self.client.execute(code, allow_stdin=False, stop_on_error=False)
        if not self._listen(message_id, outcome, started + seconds):
            if self.process.poll() is None:
                outcome.status, outcome.error = HUNG, f"passou de {seconds:.0f} s"
                if not self._interrupt(message_id):
                    _kill(self.process)
            if self.process.poll() is not None:
                outcome.error = outcome.error if outcome.status == HUNG else self.killed or "encerrou o kernel"
                outcome.status = DEAD
        outcome.seconds = time.monotonic() - started
        return outcome

    def _interrupt(self, message_id: str) -> bool:
        """Stop the running cell. True if the kernel is usable again."""
        if sys.platform == "win32":
            return False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        return self._listen(message_id, Outcome(), time.monotonic() + 2)

    def _listen(self, message_id: str, outcome: Outcome, deadline: float) -> bool:
        """Collect a cell's messages until it ends; False if it did not, or its kernel is gone."""
        replied = False
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                if self.process.poll() is not None or replied:
                    return replied
                with contextlib.suppress(Exception):  # an idle signal can be lost in a flood; the reply cannot
                    replied = self.client.get_shell_msg(timeout=0)["parent_header"].get("msg_id") == message_id
                continue
            except Exception:  # a kernel that was tampered with sends what no client can read
                continue
            with contextlib.suppress(AttributeError, KeyError, TypeError):
                if message["parent_header"].get("msg_id") == message_id and self._take(message, outcome):
                    return True
        return False

    @staticmethod
    def _take(message: dict, outcome: Outcome) -> bool:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream" and content["name"] == "stdout" and len(outcome.printed) < MAX_PRINTED:
            outcome.printed += content["text"][:MAX_PRINTED]
        elif kind == "display_data" and PROBE_MIME in content["data"]:
            outcome.probe = str(content["data"][PROBE_MIME])
        elif kind == "error":
            outcome.status = ERROR
            name, text = str(content["ename"]), str(content["evalue"])
            outcome.error = (
                text if name in ("NotYet", "NetworkBlocked", "CourseError") else f"parou com {name}: {text}"
            )[:1500]
        return kind == "status" and content["execution_state"] == "idle"


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _kill(process: subprocess.Popen) -> None:
    """The process and everything it started, by their ids."""
    family = _family(process.pid)
    if process.poll() is None and sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.wait()


# --- one submission --------------------------------------------------------------------------------------------------


@dataclass
class Mark:
    """One criterion of one submission: earned or not, and why not, in Portuguese."""

    check: Check
    earned: bool = False
    why: str = ""


@dataclass
class Result:
    """The outcome of one submission. `line` is one sentence that says how it went; `notes` what the student should know."""

    student: str
    file: str
    task: Task | None = None
    marks: list[Mark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    line: str = ""
    seconds: float = 0.0

    @property
    def points(self) -> int:
        return sum(mark.check.points for mark in self.marks if mark.earned)

    @property
    def lost(self) -> set[str]:
        return {mark.check.name for mark in self.marks if not mark.earned}


def grade_notebook(
    task: Task, submission: nbformat.NotebookNode, kernel: Kernel, seed: int = SEED, without: Collection[str] = ()
) -> tuple[list[Mark], list[str]]:
    """The marks of a submission, and notes for its student, run in a fresh `kernel`; the checks `without` are left out."""
    book, notes = assemble(task, submission)
    run = Steps(kernel, task.seconds)
    left_out = {f"check-{name}" for name in without}
    cells = {cell.id: cell for cell in book.cells if cell.id not in left_out}
    outcomes = {name: run.step(name, cell.source) for name, cell in cells.items()}
    for name, outcome in outcomes.items():
        if outcome.status != DONE and not name.startswith("check-"):
            notes.append(f"a célula {_cell_name(name)} {outcome.error}")
    hidden = task.hidden(seed)
    marks = []
    for check in task.checks:
        if check.name in without:
            continue
        seen = outcomes[f"check-{check.name}"]
        why = seen.error
        if not why and not came_to_its_end(cells[f"check-{check.name}"], seen.printed):
            why = NOT_PRINTED
        if not why and check.name in hidden:
            case = hidden[check.name]
            why = judge(case, run.step(f"hidden-{check.name}", probe_code(case)))
        marks.append(Mark(check, not why, why))
    return marks, notes


def _cell_name(name: str) -> str:
    return f"sua, número {int(name.removeprefix('own-')) + 1} do arquivo," if name.startswith("own-") else name


def probe_code(case: Hidden) -> str:
    inputs = json.dumps(case.inputs)
    return f"__import__('afina.teach.check', fromlist=['_']).probe({case.code!r}, {inputs!r}, globals())"


def judge(case: Hidden, outcome: Outcome) -> str:
    """What is wrong with the outcome of hidden cases, for the student to read; empty when it is right."""
    if outcome.probe is None:
        return f"nos casos escondidos, o código {outcome.error or 'não devolveu nada'}"
    try:
        answer = json.loads(outcome.probe)
        if "error" in answer:
            return f"nos casos escondidos, sua função parou com {answer['error']}"
        found = answer["found"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "nos casos escondidos, o que voltou não dá para ler"
    problem = difference(found, case.wanted, case.tolerance)
    if not problem:
        return ""
    rows = [case.inputs, found, case.wanted]
    if all(isinstance(row, list) for row in rows) and len({len(row) for row in rows}) == 1:
        for given, one, other in zip(*rows, strict=True):
            if single := difference(one, other, case.tolerance):
                return f"em um caso escondido, com a entrada {shown(given)}: {single}"
    return f"em um caso escondido, {problem}"


class Steps:
    """Runs cells in order. One that ends the kernel is left out and those before it run again, while time and patience last."""

    def __init__(self, kernel: Kernel, seconds: float):
        self.kernel, self.seconds = kernel, seconds
        self.deadline = time.monotonic() + TOTAL_CELLS * seconds
        self.restarts = 0
        self.kept: list[str] = []  # the code that made the kernel what it is

    def step(self, name: str, source: str) -> Outcome:
        left = self.deadline - time.monotonic()
        if self.restarts > RESTARTS or left <= 0:
            error = f"não rodou: o tempo total, {TOTAL_CELLS * self.seconds:.0f} s, acabou antes"
            return Outcome(HUNG, error=error if left <= 0 else "não rodou: o kernel já tinha caído vezes demais")
        ours = name.startswith(("check-", "hidden-"))
        outcome = self.kernel.run(source, min(self.seconds, left))
        if outcome.status == DEAD:
            self._revive()
        elif not ours and outcome.status != HUNG:
            self.kept.append(source)
        return outcome

    def _revive(self) -> None:
        """A fresh kernel, brought to where the last one was; what ends it again is forgotten too."""
        self.restarts += 1
        if self.restarts > RESTARTS:
            return
        self.kernel.restart()
        for source in list(self.kept):
            if self.kernel.run(source, max(1, min(self.seconds, self.deadline - time.monotonic()))).status == DEAD:
                self.kept.remove(source)
                self._revive()
                return


def grade_file(path: Path, student: str, only: list[Task], kind: Isolation, slot: int = 0) -> Result:
    """The result of one submitted file, whatever the file is."""
    started = time.monotonic()
    result = Result(student, path.name)
    try:
        book = read_submission(path)
        result.task = which_task(path, book, only)
        result.marks = [Mark(check, why="não foi corrigido") for check in result.task.checks]
        with Room(kind, result.task.memory_mb, slot, result.task.hides) as room, Kernel(room) as kernel:
            result.marks, result.notes = grade_notebook(result.task, book, kernel)
        result.line = summary(result)
    except CourseError as error:
        result.line = str(error)
    except Exception as error:  # one file, however strange, must not cost the others their marks
        result.line = f"o corretor não conseguiu com este arquivo: {type(error).__name__}: {error}"[:300]
    result.seconds = time.monotonic() - started
    return result


def read_submission(path: Path) -> nbformat.NotebookNode:
    """The notebook in a file. CourseError, in one line, for anything else."""
    remedy = "Entregue o arquivo .ipynb salvo pelo Jupyter ou pelo Colab."
    if path.suffix != ".ipynb":
        raise CourseError("não é um notebook.", remedy, where=path.name)
    if path.stat().st_size > MAX_NOTEBOOK:
        raise CourseError(
            f"tem mais de {MAX_NOTEBOOK // 1_000_000} MB.", "Limpe as saídas e salve de novo.", where=path.name
        )
    try:
        book = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        cells = [cell for cell in book.cells if cell.cell_type == "code"]
        if not all(isinstance(cell.source, str) for cell in cells):
            raise ValueError
    except (
        Exception
    ):  # broken JSON, another encoding, a list instead of an object, nesting without end: all are one thing here
        raise CourseError("não é um notebook que se possa ler.", remedy, where=path.name) from None
    if not cells:
        raise CourseError("não tem nenhuma célula de código.", remedy, where=path.name)
    return book


def which_task(path: Path, book: nbformat.NotebookNode, only: list[Task]) -> Task:
    """The task that a notebook answers: it says so itself, or its file's name does, or the names that it defines."""
    known = {task.name: task for task in only}
    said = book.metadata.get("afina", {})
    said = said.get("task") if isinstance(said, dict) else None
    named = re.findall(r"(?<![a-z0-9])t\d\d(?![0-9])", path.name.lower())
    for name in (said, *named):
        if isinstance(name, str) and name in known:
            return known[name]
    defined = set().union(*(defined_names(cell.source) for cell in book.cells if cell.cell_type == "code"))
    overlap = {task.name: len(defined & task.answer_names) for task in only}
    best = max(overlap, key=overlap.get)
    if not overlap[best]:
        raise CourseError("não sei de que tarefa é.", f"Ponha a tarefa no nome: t01_{path.name}.", where=path.name)
    return known[best]


def summary(result: Result) -> str:
    failed = [mark for mark in result.marks if not mark.earned]
    if not failed:
        return "tudo certo"
    if all(BLANK in mark.why for mark in failed) and not result.points:
        return "em branco"
    return f"{len(failed)} de {len(result.marks)} critérios por acertar"


# --- a class ---------------------------------------------------------------------------------------------------------


def find_submissions(folder: Path) -> list[tuple[str, Path]]:
    """(student, file) of everything handed in: `ana.ipynb`, or any file in a folder `ana/`."""
    if not folder.is_dir():
        raise CourseError("não é uma pasta.", "Dê a pasta com os notebooks entregues.", where=folder)
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not files:
        raise CourseError(
            "está vazia.", "Ponha nela os notebooks entregues: ana.ipynb, ou ana/t01.ipynb.", where=folder
        )
    return [(_student(path.relative_to(folder)), path) for path in files]


def _student(path: Path) -> str:
    if len(path.parts) > 1:
        return path.parts[0]
    return re.sub(r"(?i)[_-]t\d\d$|^t\d\d[_-]", "", path.stem) or path.stem


def grade_folder(folder: Path, only: list[Task] | None = None, jobs: int = 2) -> list[Result]:
    """Grade every file of a folder, `jobs` at a time, with a progress bar."""
    files = find_submissions(folder)
    only = only or tasks()
    kind = isolation()
    for task in only:
        task.hidden()  # a key that cannot be read stops here, not in the middle of a class
    slots: queue.SimpleQueue[int] = queue.SimpleQueue()
    for slot in range(jobs):
        slots.put(slot)

    def one(pair: tuple[str, Path]) -> Result:
        slot = slots.get()
        try:
            return grade_file(pair[1], pair[0], only, kind, slot)
        finally:
            slots.put(slot)
            bar.update(1)

    with progress(total=len(files), desc="corrigindo", unit=" arquivos") as bar, ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, files))


# --- reports ---------------------------------------------------------------------------------------------------------


def write_reports(results: list[Result], out: Path) -> None:
    """`notas.csv`, `junit.xml`, `index.html` and one page a student, each whole or not at all."""
    (out / "alunos").mkdir(parents=True, exist_ok=True)
    by_student: dict[str, list[Result]] = {}
    for result in results:
        by_student.setdefault(result.student, []).append(result)
    pages = {name: f"alunos/{_slug(name, number)}.html" for number, name in enumerate(by_student, 1)}
    _write(out / "notas.csv", _table(results))
    _write(out / "junit.xml", _junit(results))
    for name, own in by_student.items():
        _write(out / pages[name], student_page(name, own))
    _write(out / "index.html", class_page(results, pages))


def _slug(name: str, number: int) -> str:
    return f"{number:02d}-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-').lower()[:40] or 'aluno'}"


def _write(path: Path, text: str) -> None:
    aside = path.with_name(path.name + ".partial")
    aside.write_text(text, encoding="utf-8", newline="")
    os.replace(aside, path)


def _criteria(results: list[Result]) -> dict[str, tuple[Task, Check]]:
    found = {result.task.name: result.task for result in results if result.task}
    return {f"{name}.{check.name}": (found[name], check) for name in sorted(found) for check in found[name].checks}


def _table(results: list[Result]) -> str:
    file = io.StringIO()
    file.write("\ufeff")  # tells spreadsheets that this is UTF-8
    criteria = _criteria(results)
    writer = csv.writer(file)
    writer.writerow(["aluno", "arquivo", "tarefa", "pontos", "de", "segundos", "observação", *criteria])
    for result in results:
        earned = {f"{result.task.name}.{m.check.name}": m.check.points * m.earned for m in result.marks}
        texts = [_cell(text) for text in (result.student, result.file)]
        total = result.task.points if result.task else ""
        row = [
            *texts,
            result.task.name if result.task else "",
            result.points,
            total,
            round(result.seconds, 1),
            _cell(result.line),
        ]
        writer.writerow([*row, *(earned.get(name, "") for name in criteria)])
    return file.getvalue()


def _cell(text: str) -> str:
    """A spreadsheet runs a cell that begins like a formula."""
    return f"'{text}" if text[:1] in "=+-@" else text


def _junit(results: list[Result]) -> str:
    root = ElementTree.Element("testsuites")
    for result in results:
        failed = [mark for mark in result.marks if not mark.earned]
        name = _xml(f"{result.student}/{result.file}")
        counts = {
            "tests": str(max(1, len(result.marks))),
            "failures": str(len(failed)),
            "errors": str(int(not result.marks)),
        }
        suite = ElementTree.SubElement(root, "testsuite", name=name, time=f"{result.seconds:.1f}", **counts)
        if not result.marks:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name="arquivo")
            ElementTree.SubElement(case, "error", message=_xml(result.line))
        for mark in result.marks:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=mark.check.name)
            places = ElementTree.SubElement(case, "properties")
            ElementTree.SubElement(places, "property", name="pontos", value=str(mark.check.points))
            if not mark.earned:
                ElementTree.SubElement(case, "failure", message=_xml(mark.why))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


STYLE = """
:root { --ink:#22303C; --soft:#5B6B78; --line:#DCE3E8; --blue:#0072B2; --good:#00735A; --bad:#B23A00; --paper:#fff; --mist:#F4F7F9 }
@media (prefers-color-scheme: dark) {
  :root { --ink:#E6EDF3; --soft:#A3B3C0; --line:#32414D; --blue:#6CC0F0; --good:#4FD1A9; --bad:#FF9A66; --paper:#141B21; --mist:#1C252D } }
* { box-sizing:border-box } body { margin:0; background:var(--mist); color:var(--ink); font:17px/1.55 system-ui,sans-serif }
main { max-width:56rem; margin:0 auto; padding:3rem 1.2rem 4rem } h1 { font-size:2rem; line-height:1.15; margin:0 0 .4rem }
h2 { font-size:1.3rem; margin:2.4rem 0 .2rem } .lead { color:var(--soft); margin:0 0 1.2rem } a { color:var(--blue) }
ul.marks { list-style:none; margin:0; padding:0; display:grid; gap:.7rem }
ul.marks li { background:var(--paper); border:1px solid var(--line); border-left:6px solid var(--good) }
ul.marks li { border-radius:10px; padding:.8rem 1.1rem }
ul.marks li.lost { border-left-color:var(--bad) } .head { display:flex; gap:.8rem; justify-content:space-between; font-weight:600 }
.level { font-weight:400; color:var(--soft); font-size:.9rem } ul.marks p { margin:.35rem 0 0; overflow-wrap:anywhere }
.help { color:var(--soft); font-size:.93rem } .notes { color:var(--soft); overflow-wrap:anywhere }
.good { color:var(--good) } .bad { color:var(--bad) }
table { border-collapse:collapse; width:100%; background:var(--paper); border:1px solid var(--line); border-radius:10px }
th, td { text-align:left; padding:.45rem .8rem; border-bottom:1px solid var(--line) } td.n { text-align:right; white-space:nowrap }
.bar { background:var(--line); border-radius:4px; height:.7rem; min-width:8rem }
.bar i { display:block; height:100%; border-radius:4px; background:var(--blue) }
@media print { body { background:#fff } li, tr { break-inside:avoid } }
"""
PAGE = Template("""<!doctype html>
<html lang="pt-BR"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title><style>$style</style></head><body><main>
$body
</main></body></html>
""")


def _page(title: str, body: str) -> str:
    return PAGE.substitute(title=html.escape(title), style=STYLE, body=body)


def _marked(text: str) -> str:
    """Text for HTML, first letter raised, full stop at the end, `esperava` and `encontrei` where the eye finds them."""
    text = html.escape(text[:1].upper() + text[1:])
    text += "" if text.endswith((".", "!", "?")) else "."
    return re.sub(r"\b(esperava|encontrei)\b", r"<strong>\1</strong>", text)


def student_page(name: str, results: list[Result]) -> str:
    """What a student gets back: each criterion with what was expected, what was found and which lesson helps."""
    parts = [f"<h1>{html.escape(name)}</h1>", f'<p class="lead">{sum(r.points for r in results)} pontos ao todo.</p>']
    for result in results:
        if result.task is None:
            parts.append(f"<h2>{html.escape(result.file)}</h2><p class='bad'>{_marked(result.line)}</p>")
            continue
        parts.append(f"<h2>{html.escape(result.task.title)}</h2>")
        parts.append(f'<p class="lead">{result.points} de {result.task.points} pontos: {html.escape(result.line)}.</p>')
        parts.append('<ul class="marks">' + "".join(_mark(mark) for mark in result.marks) + "</ul>")
        if result.notes:
            notes = "".join(f"<li>{_marked(note)}</li>" for note in result.notes)
            parts.append(f'<div class="notes"><p>O que o corretor notou:</p><ul>{notes}</ul></div>')
    return _page(f"{name} · Afina", "\n".join(parts))


def _mark(mark: Mark) -> str:
    check = mark.check
    sign = '<span class="good">✔</span>' if mark.earned else '<span class="bad">✘</span>'
    points = f"{check.points if mark.earned else 0} de {check.points}"
    head = f'<div class="head"><span>{sign} {html.escape(check.title)} <span class="level">{LEVELS[check.level]}</span></span>'
    text = f"{head}<span>{points}</span></div>"
    if not mark.earned:
        link = f'<a href="{github_link(check.help_path)}">{html.escape(check.help)}</a>'
        text += f'<p>{_marked(mark.why)}</p><p class="help">Para rever: {link}.</p>'
    return f"<li{'' if mark.earned else ' class=lost'}>{text}</li>"


def class_page(results: list[Result], pages: dict[str, str]) -> str:
    """The class at a glance: who has how many points, and which criteria need another lesson."""
    graded = [result for result in results if result.marks]
    parts = [
        "<h1>Correção da turma</h1>",
        f'<p class="lead">{len(results)} arquivos de {len(pages)} estudantes; sem correção: {len(results) - len(graded)}. '
        'A tabela está em <a href="notas.csv">notas.csv</a>.</p>',
        "<table><thead><tr><th>estudante</th><th>arquivo</th><th>pontos</th><th>como foi</th></tr></thead><tbody>",
    ]
    for result in results:
        points = f"{result.points} de {result.task.points}" if result.task else "0"
        who = f'<a href="{pages[result.student]}">{html.escape(result.student)}</a>'
        line = html.escape(result.line)
        parts.append(
            f"<tr><td>{who}</td><td>{html.escape(result.file)}</td><td class=n>{points}</td><td>{line}</td></tr>"
        )
    parts.append("</tbody></table>")
    earned = Counter(f"{r.task.name}.{m.check.name}" for r in graded for m in r.marks if m.earned)
    total = Counter(f"{r.task.name}.{m.check.name}" for r in graded for m in r.marks)
    task = None
    for name, (own, check) in _criteria(graded).items():
        if own is not task:
            parts.append("</tbody></table>" if task else "")
            task = own
            parts.append(f"<h2>{html.escape(task.title)}: quem acertou o quê</h2><table><tbody>")
        share = earned[name] / total[name]
        bar = f'<div class="bar" role="img" aria-label="{share:.0%}"><i style="width:{share:.0%}"></i></div>'
        link = f'<a href="{github_link(check.help_path)}">{html.escape(check.help)}</a>'
        count = f"{earned[name]} de {total[name]}"
        parts.append(
            f"<tr><td>{html.escape(check.title)}</td><td>{bar}</td><td class=n>{count}</td><td>{link}</td></tr>"
        )
    parts.append("</tbody></table>" if task else "")
    return _page("Correção da turma · Afina", "\n".join(parts))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="afina grade",
        description="Corrige uma pasta de tarefas entregues: notas, páginas de retorno e o resumo da turma.",
    )
    parser.add_argument(
        "submissions", type=Path, metavar="PASTA", help="os notebooks entregues: ana.ipynb, ou ana/t01.ipynb"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="PASTA", help="onde escrever notas.csv e as páginas")
    parser.add_argument("--task", action="append", metavar="tNN", help="corrige só esta tarefa; pode repetir")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="quantos por vez (2)")
    args = parser.parse_args(argv)
    only = tasks(wanted=args.task)
    if not only:
        raise CourseError("não há tarefas aqui.", "Rode de dentro do repositório do curso.", where="afina grade")
    if warning := isolation().sentence:
        print(f"aviso: {warning}", file=sys.stderr)
    results = grade_folder(args.submissions, only, max(1, args.jobs))
    write_reports(results, args.out)
    for result in results:
        points = f"{result.points:>3} de {result.task.points}" if result.task else "  –"
        print(f"{points:<9} {result.student}: {result.line}")
    print(f"\nAbra {(args.out / 'index.html').resolve().as_uri()}")
    return 0 if all(result.marks for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
