"""Static gates over a notebook: what must hold before anyone runs it. Each returns the problems it found, as sentences.

    problems(path, root) -> ["02_dataset_prep.ipynb: célula 4: …", …]

Each gate is shown to fail on a broken fixture in test_gates.py.
"""

from __future__ import annotations

import ast
import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import nbformat

from workshop.notebooks import SETUP

MAX_BYTES = 300_000
MAX_CELL_LINES = 40
MAX_SETUP_LINES = 15
MAX_MEDIAN_LINES = 6
MAX_P90_LINES = 20
SECRETS = re.compile(
    r"sk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{30,}|"
    r"github_pat_[A-Za-z0-9_]{30,}|AIza[A-Za-z0-9_-]{30,}|xox[abpr]-[A-Za-z0-9-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----|"
    r"(?i:aws_secret_access_key)\W{1,5}[A-Za-z0-9/+]{40}"
)
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:home|Users|root|tmp|mnt|opt|srv|var|work|private)/\w+|[A-Z]:\\+Users\\+\w+")
MARKDOWN_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(\s*<?([^)\s>]+)>?[^)]*\)")
HTML_IMAGE = re.compile(r"<img\b[^>]*>", re.I)
HTML_HREF = re.compile(r"""<a\b[^>]*href=["']([^"']+)["']""", re.I)
HEADINGS_AT_END = ("## Sua vez", "## Para levar", "## Quiz", "## Próximo passo")


def problems(path: Path, root: Path) -> list[str]:
    """Everything that is wrong with the notebook at `path` of the repository `root`; empty when it may be committed."""
    text = path.read_text(encoding="utf-8")
    try:
        notebook = nbformat.reads(text, as_version=nbformat.NO_CONVERT)
        nbformat.validate(notebook)
    except (nbformat.ValidationError, nbformat.reader.NotJSONError, AttributeError) as error:
        return [f"{path.name}: not a valid notebook: {str(error).splitlines()[0]}"]
    found = [
        *file_problems(text, notebook),
        *count_problems(notebook),
        *output_problems(notebook),
        *code_problems(notebook),
        *form_problems(notebook),
        *link_problems(notebook, path.parent, root),
    ]
    return [f"{path.name}: {problem}" for problem in found]


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def file_problems(text: str, notebook) -> Iterator[str]:
    if len(text.encode()) > MAX_BYTES:
        yield f"{len(text.encode()) / 1000:.0f} kB, more than {MAX_BYTES // 1000}: make its pictures smaller or fewer"
    if notebook.nbformat_minor < 5:
        yield "nbformat below 4.5 has no cell ids"
    ids = [cell.get("id") for cell in json.loads(text)["cells"]]  # nbformat mends repeated ids while it reads
    if len(set(ids)) < len(ids):
        yield "cell ids repeat"
    readable = re.sub(r'"image/(?:png|jpeg)": "[^"]*"', "", json.dumps(notebook, ensure_ascii=False))
    for match in SECRETS.finditer(readable):  # a picture's base64 spells anything sooner or later
        yield f"looks like a secret: {match[0][:8]}…"
    if "widgets" in notebook.metadata:
        yield "holds widget state"
    if '"execution": {' in text:
        yield "holds execution timestamps"


def count_problems(notebook) -> Iterator[str]:
    counts = [cell.execution_count for cell in code_cells(notebook) if cell.source.strip()]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts are {counts}, not 1 to {len(counts)}: run `make notebooks`"


def output_problems(notebook) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            where = f"cell {number} ({cell.get('id')})"
            if output.output_type == "error":
                yield f"{where}: stores an error, {output.ename}"
            if output.get("name") == "stderr":
                yield f"{where}: stderr noise: {output.text[:60]!r}"
            if match := MACHINE_PATHS.search(json.dumps(output, ensure_ascii=False)):
                yield f"{where}: shows a path of the author's machine, {match[0]}"
            data = output.get("data", {})
            if any("widget" in kind for kind in data):
                yield f"{where}: a widget, which is empty when the page is only read"
            for kind in data:
                alt = output.get("metadata", {}).get(kind, {}).get("alt", "") if kind.startswith("image/") else "text"
                if not alt:
                    yield f"{where}: a picture without alternative text: use afina.teach.figures.show"


def code_problems(notebook) -> Iterator[str]:
    sizes = []
    for number, cell in enumerate(notebook.cells):
        where = f"cell {number} ({cell.get('id')})"
        lines = len(cell.source.splitlines())
        if lines > MAX_CELL_LINES:
            yield f"{where}: {lines} lines, more than {MAX_CELL_LINES}"
        if cell.cell_type != "code":
            continue
        if cell.get("id") != "setup":
            sizes.append(sum(bool(line.strip()) for line in cell.source.splitlines()))
        try:
            tree = ast.parse(cell.source)
        except SyntaxError as error:
            yield f"{where}: not plain Python: {error.msg}"
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and isinstance(node.test, ast.Constant) and not node.test.value:
                yield f"{where}: `if False` never runs"
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "input",
                "getpass",
                "getpass.getpass",
                "files.upload",
            ):
                yield f"{where}: asks the keyboard, and a grader has none"
    if sizes and statistics.median(sizes) > MAX_MEDIAN_LINES:
        yield f"median code cell has {statistics.median(sizes):.0f} lines, more than {MAX_MEDIAN_LINES}"
    if sizes and sorted(sizes)[int(0.9 * (len(sizes) - 1))] > MAX_P90_LINES:
        yield f"more than a tenth of the code cells have over {MAX_P90_LINES} lines"


def form_problems(notebook) -> Iterator[str]:
    cover = notebook.cells[0] if notebook.cells else None
    if cover is None or cover.cell_type != "markdown" or not re.match(r"# \d\d · \S", cover.source):
        yield "the cover cell does not begin with `# NN · Title`"
        return
    goals = re.search(r"\*\*Ao final você vai saber\*\*\s*((?:^- .*\n?)+)", cover.source, re.M)
    if not goals or not 3 <= len(goals[1].strip().splitlines()) <= 5:
        yield "the cover lacks `**Ao final você vai saber**` with 3 to 5 items"
    for part in ("**Antes desta aula**", "| CPU (2 núcleos) |"):
        if part not in cover.source:
            yield f"the cover lacks {part}"
    code = code_cells(notebook)
    if not code or code[0].get("id") != "setup" or code[0].source != SETUP:
        yield "the first code cell is not the setup cell"
    if len(SETUP.splitlines()) > MAX_SETUP_LINES:
        yield f"the setup cell is longer than {MAX_SETUP_LINES} lines"
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    places = [prose.find(heading) for heading in HEADINGS_AT_END]
    if -1 in places or places != sorted(places):
        yield f"the ending is not {', '.join(HEADINGS_AT_END)}, in this order"


def link_problems(notebook, folder: Path, root: Path) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            for problem in text_link_problems(cell.source, folder, root):
                yield f"cell {number} ({cell.get('id')}): {problem}"


def text_link_problems(text: str, folder: Path, root: Path) -> Iterator[str]:
    """Pictures without description, remote pictures, and links that lead nowhere in one Markdown text."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
    for bang, label, target in MARKDOWN_LINK.findall(prose):
        if bang and not label.strip():
            yield f"the picture {target} has no alternative text"
        if bang and "://" in target:
            yield f"the picture {target} is not in the repository"
        yield from target_problems(target, folder, root)
    for image in HTML_IMAGE.findall(prose):
        if not re.search(r"""alt=["'][^"']+["']""", image):
            yield f"{image[:60]} has no alternative text"
        if source := re.search(r"""src=["']([^"']+)["']""", image):
            yield from target_problems(source[1], folder, root)
    for target in HTML_HREF.findall(prose):
        yield from target_problems(target, folder, root)


def target_problems(target: str, folder: Path, root: Path) -> Iterator[str]:
    if re.match(r"[a-z]+:", target) or target.startswith("#"):
        return
    place = (folder / unquote(target.split("#")[0])).resolve()
    if not place.exists():
        yield f"the link {target} leads nowhere"
    elif not place.is_relative_to(root.resolve()):
        yield f"the link {target} leaves the repository"
