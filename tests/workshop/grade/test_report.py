"""What a graded class leaves behind, read as a spreadsheet, a machine and a person read it."""

import csv
import io
from xml.etree import ElementTree

import nbformat
import pytest
from grade_base import BAD_HALF, graded, submission

from workshop.grade.marks import Mark, Result, grade_folder
from workshop.grade.report import class_page, csv_table, junit, student_page, write_reports


@pytest.fixture(scope="module")
def graded_class(task, tmp_path_factory):
    folder, out = tmp_path_factory.mktemp("submissions"), tmp_path_factory.mktemp("out")
    (folder / "bia").mkdir()
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    nbformat.write(submission(task), str(folder / "ana_t99.ipynb"))
    nbformat.write(submission(task, half=BAD_HALF), str(folder / "bia" / "t99.ipynb"))
    nbformat.write(submission(task, half="import os\nos._exit(0)"), str(folder / "=caio().ipynb"))
    (folder / "davi.pdf").write_bytes(b"%PDF")
    results = grade_folder(folder, [task])
    write_reports(results, out)
    return results, out


def test_the_table_holds_every_submission_and_no_formula(graded_class):
    _, out = graded_class
    rows = list(csv.DictReader((out / "notas.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert [row["aluno"] for row in rows] == ["'=caio()", "ana", "bia", "davi"]
    assert [row["pontos"] for row in rows] == ["2", "5", "2", "0"]
    assert rows[2]["t99.double"] == "2" and rows[2]["t99.half"] == "0" and "não é um notebook" in rows[3]["observação"]
    suites = ElementTree.parse(out / "junit.xml").getroot()
    assert [suite.get("failures") for suite in suites] == ["1", "0", "1", "0"] and suites[3].get("errors") == "1"


def test_each_student_reads_what_was_expected_what_was_found_and_where_to_look(graded_class):
    _, out = graded_class
    pages = sorted((out / "alunos").glob("*.html"))
    assert len(pages) == 4
    bia = next(page for page in pages if "bia" in page.name).read_text(encoding="utf-8")
    for words in (
        "2 de 5 pontos",
        "<strong>esperava</strong>",
        "<strong>encontrei</strong>",
        "aula 02",
        'lang="pt-BR"',
    ):
        assert words in bia
    assert "src=" not in bia  # nothing is fetched
    index = (out / "index.html").read_text(encoding="utf-8")
    assert "sem correção: 1" in index and "Metade" in index and index.count("alunos/") == 4


def test_a_page_escapes_what_students_write(task, tmp_path):
    result = graded(task, submission(task, half="def half(n):\n    return '<script>alert(1)</script>'"), tmp_path)
    page = student_page("<b>eva</b>", [result])
    assert "<script>" not in page and "&lt;script&gt;" in page and "<b>eva" not in page


@pytest.mark.parametrize("name", ["=1+2", "+1", "-1", "@SUM(A1)"])
def test_no_name_is_a_formula(name):
    row = next(csv.DictReader(io.StringIO(csv_table([Result(name, name, line=name)]).removeprefix("\ufeff"))))
    assert row["aluno"] == row["arquivo"] == row["observação"] == f"'{name}"


def test_a_character_that_xml_cannot_hold_does_not_break_the_file():
    root = ElementTree.fromstring(junit([Result("a\x00na", "b\x1b[1m.ipynb", line="\ud800 oi")]).encode())
    assert root[0].get("name") == "a\ufffdna/b\ufffd[1m.ipynb" and root[0][0][0].get("message") == "\ufffd oi"


def test_the_class_page_counts_who_met_each_criterion(task):
    double, half = task.checks
    results = [
        Result(name, f"{name}.ipynb", task, [Mark(double, True), Mark(half, name == "ana", "esperava 1")], line="x")
        for name in ("ana", "bia", "caio")
    ]
    page = class_page(results, {name: f"alunos/{name}.html" for name in ("ana", "bia", "caio")})
    assert 'aria-label="100 %"' in page and 'aria-label="33 %"' in page and "width:33%" in page
    assert "3 arquivos de 3 estudantes" in page and "3 de 3" in page and "1 de 3" in page and "sem correção: 0" in page


def test_a_class_without_a_notebook_has_a_page_too():
    page = class_page([Result("ana", "a.pdf", line="não é um notebook")], {"ana": "alunos/01-ana.html"})
    assert "1 arquivo de 1 estudante; sem correção: 1" in page and "quem acertou" not in page


def test_a_student_reads_the_notes_and_the_points_of_all_files(task):
    marks = [Mark(check, True) for check in task.checks]
    results = [Result("ana", "a.ipynb", task, marks, ["a célula answer-half não está no arquivo"], "tudo certo")]
    page = student_page("ana", [*results, Result("ana", "b.pdf", line="não é um notebook")])
    assert "5 pontos ao todo" in page and "A célula answer-half não está no arquivo." in page
    assert '<p class="bad">Não é um notebook.</p>' in page


def test_an_earlier_report_stays_where_a_new_one_cannot_be_made(task, tmp_path, monkeypatch):
    write_reports([Result("ana", "a.pdf", line="um")], tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in before} == {"notas.csv", "junit.xml", "index.html", "01-ana.html"}
    monkeypatch.setattr("workshop.grade.report.render", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_reports([Result("ana", "a.pdf", line="dois")], tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
