"""`afina doctor`: a report of this environment that a student pastes into an issue. No secrets, no user names.

It starts on the standard library alone, and no step that fails stops the others: it is what a broken installation runs.
"""

import getpass
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from afina import __version__
from afina.ptbr import decimal
from afina.runtime import build_folder, course_root, versions_of

PACKAGES = (
    "torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes", "unsloth", "tokenizers", "openai",
    "boto3", "pandas", "numpy", "pyarrow", "scikit-learn", "matplotlib", "jupyterlab", "nbval", "ipykernel",
)  # fmt: skip
SETTINGS = ("AFINA_PROFILE", "AFINA_OFFLINE", "AFINA_PROGRESS", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "CI")


def text() -> str:
    """The report as a block of Markdown, without names."""
    return "```\n" + "\n".join(f"{name:<15} {anonymous(said)}" for name, said in report()) + "\n```"


def report() -> Iterator[tuple[str, str]]:
    """Rows of (what, finding), in Portuguese, before anonymizing. What cannot be found out says why."""
    yield "Afina", f"{__version__} em {_tried(lambda: f'{course_root()} ({commit(course_root())})')}"
    yield "Sistema", f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield "Python", f"{platform.python_version()} em {sys.prefix}"
    yield "Memória", _tried(free_memory)
    yield "Disco", _tried(lambda: f"{decimal(shutil.disk_usage(course_root()).free / 1e9, 0)} GB livres")
    writable = _tried(lambda: os.access(course_root() / "data", os.W_OK))
    said = {"True": "sim", "False": "não: copie o curso para uma pasta sua"}
    yield "data/ gravável", said.get(writable, writable)
    yield "Saídas em", _tried(build_folder)
    runtime = _tried(here)
    for line in runtime.splitlines():
        yield (line[:12].strip(), line[13:]) if "\n" in runtime else ("Perfil", line)
    yield "Variáveis", ", ".join(f"{name}={os.environ[name]}" for name in SETTINGS if name in os.environ) or "nenhuma"
    present = dict(versions_of(PACKAGES))
    yield "Pacotes", ", ".join(f"{name} {present.get(name, 'ausente')}" for name in PACKAGES)


def _tried(find: Callable[[], object], otherwise: str | None = None) -> str:
    try:
        return str(find())
    except Exception as error:
        return f"não deu para saber: {str(error) or error.__class__.__name__}" if otherwise is None else otherwise


def anonymous(said: str) -> str:
    """`said` without the reader's home folder, user name or machine name."""
    # a uid may have no name, and no home
    names = {_tried(Path.home, ""): "~", _tried(getpass.getuser, ""): "…", platform.node(): "…"}
    for name, instead in names.items():
        if len(name) > 1:
            said = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", instead, said)
    return said


def here() -> str:
    """What `Runtime.here` shows, asked in another process: a torch that does not load may take its process with it."""
    ask = "from afina.runtime import Runtime; print(Runtime.here(show=False))"
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, *["-S"] * sys.flags.no_site, "-c", ask],
        env=paths,
        capture_output=True,
        timeout=120,
        encoding="utf-8",
    )
    if done.returncode:
        raise OSError((done.stderr.strip().splitlines() or [f"código {done.returncode}"])[-1])
    return done.stdout.strip()


def commit(root: Path) -> str:
    """The repository's short commit, or what stands in for it."""
    git = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "sem git"


def free_memory() -> str:
    """Free and whole memory of this machine, as each system tells it."""
    if sys.platform == "linux":
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free, whole = (int(lines[name].split()[0]) * 1024 for name in ("MemAvailable", "MemTotal"))
    elif sys.platform == "win32":
        import ctypes

        status = (ctypes.c_ulonglong * 8)()  # MEMORYSTATUSEX: two 32-bit fields, then whole and free memory
        ctypes.cast(status, ctypes.POINTER(ctypes.c_ulong))[0] = ctypes.sizeof(status)
        ctypes.windll.kernel32.GlobalMemoryStatusEx(status)
        whole, free = status[1], status[2]
    else:
        return f"{decimal(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9, 1)} GB"
    return f"{decimal(free / 1e9, 1)} de {decimal(whole / 1e9, 1)} GB livres"
