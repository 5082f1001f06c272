"""Prepare a Colab session for the course: `python workshop/colab.py`, called by every lesson's setup cell.

Installs what `requirements-gpu.txt` adds and the package itself, once a machine, and tells what else changed. Colab's own torch and numpy
stay: replacing them would break the drivers' match and force a restart. Standard library only: nothing is installed yet.
"""

import importlib.metadata
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KEEP = ("torch", "torchvision", "torchaudio", "numpy")
GPU_ONLY = ("unsloth", "unsloth_zoo")


def versions() -> dict[str, str]:
    """{name: version} of every distribution installed here, names as pip compares them."""
    importlib.invalidate_caches()
    here = importlib.metadata.distributions()
    return {re.sub(r"[-_.]+", "-", found.metadata["Name"].lower()): found.version for found in here}


def constraints() -> str:
    """Pip constraints that hold the packages of `KEEP` at the versions already here."""
    here = versions()
    return "".join(f"{name}=={here[name]}\n" for name in KEEP if name in here)


def requirements(text: str, gpu: bool) -> str:
    """The lines of `requirements-gpu.txt` that this machine needs: without a GPU, Unsloth stays out."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if gpu or re.split("[=<>]", line)[0] not in GPU_ONLY)


def has_gpu() -> bool:
    """Does the NVIDIA driver list a GPU? Colab without one may still have the program."""
    try:
        return "GPU 0" in subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    except FileNotFoundError:
        return False


def install(root: Path) -> None:
    """One pip run for everything, so that the resolver sees it together. Shows a dot a package; its own words only if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, held = Path(folder) / "wanted.txt", Path(folder) / "held.txt"
        course = (root / "requirements-gpu.txt").read_text(encoding="utf-8")
        wanted.write_text(requirements(course, has_gpu()), encoding="utf-8")
        held.write_text(constraints(), encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        command = [*pip, "-r", str(wanted), "-c", str(held), "--editable", str(root)]
        said = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
            for line in running.stdout or ():
                said.append(line)
                print("." * line.startswith("Collecting "), end="", flush=True)
    print()
    if running.returncode:
        sys.exit(
            f"{''.join(said[-15:])}\nA instalação parou. Veja a internet e rode a célula de novo; se parar no mesmo lugar, escolha "
            "Ambiente de execução › Desconectar e excluir o ambiente de execução, e recomece."
        )


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    ready = root / "build" / ".colab"  # written last: an installation that was cut off runs again
    if ready.exists():
        return
    print("Preparando o Colab, uma vez por máquina: leva um ou dois minutos.", flush=True)
    start, before = time.monotonic(), versions()
    install(root)
    after = versions()
    changed = [f"{name} {before[name]} → {after[name]}" for name in sorted(before) if after.get(name) != before[name]]
    new = len(after.keys() - before.keys())
    print(f"Pronto em {time.monotonic() - start:.0f} s: {new} pacotes novos. Mudaram de versão: {', '.join(changed)}.")
    ready.parent.mkdir(exist_ok=True)
    ready.touch()


if __name__ == "__main__":
    main()
