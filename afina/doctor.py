"""`afina doctor`: a report of this environment that a student pastes into an issue. No secrets, no user names."""

from __future__ import annotations

import argparse
import getpass
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from afina import __version__
from afina.errors import CourseError
from afina.runtime import Runtime, build_folder, course_root, versions_of

PACKAGES = (
    *("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes", "unsloth", "tokenizers"),
    *(
        "openai",
        "boto3",
        "pandas",
        "numpy",
        "pyarrow",
        "scikit-learn",
        "matplotlib",
        "jupyterlab",
        "nbval",
        "ipykernel",
    ),
)
SETTINGS = ("AFINA_PROFILE", "AFINA_OFFLINE", "AFINA_PROGRESS", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "CI")


def anonymous(text: str) -> str:
    """`text` without the reader's home folder, user name or machine name."""
    text = text.replace(str(Path.home()), "~")
    for name in (getpass.getuser(), platform.node()):
        if len(name) > 1:
            text = re.sub(rf"\b{re.escape(name)}\b", "…", text)
    return text


def commit(root: Path) -> str:
    """The repository's short commit, or what stands in for it."""
    git = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "sem git"


def report() -> list[tuple[str, str]]:
    """Rows of (what, finding), in Portuguese, before anonymizing."""
    try:
        root = course_root()
        place = f"{root} ({commit(root)})"
        runtime = str(Runtime.here(show=False)).splitlines()
        writable = "sim" if os.access(root / "data", os.W_OK) else "não: copie o curso para uma pasta sua"
        free = shutil.disk_usage(root).free / 1e9
        build = str(build_folder())
    except CourseError as error:
        place, runtime, writable, free, build = str(error), [], "?", 0.0, "?"
    memory = psutil.virtual_memory()
    rows = [
        ("Afina", f"{__version__} em {place}"),
        ("Sistema", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("Python", f"{platform.python_version()} em {sys.prefix}"),
        ("Memória", f"{memory.available / 1e9:.1f} de {memory.total / 1e9:.1f} GB livres"),
        ("Disco", f"{free:.0f} GB livres"),
        ("data/ gravável", writable),
        ("Saídas em", build),
    ]
    rows += [(line[:12].strip(), line[13:]) for line in runtime]
    rows += [
        ("Variáveis", ", ".join(f"{name}={os.environ[name]}" for name in SETTINGS if name in os.environ) or "nenhuma")
    ]
    present = dict(versions_of(PACKAGES))
    rows += [("Pacotes", ", ".join(f"{name} {present.get(name, 'ausente')}" for name in PACKAGES))]
    return rows


def main(argv: list[str] | None = None) -> int:
    argparse.ArgumentParser(
        prog="afina doctor", description="Relatório do ambiente, sem segredos nem nomes."
    ).parse_args(argv)
    lines = [f"{name:<15} {anonymous(text)}" for name, text in report()]
    print("```\n" + "\n".join(lines) + "\n```")
    return 0
