"""Give the course another public address, such as a fork's, in every place that shows it: `make stamp`.

    python -m workshop.stamp                                            # where `git remote get-url origin` points
    python -m workshop.stamp https://github.com/you/course --branch 2027

The address lives in `workshop/notebooks.py` (REPOSITORY and BRANCH). This command writes it there and in the documents, then renews
the text of notebooks and tasks, whose outputs stay, and the slides. Nothing is executed and no other byte changes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from afina.errors import CourseError
from afina.runtime import course_root
from afina.whole import write
from workshop.notebooks import BRANCH, REPOSITORY

SETTING = "workshop/notebooks.py"
DOCUMENTS = ("*.md", "*/*.md", ".github/**/*", ".devcontainer/*")  # pdf/*.md, the notes, hold no address
GENERATORS = ("notebooks", "tasks", "slides")


def address(text: str) -> str:
    """The page of a GitHub repository from what people paste or git answers, without user, token or ".git".

    Raises CourseError for any other place: Colab opens notebooks from GitHub only.
    """
    found = re.fullmatch(
        r"(?:https?://(?:[^/@]+@)?|ssh://git@|git@)?github\.com[/:]([\w.-]+)/([\w.-]+?)(?:\.git)?/?", text.strip()
    )
    if not found:
        raise CourseError(
            f'"{_without_secret(text)}" não é um repositório do GitHub, e o Colab só abre notebooks de lá.',
            "Diga o endereço: make stamp REPOSITORY=https://github.com/voce/afina",
            where="REPOSITORY",
        )
    return f"https://github.com/{found[1]}/{found[2]}"


def origin(root: Path) -> str:
    """What git knows as `origin`. CourseError where there is no git, no repository or no such remote."""
    try:
        asked = subprocess.run(
            ["git", "-C", str(root), "remote", "get-url", "origin"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        raise CourseError(
            "o git não diz de onde veio este repositório.",
            "Diga o endereço: make stamp REPOSITORY=https://github.com/voce/afina",
            where=root,
        ) from None
    return asked.stdout.strip()


def _without_secret(text: str) -> str:
    return re.sub(r"//[^/@]+@", "//", text)


def stamp(root: Path, repository: str, branch: str) -> list[Path]:
    """Write the address into the setting and the documents under `root`; returns the files that changed."""
    if not re.fullmatch(r"[\w.-]+(?:/[\w.-]+)*", branch):
        raise CourseError(
            f'"{branch}" não é um nome de ramo.', "Use letras, números, ponto, hífen e /.", where="BRANCH"
        )
    old, new = (re.sub("^https://github.com/", "", one) for one in (REPOSITORY, repository))
    places = {path for pattern in DOCUMENTS for path in root.glob(pattern) if path.is_file()}
    changed = []
    for path in sorted({root / SETTING, *places}):
        text = before = path.read_text(encoding="utf-8")
        if path == root / SETTING:
            text = re.sub(r'^REPOSITORY = ".*"$', f'REPOSITORY = "{repository}"', text, flags=re.M)
            text = re.sub(r'^BRANCH = ".*"$', f'BRANCH = "{branch}"', text, flags=re.M)
        else:
            text = re.sub(
                rf"(github\.com/|/github/){re.escape(old)}(?![\w-])(/(?:blob|tree)/{re.escape(BRANCH)}(?=/))?",
                lambda m: m[1] + new + ((m[2] and m[2].removesuffix(BRANCH) + branch) or ""),
                text,
            )
        if text != before:
            write(path, text)
            changed.append(path)
    return changed


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m workshop.stamp", description=__doc__.splitlines()[0])
    parser.add_argument("repository", nargs="?", default="", help="address on GitHub (default: git's origin)")
    parser.add_argument("--branch", default="", help=f"branch that Colab opens (default: {BRANCH}, the present one)")
    args = parser.parse_args(argv)
    root = course_root()
    repository, branch = address(args.repository or origin(root)), args.branch or BRANCH
    changed = stamp(root, repository, branch)
    print(f"{repository}, ramo {branch}: {len(changed)} arquivos mudaram")
    for name in GENERATORS:  # each in a new process, which reads the new setting
        words = [] if name == "slides" else ["--text"]
        if subprocess.run([sys.executable, "-m", f"workshop.{name}", *words], cwd=root).returncode:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
