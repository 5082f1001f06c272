"""Every gate passes on a good notebook and fails, for its own reason, on a broken one."""

import json
import re
import unicodedata

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from afina.runtime import course_root
from workshop.gates import problems
from workshop.notebooks import SETUP, ficha, sources

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
    "kB, more than 300": add_output(output_type="stream", name="stdout", text="a" * 300_000),
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


def test_every_cover_leads_to_its_deck():
    for path in NOTEBOOKS:
        cover = nbformat.read(path, as_version=4).cells[0].source
        (deck,) = re.findall(r"\[A apresentação desta aula\]\(\.\./pdf/(\w+)\.pdf\)", cover)
        assert f'"{path.stem[:2]}"' in (ROOT / "pdf" / "src" / f"{deck}.typ").read_text(encoding="utf-8")
    assert "apresentação" not in ficha("99_example", None)


# --- the glossary ----------------------------------------------------------------------------------------------------


def glossary():
    """The entries' first columns, in the order of docs/glossario.md."""
    text = (ROOT / "docs" / "glossario.md").read_text(encoding="utf-8")
    return [line.split(" | ")[0].removeprefix("| ").replace("*", "") for line in text.splitlines() if line[:2] == "| "][
        2:
    ]


def foreign(text):
    """English terms that prose glosses: what stands in italics within parentheses, as in "perda (*loss*)"."""
    prose = "\n".join(cell for cell in re.split(r"^# %%", text, flags=re.M) if cell.startswith(" [markdown]"))
    return set(re.findall(r"\(\*(\w[\w -]*)\*[^()]*\)", prose))


def test_the_glossary_is_in_order_and_says_each_term_once():
    keys = [unicodedata.normalize("NFD", term.casefold()) for term in glossary()]
    assert keys == sorted(keys) and len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "source",
    [*sources(ROOT), *sorted((ROOT / "tasks").glob("t*/src.py"))],
    ids=lambda path: path.parent.name + path.stem,
)
def test_the_glossary_has_every_term_that_a_lesson_glosses(source):
    known = " | ".join(glossary()).casefold()
    found = foreign(source.read_text(encoding="utf-8"))
    assert [term for term in sorted(found) if term.casefold().rstrip("s") not in known] == []


def test_glossed_terms_are_found():
    assert foreign("# %% [markdown]\n# A perda (*loss*) e a **ida** (*forward*, outra vez).\n# %%\n# (*code*)") == {
        "loss",
        "forward",
    }
