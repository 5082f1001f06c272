"""Prepare a Colab session for the course: `python afina/colab.py`, called by every lesson's setup cell.

Installs what `requirements-gpu.txt` adds and the package itself, and leaves Colab's own torch and numpy as they are:
replacing them would break the drivers' match and force a restart. Standard library only; it runs before anything is installed.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

KEEP = ("torch", "torchvision", "torchaudio", "numpy")


def constraints() -> str:
    """Pip constraints that hold the packages of `KEEP` at the versions already here."""
    lines = []
    for name in KEEP:
        try:
            lines.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "\n".join(lines) + "\n"


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "held.txt"
        held.write_text(constraints(), encoding="utf-8")
        subprocess.run([*pip, "-r", str(root / "requirements-gpu.txt"), "-c", str(held)], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", str(root)], check=True)


if __name__ == "__main__":
    main()
