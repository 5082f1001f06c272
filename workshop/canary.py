"""Which versions carry the course, and which break it? Writes build/canary/report.md and report.json; with every set judged,
docs/versoes.md too.

    make canary                                                  # or, in an environment of the course:
    python -m workshop.canary [--sets control beyond] [--lessons 02 14] [--keep]

Every set is a fresh environment under build/canary/, always with the pinned torch, put in first and alone:

control      requirements.txt as it stands, with the Python that runs this
inside       the newest releases within the bounds that the pinned Unsloth writes in its metadata
beyond       the newest releases of everything, and the newest Unsloth's source
python3.12   requirements.txt with the other Pythons of the README, where this machine has them; where it has not, pip is
             only asked whether every pin has a wheel for them

Each set goes through the signature tests and two lessons. An environment weighs 2 GB, and more where PyPI hands out torch
with CUDA; it is removed once it has been judged (--keep leaves it).

Exit code: 0 when every pinned set passes, 1 when one of them breaks. What breaks in "inside" and "beyond" is news, not a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from datetime import date
from email.parser import HeaderParser
from pathlib import Path
from typing import IO, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from afina.runtime import build_folder, course_root
from afina.whole import discard, write

SUPPORTED = ("3.11", "3.12", "3.13")
# pandas, scikit-learn and our engine; torch, transformers, trl, peft, bitsandbytes, datasets and gguf
LESSONS = ("02", "14")
SIGNATURES = "test_unsloth_signatures.py"
ONLY_PINNED = "test_unsloth_is_the_pinned_version"
RULE = "# ----"  # in requirements.txt, between what the course asks for and what that brings along
NEWEST_UNSLOTH = ["unsloth", "unsloth_zoo"]
CELL_TIMEOUT, TESTS_TIMEOUT = 1800, 7200  # seconds: a slow machine is not a version that breaks
COLOURS = re.compile(r"(?:\x1b|#x1B)\[[0-9;]*m")  # JUnit files spell the escape character
ERROR_LINE = re.compile(
    r"^(?:E\s+|Cell \d+: )?((?:\w+\.)*\w*(?:Error|Exception|Warning|Blocked|Interrupt|Exit|Timeout)\b.*)$", re.M
)


@dataclass(frozen=True)
class Set:
    """One environment to judge. `wants` go to pip under `bounds`; `unsloth` says which source the signatures are read from."""

    name: str
    python: str
    wants: list[str]
    bounds: list[str]
    unsloth: list[str]
    pinned: bool


@dataclass
class Verdict:
    """What became of a set. A break is {"file", "test", "error", "more"}: the first of its file, and how many came after it."""

    name: str
    python: str
    pinned: bool
    passed: int = 0
    failed: int = 0
    breaks: list[dict[str, Any]] = field(default_factory=list)
    differs: dict[str, list[str | None]] = field(default_factory=dict)  # name: [pinned, here]
    seconds: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.passed > 0 and not self.breaks


# --- the sets --------------------------------------------------------------------------------------------------------


def pins(text: str) -> dict[str, str]:
    """{package, with its extras: version} of a requirements file."""
    return dict(re.findall(r"^([\w.\-\[\]]+)==([^\s;]+)", text, re.M))


def unsloth_bounds(source: Path, names: set[str]) -> list[str]:
    """What Unsloth's metadata, unpacked in `source`, asks of the packages `names`."""
    found = []
    for metadata in sorted(source.glob("unsloth*.dist-info/METADATA")):
        for line in HeaderParser().parsestr(metadata.read_text(encoding="utf-8")).get_all("Requires-Dist") or []:
            requirement = Requirement(line)
            here = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if here and requirement.specifier and canonical(requirement.name) in names:
                found.append(f"{requirement.name}{requirement.specifier}")
    assert found, f"{source} holds no metadata of Unsloth: run `make canary`, which unpacks it"
    return sorted(set(found))


def find_python(version: str) -> str | None:
    """An interpreter of that version which can make environments: on the path, or pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for found in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)):
        probe = f"import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
        if found and subprocess.run([found, "-c", probe], capture_output=True).returncode == 0:
            return str(found)
    return None


def all_sets(root: Path, source: Path) -> tuple[list[Set], list[str]]:
    """The sets that this machine can build, and the supported Pythons that it lacks."""
    requirements = (root / "requirements.txt").read_text(encoding="utf-8")
    pinned, asked = pins(requirements), pins(requirements.split(RULE)[0])
    gpu = pins((root / "requirements-gpu.txt").read_text(encoding="utf-8"))
    exact = [f"{name}=={version}" for name, version in gpu.items() if name.startswith("unsloth")]
    torch = f"torch=={pinned['torch']}"
    newest = [name for name in asked if name != "torch"]
    bounds = unsloth_bounds(source, {canonical(name) for name in newest})
    everything = ["-r", str(root / "requirements.txt")]
    here = "{}.{}".format(*sys.version_info)
    sets = [
        Set("control", sys.executable, everything, [torch], exact, True),
        Set("inside", sys.executable, newest, [torch, *bounds], exact, False),
        Set("beyond", sys.executable, newest, [torch], NEWEST_UNSLOTH, False),
    ]
    others = {version: find_python(version) for version in SUPPORTED if version != here}
    sets += [Set(f"python{v}", python, everything, [torch], exact, True) for v, python in others.items() if python]
    return sets, [version for version, python in others.items() if not python]


# --- one set ---------------------------------------------------------------------------------------------------------


def run_logged(command: list[str], log: IO[str], **more: Any) -> None:
    log.write("$ " + shlex.join(command) + "\n")
    log.flush()
    # pip does not compile (--no-compile): what a check imports compiles itself, once
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    }
    subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True, env=environment, **more)


def install_set(one: Set, folder: Path, root: Path, log: IO[str]) -> Path:
    """The set's environment in `folder`; returns its Python."""
    discard(folder)
    run_logged([one.python, "-m", "venv", str(folder)], log)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "--no-compile"]
    constraints = folder / "bounds.txt"
    constraints.write_text("\n".join(one.bounds) + "\n", encoding="utf-8")
    run_logged([*pip, *shlex.split(os.environ.get("TORCH_ARGS", "")), one.bounds[0]], log)
    run_logged([*pip, "-c", str(constraints), *one.wants], log)
    run_logged([*pip, "--no-deps", "--no-build-isolation", "--editable", str(root)], log)
    run_logged([*pip, "--no-deps", "--target", str(folder / "gpu-src"), *one.unsloth], log)
    run_logged([str(python), "-c", "import matplotlib.font_manager"], log)  # the font cache, as `make setup` does
    return python


def canonical(name: str) -> str:
    """A package's one spelling, without its extras: "Ray[data]" is "ray"."""
    return str(canonicalize_name(name.split("[")[0]))


def installed_versions(python: Path) -> dict[str, str]:
    told = subprocess.run([str(python), "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    return {canonical(row["name"]): row["version"].split("+")[0] for row in json.loads(told.stdout)}


def differences(pinned: dict[str, str], here: dict[str, str]) -> dict[str, list[str | None]]:
    """{package: [pinned, here]} where they are not the same; a package of one side only has None on the other."""
    wanted = {canonical(name): version for name, version in pinned.items()}
    names = sorted((wanted.keys() | here.keys()) - {"afina", "pip", "setuptools", "wheel"})
    return {name: [wanted.get(name), here.get(name)] for name in names if wanted.get(name) != here.get(name)}


def first_error(text: str, message: str = "") -> str:
    """The line that names the error: the last one of a traceback, else the first that is said."""
    found = ERROR_LINE.findall(COLOURS.sub("", text))
    said = found[-1] if found else next(filter(str.strip, COLOURS.sub("", message or text).splitlines()), "?")
    return said.strip()[:300]


def read_junit(path: Path) -> tuple[int, int, list[dict[str, Any]]]:
    """(passed, failed, breaks) of a JUnit file that pytest wrote. Of each file only the first break: others follow from it."""
    passed = 0
    breaks: dict[str, dict[str, Any]] = {}
    for case in ET.parse(path).iter("testcase"):
        name = case.get("name", "")
        place = case.get("classname") or name
        wrong = next((part for part in case if part.tag in ("failure", "error")), None)
        if wrong is None:
            passed += case.find("skipped") is None
            continue
        stem = place.removesuffix(".ipynb").replace(".", "/")
        file = f"{stem}.ipynb" if place.endswith(".ipynb") else f"{stem}.py"
        if file in breaks:
            breaks[file]["more"] += 1
        else:
            error = first_error(wrong.text or "", wrong.get("message", ""))
            breaks[file] = {"file": file, "test": name, "error": error, "more": 0}
    return passed, sum(1 + found["more"] for found in breaks.values()), list(breaks.values())


def judge_set(one: Set, root: Path, folder: Path, lessons: list[str], keep: bool) -> Verdict:
    """Build the set, run the checks over it, and say what broke and where."""
    verdict = Verdict(one.name, one.python, one.pinned)
    log_path, junit = folder / f"{one.name}.log", folder / f"{one.name}.xml"
    junit.unlink(missing_ok=True)
    start = time.monotonic()
    with log_path.open("w", encoding="utf-8") as log:
        try:
            python = install_set(one, folder / one.name, root, log)
            verdict.seconds["install"] = round(time.monotonic() - start)
            verdict.python = subprocess.run(
                [str(python), "-c", "import platform; print(platform.python_version())"], capture_output=True, text=True
            ).stdout.strip()
            pinned = pins((root / "requirements.txt").read_text(encoding="utf-8"))
            verdict.differs = differences(pinned, installed_versions(python))
            books = [str(path.relative_to(root)) for n in lessons for path in root.glob(f"notebooks/{n}_*.ipynb")]
            command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "--nbval-lax", f"--junitxml={junit}"]
            command += [f"--nbval-cell-timeout={CELL_TIMEOUT}"]
            (signatures,) = (str(path.relative_to(root)) for path in root.glob(f"tests/**/{SIGNATURES}"))
            if one.unsloth == NEWEST_UNSLOTH:  # that test asks for the very pin that this set lets go
                command += ["--deselect", f"{signatures}::{ONLY_PINNED}"]
            start = time.monotonic()
            run_logged([*command, signatures, *books], log, cwd=root, timeout=TESTS_TIMEOUT)
        except subprocess.TimeoutExpired:
            verdict.breaks = [{"file": log_path.name, "test": "pytest", "error": "o tempo-limite passou", "more": 0}]
        except subprocess.CalledProcessError as failed:
            log.flush()
            if not junit.exists():  # pip refused, or pytest could not even start
                said = [line for line in log_path.read_text(encoding="utf-8").splitlines() if line.startswith("ERROR")]
                error = said[0] if said else first_error(log_path.read_text(encoding="utf-8"))
                step = "pytest" if "pytest" in failed.cmd else "instalação"
                verdict.breaks = [{"file": log_path.name, "test": step, "error": error[:300], "more": 0}]
    if junit.exists():
        verdict.seconds["checks"] = round(time.monotonic() - start)
        verdict.passed, verdict.failed, verdict.breaks = read_junit(junit)
    if not keep:
        discard(folder / one.name)
    return verdict


def wheels_for(version: str, root: Path, folder: Path) -> str:
    """Whether pip finds a wheel of every pin for a Python that is not here; a sentence of the report."""
    target = ["--target", str(folder / "nothing"), "--python-version", version, "--only-binary=:all:"]
    plan = folder / f"python{version}.json"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(plan)]
    done = subprocess.run([*pip, *target, "-r", str(root / "requirements.txt")], capture_output=True, text=True)
    if done.returncode:
        errors = (line for line in done.stderr.splitlines() if line.startswith("ERROR"))
        return f"**não** há roda de tudo: {next(errors, done.stderr.strip()[-200:])}"
    return f"há uma roda de cada versão fixada ({len(json.loads(plan.read_text())['install'])} pacotes); nada foi executado"


# --- the report ------------------------------------------------------------------------------------------------------

ABOUT = {
    "control": "as versões fixadas, com o Python deste ambiente",
    "inside": "as mais novas dentro do que o Unsloth fixado aceita",
    "beyond": "as mais novas de tudo (só o torch fica)",
}
STEPS = {"install": "instalação", "checks": "testes e aulas"}


def versions_page(verdicts: list[Verdict], missing: dict[str, str], asked: set[str], lessons: list[str]) -> str:
    """The page for people. `asked` are the packages that requirements.txt names above its rule."""
    lines = [
        "# Canário das versões",
        "",
        "Em que versões o curso roda, e em quais quebra. Quem escreve esta página é `make canary`; `docs/CONTRIBUTING.md` diz como se lê.",
        "",
        f"{date.today().isoformat()}, {platform.system()} {platform.machine()}. Testes de assinatura e aulas {' e '.join(lessons)}.",
        "",
        "| conjunto | Python | o que é | passaram | falharam | veredito |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in verdicts:
        about = ABOUT.get(one.name, "as versões fixadas, com outro Python")
        lines.append(
            f"| {one.name} | {one.python} | {about} | {one.passed} | {one.failed} | {'passa' if one.ok else '**quebra**'} |"
        )
    for one in verdicts:
        lines += ["", f"## {one.name}", ""]
        lines += [
            f"- **{broken['file']}**, `{broken['test']}`: `{broken['error']}`"
            + (f" (e mais {broken['more']} neste arquivo)" if broken["more"] else "")
            for broken in one.breaks
        ]
        if one.ok:
            lines.append("- Nada quebrou.")
        ours = [f"{name} {was} → {now or 'ausente'}" for name, (was, now) in one.differs.items() if name in asked]
        lines.append(f"- Versões que mudam: {', '.join(ours) or 'nenhuma das que o curso pede'}.")
        rest = len(one.differs) - len(ours)
        if rest:
            lines.append(f"- E {rest} pacotes que elas trazem consigo: `build/canary/report.json` as lista.")
        lines.append("- Segundos: " + ", ".join(f"{STEPS[name]} {value}" for name, value in one.seconds.items()) + ".")
    if missing:
        lines += ["", "## Pythons que não há nesta máquina", ""]
        lines += [f"- Python {version}: {said}." for version, said in missing.items()]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sets", nargs="+", help="only these, beside what today's report says of the others (default: all)"
    )
    parser.add_argument("--lessons", nargs="+", default=list(LESSONS))
    parser.add_argument("--keep", action="store_true", help="leave the environments in build/canary/")
    args = parser.parse_args(argv)
    root, folder = course_root(), build_folder() / "canary"
    folder.mkdir(parents=True, exist_ok=True)
    sets, lacking = all_sets(root, Path(sys.prefix) / "gpu-src")
    unknown = set(args.sets or ()) - {one.name for one in sets}
    if unknown:
        parser.error(f"no set {', '.join(sorted(unknown))}; here are {', '.join(one.name for one in sets)}")
    asked = set(map(canonical, pins((root / "requirements.txt").read_text(encoding="utf-8").split(RULE)[0])))
    verdicts, missing = earlier(folder, args.lessons) if args.sets else ([], {})
    for one in sets:
        if args.sets and one.name not in args.sets:
            continue
        print(f"canário: {one.name} ({one.python})…", flush=True)
        verdicts = [other for other in verdicts if other.name != one.name]
        verdicts.append(judge_set(one, root, folder, args.lessons, args.keep))
        verdicts.sort(key=lambda verdict: [every.name for every in sets].index(verdict.name))
        row = [
            line for line in versions_page(verdicts, {}, asked, args.lessons).splitlines() if f"| {one.name} |" in line
        ]
        print("\n".join(row))
        keep(folder, verdicts, missing, asked, args.lessons)
    for version in lacking if not args.sets else ():
        print(f"canário: não há Python {version} aqui; perguntando pelas rodas…", flush=True)
        missing[version] = wheels_for(version, root, folder)
    page = [root / "docs" / "versoes.md"] if len(verdicts) == len(sets) and tuple(args.lessons) == LESSONS else []
    keep(folder, verdicts, missing, asked, args.lessons, *page)
    print((folder / "report.md").read_text(encoding="utf-8"))
    return int(any(one.pinned and not one.ok for one in verdicts))


def earlier(folder: Path, lessons: list[str]) -> tuple[list[Verdict], dict[str, str]]:
    """What today's report already says over the same lessons: sets can be judged one call at a time."""
    path = folder / "report.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if (told.get("date"), told.get("lessons")) != (date.today().isoformat(), lessons):
        return [], {}
    return [Verdict(**{name: value for name, value in row.items() if name != "ok"}) for row in told["sets"]], told[
        "missing_pythons"
    ]


def keep(
    folder: Path, verdicts: list[Verdict], missing: dict[str, str], asked: set[str], lessons: list[str], *pages: Path
) -> None:
    """report.md and report.json, after every set: a run that is cut short keeps what it found. `pages` are the report too."""
    rows = [vars(one) | {"ok": one.ok} for one in verdicts]
    told = {"date": date.today().isoformat(), "lessons": lessons, "sets": rows, "missing_pythons": missing}
    text = versions_page(verdicts, missing, asked, lessons)
    files = {folder / "report.json": json.dumps(told, indent=2, ensure_ascii=False) + "\n"}
    for path, content in (files | dict.fromkeys([folder / "report.md", *pages], text)).items():
        write(path, content)


if __name__ == "__main__":
    sys.exit(main())
