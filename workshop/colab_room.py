"""A simulated Colab: every lesson and task as a student opens it there, in a fresh machine without the repository.

    python -m workshop.colab_room --python python3.13                 # each lesson's setup cell and the three cells after it
    python -m workshop.colab_room --python python3.13 --cells 0 00 14    # these lessons, every cell
    python -m workshop.colab_room --python python3.12 --no-torch      # only the installation: nothing that needs torch

The machine is a mount namespace in which /content is empty, Python has the packages that Colab's images list
(workshop/colab_packages/) and git's address of the course leads to a copy of this repository's HEAD. The setup cell's bytes
are the committed ones. What is proved:
nothing preinstalled changes version but what the cell says; `pip check` has no new complaint; torch and numpy stay; every file of
data/ and models/ arrives whole; the lesson runs on in the same kernel. What cannot be: a GPU, Unsloth, Google's own kernel.

Linux, as root or where user namespaces are allowed. Needs a package index. Where it gives torch with CUDA, `--torch` takes pip's
words for the CPU build (pytorch.org tells the index).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from afina.runtime import course_root
from afina.whole import discard

TORCH = "torch==2.11.0 torchvision==0.26.0 torchaudio==2.11.0"
PYTHON = "/vm/python/bin/python"
ASK = "import sys; sys.path.insert(0, {!r}); import colab, json; print(json.dumps(colab.versions()))"


# --- the machine -----------------------------------------------------------------------------------------------------


def enter(system: str, empty: str, shown: dict[str, str], command: list[str]) -> None:
    """Become `command` in a root built in the folder `empty`: the one of `system`, plus the folders `shown` {place: real path}."""
    from workshop.grade.sandbox import BIND, NEWNS, NEWUSER, PRIVATE, REC, call, libc, mount

    uid, gid = os.getuid(), os.getgid()
    call(libc.unshare, NEWNS | (NEWUSER if uid else 0))
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    mount(None, "/", None, REC | PRIVATE)
    mount("afina", empty, "tmpfs", 0, "size=1m,mode=755")
    own = {name: f"{system}/{name}" for name in os.listdir(system)}
    for name, source in {**own, **{name: f"/{name}" for name in ("proc", "dev", "sys", "tmp")}, **shown}.items():
        target = f"{empty}/{name.strip('/')}"
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
        elif os.path.isdir(source):
            os.makedirs(target, exist_ok=True)
            mount(source, target, None, BIND | REC)
        elif os.path.isfile(source):
            shutil.copyfile(source, target)
    os.chroot(empty)
    os.chdir("/content" if os.path.isdir("/content") else "/")
    os.environ.pop("PYTHONPATH", None)  # it led to this module, and is no path in there
    os.execve(command[0], command, os.environ)


class ColabMachine:
    """One simulated Colab machine in the folder `home`; `system` is the root of a Linux, "/" or what debootstrap made."""

    def __init__(self, home: Path, system: str, python: Path):
        self.home, self.system, self.python = home, system, python
        for name in ("content", "root", "user", "jupyter"):
            (home / name).mkdir(parents=True, exist_ok=True)

    def argv(self, *command: str) -> list[str]:
        shown = {
            "/content": str(self.home / "content"),
            "/vm/python": str(self.python),
            "/vm/user": str(self.home / "user"),
        }
        settings = json.dumps([self.system, str(self.home / "root"), shown])
        return [sys.executable, "-m", "workshop.colab_room", "--enter", settings, *command]

    def environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not re.match("AFINA_|VIRTUAL_ENV|PYTHON|CI$|HF_", name)
        }
        return kept | {
            "COLAB_RELEASE_TAG": "release-colab-simulated",
            "HOME": "/vm/user",
            "GIT_CONFIG_GLOBAL": "/vm/user/gitconfig",
            "JUPYTER_RUNTIME_DIR": str(self.home / "jupyter"),
            "PYTHONPATH": str(course_root()),
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        }

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess:
        return subprocess.run(self.argv(*command), env=self.environment(), text=True, **options)

    def output(self, *command: str) -> str:
        return self.run(*command, capture_output=True, check=True).stdout


def prepare_python(folder: Path, system: str, python: str, packages: Path, torch: str) -> None:
    """Colab's Python, once a folder: a virtual environment with the packages of its image and its torch."""
    ready = folder / ".ready"
    if ready.exists():
        return
    print(f"{folder.name}: installing what Colab has (once; minutes)", flush=True)
    discard(folder)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as home:
        machine = ColabMachine(Path(home), system, folder)
        machine.run(python, "-m", "venv", "/vm/python", check=True)
        pip = [PYTHON, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
        here = Path(home) / "packages.txt"
        here.write_text(packages.read_text(encoding="utf-8"), encoding="utf-8")
        machine.run(*pip, "--no-deps", "-r", str(here), check=True)
        if torch:
            machine.run(*pip, *torch.split(), check=True)
    ready.touch()


def stand_in_for_torch(site: Path) -> None:
    """Tell pip that Colab's torch is there, where its files cannot be had: what needs torch will not run, the installation will."""
    needs = (
        "filelock typing-extensions>=4.10.0 setuptools sympy>=1.13.3 networkx>=2.5.1 jinja2 fsspec>=0.8.5 triton==3.6.0"
    )
    for name, version, wanted in (
        ("torch", "2.11.0+cu128", needs),
        ("torchvision", "0.26.0+cu128", "numpy torch==2.11.0 pillow>=5.3.0"),
        ("torchaudio", "2.11.0+cu128", "torch==2.11.0"),
        ("triton", "3.6.0", ""),
    ):
        folder = site / f"{name}-{version}.dist-info"
        folder.mkdir(exist_ok=True)
        lines = [
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
            *(f"Requires-Dist: {one}" for one in wanted.split()),
        ]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        (folder / "RECORD").write_text("")


# --- what is looked at -----------------------------------------------------------------------------------------------


def complaints(machine: ColabMachine) -> set[tuple[str, str]]:
    """What `pip check` finds wrong: (package, what it asks for), whatever version of the package says so."""
    said = machine.run(PYTHON, "-m", "pip", "check", "--disable-pip-version-check", capture_output=True).stdout
    found = re.findall(r"^(\S+) \S+ (?:requires|has requirement) (.+?)(?:, which is|, but you have) .*$", said, re.M)
    return {(name.lower(), wanted) for name, wanted in found}


def installed(machine: ColabMachine) -> dict[str, str]:
    return json.loads(machine.output(PYTHON, "-c", ASK.format("/vm/user")))


def files_of_the_course() -> dict[str, str]:
    """{path: sha256} of every committed file of data/ and models/."""
    root = course_root()
    command = ["git", "-C", str(root), "ls-files", "data", "models"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in names.splitlines()}


def opened(machine: ColabMachine, path: Path, cells: int) -> tuple[float, float, str, str]:
    """Run a committed notebook's setup cell and the `cells` code cells after it (0: all), in a new kernel of the machine.

    Returns (seconds of the setup cell, of the others, what the setup cell printed, the error of a cell that failed or "").
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    book = nbformat.read(path, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    if code[0].id != "setup":
        raise ValueError(f"{path}: the first code cell is not the setup cell")
    place = f"/content/afina/{path.parent.relative_to(course_root())}"
    book.cells = code[: 1 + cells] if cells else code
    where = (
        "import afina, os\nassert afina.__file__ == '/content/afina/afina/__init__.py', afina.__file__\n"
        f"assert os.getcwd() == {place!r}, os.getcwd()"
    )
    book.cells.insert(1, nbformat.v4.new_code_cell(where))
    times = [time.monotonic()]
    client = NotebookClient(
        book, timeout=900, kernel_name="colab", on_cell_executed=lambda **_: times.append(time.monotonic())
    )
    error = ""
    try:
        client.execute(env=machine.environment())
    except CellExecutionError as stopped:
        error = f"{stopped.ename}: {stopped.evalue}\n{re.sub(chr(27) + '.*?m', '', str(stopped))[-1500:]}"
    except (CellTimeoutError, DeadKernelError) as stopped:
        error = f"{type(stopped).__name__}: {stopped}"
    times += [time.monotonic()] * 2
    printed = "".join(output.get("text", "") for output in book.cells[0].outputs)
    return times[1] - times[0], times[-1] - times[1], printed, error


def label(path: Path) -> str:
    """ "02_dataset_prep" for a lesson, "t01_clean_catalogue" for a task, which is opened solved: unsolved, its checks stop it."""
    return path.parent.name if path.stem == "solution" else path.stem


def which_python(system: str, python: str) -> tuple[str, str]:
    """(version, path) of the interpreter that the command `python` really is, asked inside a machine."""
    with tempfile.TemporaryDirectory(prefix="afina-probe-") as home:
        machine = ColabMachine(Path(home), system, course_root() / "workshop")
        told = machine.output(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2], sys.base_prefix)")
    version, prefix = told.split()
    return version, f"{prefix}/bin/python{version}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", help='lessons and tasks, such as "02" or "t01" (default: all)')
    parser.add_argument("--python", default="python3", help="3.12 or 3.13; a path inside --system")
    parser.add_argument("--system", default="/", help="root folder of another Linux, such as debootstrap makes")
    parser.add_argument("--torch", default=TORCH, help="pip's words for Colab's torch")
    parser.add_argument(
        "--no-torch", action="store_true", help="torch's metadata only: prove the installation, start no lesson"
    )
    parser.add_argument("--cells", type=int, default=3, help="code cells after the setup cell; 0 is all")
    args = parser.parse_args()
    root = course_root()
    python = args.python if args.python.startswith("/") else shutil.which(args.python)
    if python is None:
        sys.exit(f"there is no {args.python} on the path")
    version, real = which_python(args.system, python)
    packages = root / "workshop" / "colab_packages" / f"python-{version}.txt"
    if not packages.exists():
        sys.exit(f"Colab has no image with Python {version} that we know: workshop/colab_packages/ holds 3.12 and 3.13")
    where = Path(args.system).name  # each Linux has its own: a virtual environment leads to the Python that made it
    base = root / "build" / "colab" / f"python-{version}{'-' * bool(where)}{where}{'-no-torch' * args.no_torch}"
    prepare_python(base, args.system, real, packages, "" if args.no_torch else args.torch)
    if args.no_torch:
        stand_in_for_torch(next(base.glob("lib/python3*/site-packages")))

    every = [*sorted(root.glob("notebooks/[0-9][0-9]_*.ipynb")), *sorted(root.glob("tasks/t*/solution.ipynb"))]
    chosen = [
        path for path in every if not args.notebooks or any(label(path).startswith(name) for name in args.notebooks)
    ]
    with tempfile.TemporaryDirectory(prefix="afina-colab-", dir=base.parent) as home:
        return visit(Path(home), base, chosen, args)


def visit(home: Path, base: Path, chosen: list[Path], args: argparse.Namespace) -> int:
    """Open the chosen notebooks one after the other in one new machine, and compare what it was with what it is."""
    from workshop.notebooks import BRANCH, REPOSITORY

    # links, not copies: pip replaces files, it never edits them
    shutil.copytree(base, home / "python", symlinks=True, copy_function=os.link)
    machine = ColabMachine(home, args.system, home / "python")
    user = home / "user"
    subprocess.run(["git", "clone", "--quiet", "--bare", course_root(), user / "course.git"], check=True)
    subprocess.run(["git", "-C", user / "course.git", "update-ref", f"refs/heads/{BRANCH}", "HEAD"], check=True)
    (user / "gitconfig").write_text(
        f'[url "file:///vm/user/course.git"]\n\tinsteadOf = {REPOSITORY}\n[safe]\n\tdirectory = *\n', encoding="utf-8"
    )
    shutil.copy(course_root() / "workshop" / "colab.py", user)
    spec = home / "share" / "kernels" / "colab"
    spec.mkdir(parents=True)
    argv = machine.argv(PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}")
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Colab", "language": "python"}))
    os.environ["JUPYTER_PATH"], os.environ["JUPYTER_RUNTIME_DIR"] = str(home / "share"), str(home / "jupyter")

    before, wrong_before, faults, said = installed(machine), complaints(machine), [], ""
    if "torch" not in before:  # the setup cell holds the torch that is there: without one, pip would fetch gigabytes
        sys.exit(f"{base}: no torch; install one there, or use --no-torch")
    print(
        f"{len(before)} packages; pip check: {len(wrong_before)} complaints, as Colab's own half list has them",
        flush=True,
    )
    if args.no_torch:
        start = time.monotonic()
        machine.run(
            "/usr/bin/git", "clone", "-q", "--depth=1", f"--branch={BRANCH}", REPOSITORY, "/content/afina", check=True
        )
        said = machine.output(PYTHON, "/content/afina/workshop/colab.py")
        print(f"setup without torch {time.monotonic() - start:6.1f} s")
    for path in [] if args.no_torch else chosen:
        setup, rest, printed, error = opened(machine, path, args.cells)
        said = said or printed
        print(f"{label(path):<32} setup {setup:6.1f} s, then {rest:6.1f} s{'  FAILED' if error else ''}", flush=True)
        faults += [f"{label(path)}: {error}"] if error else []
    print(f"\nthe first setup cell said:\n{said}")
    after, wrong = installed(machine), complaints(machine) - wrong_before
    changed = {name: (old, after.get(name)) for name, old in before.items() if after.get(name) != old}
    unsaid = [name for name, (old, new) in changed.items() if f"{name} {old} → {new}" not in said]
    faults += [f"changed without a word: {unsaid}"] if unsaid else []
    faults += [f"pip check, new: {sorted(wrong)}"] if wrong else []
    faults += [f"{name} changed" for name in ("torch", "torchvision", "torchaudio", "numpy") if name in changed]
    content = home / "content" / "afina"
    for name, digest in files_of_the_course().items():
        file = content / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            faults.append(f"{name} did not arrive whole")
    print(
        f"{len(changed)} changed, {len(after) - len(before)} new, {len(files_of_the_course())} files of data/ and models/ compared"
    )
    print("\n".join(faults) or "all well")
    return 1 if faults else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--enter"]:
        system, empty, shown = json.loads(sys.argv[2])
        enter(system, empty, shown, sys.argv[3:])
    sys.exit(main())
