"""The room of a submission: a fresh folder, an environment built from nothing, and the command line that locks a process in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

import afina
from afina.runtime import course_root
from workshop.notebooks import lesson_environment

FREE_UID = 64_000  # from here on, user ids that nothing else is likely to use
FILE_SIZE = 256_000_000  # bytes of one file that a submission writes
PROCESSES = 512  # of a room's user, threads counted
SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt"),
    *("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/ld.so.conf"),
    *("/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime", "/etc/fonts", "/etc/ssl", "/etc/mime.types"),
)
WEAK = (
    "esta máquina não deixa isolar os kernels ({}). As respostas esperadas continuam fora deles e a rede fica com a guarda, mas um "
    "notebook pode ler os arquivos deste usuário. Para notas que contam, corrija em um Linux com namespaces ou em um contêiner."
)
COVER = "este módulo é o gabarito da tarefa: escreva o seu"


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
        return Isolation(sentence=WEAK.format("namespaces só existem em Linux"))
    root = os.getuid() == 0
    reason = ""
    for kind in (Isolation(True, True), Isolation(True, False), Isolation(False, True)):
        if kind.become and not root:
            continue
        failure = _try(kind)
        if not failure:
            return kind if kind.namespaces else Isolation(False, True, WEAK.format(reason))
        reason = reason or failure
    return Isolation(sentence=WEAK.format(reason))


def _try(kind: Isolation) -> str:
    """Why a room of this kind cannot be had here; empty where it can."""
    with Room(kind, memory_mb=2000) as room:
        tried = room.start(
            [sys.executable, "-c", "import afina.teach.check, ipykernel, os; open('try', 'w').close()"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        _, said = tried.communicate()
    return (said.strip().splitlines() or ["sem motivo dito"])[-1] if tried.returncode else ""


class Room:
    """A fresh folder and the command line that locks a process into it. A context manager: at the end all of it is gone.

    `slot` numbers the rooms that are open at once; `covered` are modules of afina that raise ImportError inside.
    """

    folder: Path  # where the process works, and all that it may write

    def __init__(self, kind: Isolation, memory_mb: float, slot: int = 0, covered: Collection[str] = ()):
        self.kind, self.memory = kind, int(memory_mb * 1e6)
        self.uid = FREE_UID + slot if kind.become else None
        self.covered = covered

    def __enter__(self) -> Room:
        self._place = tempfile.TemporaryDirectory(prefix="afina-", ignore_cleanup_errors=True)
        base = Path(self._place.name).resolve()
        self.folder, self._root = base / "sala", base / "raiz"
        self.folder.mkdir()
        self._root.mkdir()
        if self.uid is not None:
            os.chmod(base, 0o711)
        self.give(self.folder)
        return self

    def __exit__(self, *_) -> None:
        self._place.cleanup()

    def give(self, path: Path) -> None:
        """Make a file or a folder of ours belong to the one who lives here."""
        if self.uid is not None:
            os.chown(path, self.uid, self.uid)

    def start(self, command: list[str], **options) -> subprocess.Popen:
        """A process in here, in this folder and environment; `options` are Popen's."""
        return subprocess.Popen(self.command(command), cwd=self.folder, env=self.environment, **options)

    @property
    def environment(self) -> dict[str, str]:
        """Built from nothing: no key or token of the grader's gets in."""
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "SYSTEMROOT", "TZ") if name in os.environ}
        lesson = lesson_environment()
        guard = lesson.pop("PYTHONPATH").split(os.pathsep)[0]
        home = str(self.folder)
        return kept | lesson | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
            "PYTHONPATH": os.pathsep.join([guard, str(_package().parent)]),
            "HOME": home, "USERPROFILE": home, "IPYTHONDIR": f"{home}/.ipython",
            "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip

    def command(self, command: list[str]) -> list[str]:
        """`command`, locked in where the system is Linux; see `workshop.grade.sandbox`."""
        if sys.platform != "linux":
            return command
        settings = {
            "namespaces": self.kind.namespaces,
            "uid": self.uid,
            "root": str(self._root),
            "writable": str(self.folder),
            "read_only": self._shown(),
            "covered": covers(self.covered),
            "memory": self.memory,
            "file_size": FILE_SIZE,
            "processes": PROCESSES if self.kind.become else _user_threads() + PROCESSES,
        }
        launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("sandbox.py"))]
        return [*launcher, json.dumps(settings), "--", *command]

    @staticmethod
    def _shown() -> list[str]:
        """All that exists inside: the system, the interpreter, the package that lessons import, its data and models.

        Nothing else of the repository: neither the workshop nor `tasks/`, which hold the keys.
        """
        course = course_root()
        python = [sys.prefix, sys.base_prefix, *(path for path in sys.path if path.endswith("site-packages"))]
        return [*SYSTEM, *python, str(_package()), str(course / "data"), str(course / "models")]


def covers(modules: Collection[str]) -> dict[str, str]:
    """{file of a module of afina: what a room shows in its place}. ValueError for one that is not there: it would hide nothing."""
    files = {name: _package() / f"{name.removeprefix('afina.').replace('.', '/')}.py" for name in modules}
    if missing := [name for name, file in files.items() if not file.is_file()]:
        raise ValueError(f"a task hides {', '.join(missing)}: no such file")
    return {str(file): f"raise ImportError({COVER!r})\n" for file in files.values()}


def _package() -> Path:
    return Path(afina.__file__).resolve().parent


def _user_threads() -> int:
    """Threads of this user now: on older systems RLIMIT_NPROC counts them all."""
    every = (process.info for process in psutil.process_iter(["uids", "num_threads"]))
    return sum(one["num_threads"] or 0 for one in every if one["uids"] and one["uids"].real == os.getuid())
