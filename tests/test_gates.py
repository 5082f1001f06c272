"""Every gate passes on a good notebook and fails, for its own reason, on a broken one."""

import json

import nbformat
import pytest
from gates import problems
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from afina.runtime import course_root
from afina.teach.notebooks import SETUP, ficha

ROOT = course_root()
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COVER = f"""# 99 · Exemplo

Uma promessa.

**Ao final você vai saber**

- um
- dois
- três

**Antes desta aula**: nada.

{ficha("99_example", None)}
"""
ENDING = "## Sua vez\n\n## Para levar\n\n## Quiz\n\n## Próximo passo\n"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def picture(**metadata):
    return new_output("display_data", data={"image/png": PIXEL}, metadata=metadata)


def good():
    cells = [
        new_markdown_cell(COVER, id="cover"),
        new_code_cell(SETUP, id="setup", execution_count=1),
        new_code_cell(
            "1 + 1", id="sum", execution_count=2, outputs=[picture(**{"image/png": {"alt": "um ponto azul"}})]
        ),
        new_markdown_cell(ENDING, id="end"),
    ]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def check(notebook, tmp_path):
    (tmp_path / "notebooks").mkdir(exist_ok=True)
    (tmp_path / "README.md").write_text("# Afina", encoding="utf-8")
    path = tmp_path / "notebooks" / "99_example.ipynb"
    nbformat.write(notebook, path)
    return problems(path, tmp_path)


def add_code(source):
    return lambda nb: nb.cells.insert(3, new_code_cell(source, id="extra", execution_count=3))


def add_text(source):
    return lambda nb: nb.cells.insert(3, new_markdown_cell(source, id="extra"))


def add_output(**output):
    return lambda nb: nb.cells[2].outputs.append(new_output(**output))


def set_cover(old, new):
    return lambda nb: nb.cells[0].update(source=nb.cells[0].source.replace(old, new))


def many_long_cells(nb):
    nb.cells[3:3] = [new_code_cell("x = 1\n" * 25, id=f"long{i}", execution_count=3 + i) for i in range(3)]


BROKEN = {
    "ids repeat": lambda nb: nb.cells[3].update(id="sum"),
    "not 1 to": lambda nb: nb.cells[2].update(execution_count=7),
    "stores an error": add_output(output_type="error", ename="ValueError", evalue="x", traceback=[]),
    "stderr noise": add_output(output_type="stream", name="stderr", text="Warning"),
    "widget state": lambda nb: nb.metadata.update(widgets={"state": {}}),
    "a widget, which": add_output(output_type="display_data", data={"application/vnd.jupyter.widget-view+json": {}}),
    "more than 300,000": add_output(output_type="stream", name="stdout", text="a" * 300_000),
    "more than 40": add_code("x = 1\n" * 41),
    "median code cell": many_long_cells,
    "have over 20 lines": many_long_cells,
    "`if False`": add_code("if False:\n    print(1)"),
    "asks the keyboard": add_code("name = input()"),
    "not plain Python": add_code("!pip install x"),
    "looks like a secret": add_code("key = 'hf_" + "a" * 30 + "'"),
    "a secret: sk-proj-": lambda nb: nb.metadata.update(key="sk-proj-" + "b" * 40),
    "a secret: AKIA": add_output(output_type="stream", name="stdout", text="AKIA" + "C" * 16),
    "path of the author's machine": add_output(output_type="stream", name="stdout", text="/home/ana/x.json"),
    "execution timestamps": lambda nb: nb.cells[2].metadata.update(execution={"iopub.status.busy": "2026"}),
    "without alternative text": lambda nb: nb.cells[2].outputs.append(picture()),
    "has no alternative text": add_text("![](../README.md)"),
    "<img src": add_text('<img src="../README.md">'),
    "is not in the repository": add_text("![a picture](https://example.org/a.png)"),
    "leads nowhere": add_text("[next](100_missing.ipynb)"),
    "leaves the repository": add_text("[up](../../)"),
    "does not begin with": set_cover("# 99 · ", "# "),
    "Ao final você vai saber": set_cover("- dois\n- três\n", ""),
    "lacks **Antes": set_cover("**Antes desta aula**", "Antes"),
    "lacks | CPU": set_cover("| CPU (2 núcleos) |", "| CPU |"),
    "not the setup cell": lambda nb: nb.cells[1].update(source="rt = 1"),
    "the ending is not": lambda nb: nb.cells[3].update(source="## Para levar"),
    "not a valid notebook": lambda nb: nb.cells[2].update(outputs=[{"output_type": "banana"}]),
    "nbformat below 4.5": lambda nb: (nb.update(nbformat_minor=4), [cell.pop("id") for cell in nb.cells]),
}


def test_a_good_notebook_passes_every_gate(tmp_path):
    assert check(good(), tmp_path) == []


@pytest.mark.parametrize("reason", BROKEN)
@pytest.mark.filterwarnings("ignore")
def test_each_gate_fails_on_its_broken_fixture(reason, tmp_path):
    notebook = good()
    BROKEN[reason](notebook)
    found = check_raw(notebook, tmp_path)
    assert any(reason in problem for problem in found), found


def check_raw(notebook, tmp_path):
    """Like check, but writes even what nbformat would refuse to write."""
    check(good(), tmp_path)
    path = tmp_path / "notebooks" / "99_example.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return problems(path, tmp_path)


def test_a_file_that_is_no_notebook_is_one_clear_problem(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text("{", encoding="utf-8")
    assert len(problems(path, tmp_path)) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_passes_every_gate(path):
    assert problems(path, ROOT) == []


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 3
