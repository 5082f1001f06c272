"""A kernel in a room, that nothing it does can stop us from leaving; and a notebook's cells, run in it one after the other."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import zmq
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from afina.errors import CourseError
from afina.ptbr import number
from afina.teach.check import PROBE_MIME
from workshop.grade.room import Room

DONE, ERROR, HUNG, DEAD = "done", "error", "hung", "dead"  # what became of a cell; DEAD: its kernel, too

START_SECONDS = 60  # for a kernel to answer, on a busy machine
TOTAL_CELLS = 4  # a submission's whole time, in cells' time limits
RESTARTS = 3
MAX_PRINTED = 20_000  # characters kept of a cell's output
MAX_ERROR = 1_500  # characters kept of an error's text
MAX_MESSAGE = 8_000_000  # bytes of one message from a kernel
MAX_PROCESSES = 64
# Checks are imported before anyone can patch what they are made of; `exit()`, which would end the kernel after its cell, does nothing.
PRELUDE = "import afina.teach.check\nget_ipython().ask_exit = lambda: None\ndel afina"
FORGET = "get_ipython().run_line_magic('reset_selective', '-f ^(?!_|cloud$|In$|Out$|get_ipython$|exit$|quit$)')"
OURS = ("NotYet", "NetworkBlocked", "CourseError")  # exceptions whose text a student reads as it is


@dataclass
class Outcome:
    """What one cell did. `error` is a Portuguese sentence, or the exception's name and text."""

    status: str = DONE
    printed: str = ""
    error: str = ""
    probe: str | None = None


class Kernel:
    """A kernel in a room. A context manager."""

    process: subprocess.Popen
    client: BlockingKernelClient

    def __init__(self, room: Room):
        self.room = room

    def reset(self) -> None:
        """Forget the student's names, for many notebooks that are not out to break it. A twin that is open stays so."""
        self.run(FORGET, START_SECONDS)

    def restart(self) -> None:
        self.__exit__()
        self.__enter__()

    def __enter__(self) -> Kernel:
        self.killed = ""  # why the watcher ended it
        folder = Path(tempfile.mkdtemp(prefix="k", dir=self.room.folder))
        self.room.give(folder)
        connection = folder / "c.json"
        # Unix sockets: files of the room, so they cross into a kernel that has no network
        transport, ip = ("ipc", str(folder / "s")) if sys.platform != "win32" else ("tcp", "")
        _, settings = write_connection_file(str(connection), transport=transport, ip=ip)
        self.room.give(connection)
        self.process = self.room.start(
            [sys.executable, "-m", "ipykernel_launcher", "-f", str(connection), "--log-level=50", "--HistoryManager.enabled=False"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._context: zmq.Context = zmq.Context()
        self._context.maxmsgsize = MAX_MESSAGE  # a message that fills our memory is not read
        self._context.linger = 0
        self.client = BlockingKernelClient(context=self._context)
        self.client.load_connection_info(settings)
        self.client.start_channels(stdin=False, hb=False)
        threading.Thread(target=self._watch, args=(self.process,), daemon=True).start()
        try:
            self._ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        kill_family(self.process)
        self.client.stop_channels()
        self._context.destroy(linger=0)

    def _ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            self.client.kernel_info()
            with contextlib.suppress(queue.Empty):
                self.client.get_shell_msg(timeout=1)
                self.run(PRELUDE, START_SECONDS)
                return
        raise CourseError("um kernel não respondeu.", "Feche outros programas e corrija de novo.", where="afina grade")

    def _watch(self, process: subprocess.Popen) -> None:
        """Ten times a second, end a kernel whose family holds too much memory or too many processes."""
        while process.poll() is None:
            members = family(process.pid)
            resident = 0
            for member in members:
                with contextlib.suppress(psutil.Error):
                    resident += member.memory_info().rss
            if resident > self.room.memory:
                self.killed = f"passou de {number(self.room.memory / 1e6)} MB de memória"
            elif len(members) > MAX_PROCESSES:
                self.killed = f"criou mais de {MAX_PROCESSES} processos"
            if self.killed:
                kill_family(process)
                return
            time.sleep(0.1)

    def run(self, code: str, seconds: float) -> Outcome:
        """Execute one cell. It returns within `seconds` plus a few, whatever the cell does."""
        outcome, deadline = Outcome(), time.monotonic() + seconds
        message_id = self.client.execute(code, allow_stdin=False, stop_on_error=False)
        if not self._listen(message_id, outcome, deadline):
            if self.process.poll() is None:
                outcome.status, outcome.error = HUNG, f"passou de {number(seconds)} s"
                if not self._interrupt(message_id):
                    kill_family(self.process)
            if self.process.poll() is not None:
                outcome.error = outcome.error if outcome.status == HUNG else self.killed or "encerrou o kernel"
                outcome.status = DEAD
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
                if message["parent_header"].get("msg_id") == message_id and take(message, outcome):
                    return True
        return False


def take(message: dict, outcome: Outcome) -> bool:
    """Put into a cell's outcome what one message of its kernel says; True for the last one."""
    kind, content = message["msg_type"], message["content"]
    if kind == "stream" and content["name"] == "stdout" and len(outcome.printed) < MAX_PRINTED:
        outcome.printed += content["text"][:MAX_PRINTED]
    elif kind == "display_data" and PROBE_MIME in content["data"]:
        outcome.probe = str(content["data"][PROBE_MIME])
    elif kind == "error":
        outcome.status = ERROR
        name, text = str(content["ename"]), str(content["evalue"])
        outcome.error = (text if name in OURS else f"parou com {name}: {text}")[:MAX_ERROR]
    return kind == "status" and content["execution_state"] == "idle"


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it started, as far as they still know it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def kill_family(process: subprocess.Popen) -> None:
    """End the process and everything it started, by their ids."""
    members = family(process.pid)
    if process.poll() is None and sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for member in members:
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.wait()


class Steps:
    """Runs cells in order. One that ends the kernel is left out and those before it run again, while time and patience last."""

    def __init__(self, kernel: Kernel, seconds: float):
        self.kernel, self.seconds = kernel, seconds
        self.deadline = time.monotonic() + TOTAL_CELLS * seconds
        self.restarts = 0
        self.kept: list[str] = []  # the code that made the kernel what it is

    def step(self, name: str, source: str) -> Outcome:
        """Run the cell `name`. What a cell of ours ("check-…", "hidden-…") did is not repeated in a fresh kernel."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            total = number(TOTAL_CELLS * self.seconds)
            return Outcome(HUNG, error=f"não rodou: o tempo total, {total} s, acabou antes")
        if self.restarts > RESTARTS:
            return Outcome(HUNG, error="não rodou: o kernel já tinha caído vezes demais")
        outcome = self.kernel.run(source, min(self.seconds, left))
        if outcome.status == DEAD:
            self._revive()
        elif outcome.status != HUNG and not name.startswith(("check-", "hidden-")):
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
