"""What a graded class leaves behind: a table, a JUnit file, a page for each student and one for the class."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from markupsafe import Markup, escape

from afina.ptbr import percent, plural
from afina.whole import write
from workshop.grade.marks import Mark, Result
from workshop.notebooks import github_link
from workshop.pages import render
from workshop.tasks import LEVELS, Check, Task


def write_reports(results: list[Result], out: Path) -> None:
    """`notas.csv`, `junit.xml`, `index.html` and one page a student: all made first, then written, each whole."""
    by_student: dict[str, list[Result]] = {}
    for result in results:
        by_student.setdefault(result.student, []).append(result)
    pages = {name: f"alunos/{_slug(name, place)}.html" for place, name in enumerate(by_student, 1)}
    made = {"notas.csv": csv_table(results), "junit.xml": junit(results)}
    made |= {pages[name]: student_page(name, own) for name, own in by_student.items()}
    made["index.html"] = class_page(results, pages)  # last: it points to the others
    for name, text in made.items():
        write(out / name, text)


def _slug(name: str, place: int) -> str:
    return f"{place:02d}-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-').lower()[:40] or 'aluno'}"


def _criteria(results: list[Result]) -> dict[str, tuple[Task, Check]]:
    """{"t01.order": its task and check}, of every task that was graded, in order."""
    found = {result.task.name: result.task for result in results if result.task}
    return {f"{name}.{check.name}": (found[name], check) for name in sorted(found) for check in found[name].checks}


def _named(result: Result) -> dict[str, Mark]:
    """{"t01.order": the mark}; empty for a file without a task."""
    return {f"{result.task.name}.{mark.check.name}": mark for mark in result.marks} if result.task else {}


# --- for machines ----------------------------------------------------------------------------------------------------


def csv_table(results: list[Result]) -> str:
    """One row a submission, one column a criterion. Numbers as programs read them, with a point."""
    file = io.StringIO()
    file.write("\ufeff")  # tells spreadsheets that this is UTF-8
    criteria = _criteria(results)
    writer = csv.writer(file)
    writer.writerow(["aluno", "arquivo", "tarefa", "pontos", "de", "segundos", "observação", *criteria])
    for result in results:
        earned = {name: mark.check.points * mark.earned for name, mark in _named(result).items()}
        who = [_cell(result.student), _cell(result.file), result.task.name if result.task else ""]
        points = [result.points, result.task.points if result.task else "", round(result.seconds, 1)]
        writer.writerow([*who, *points, _cell(result.line), *(earned.get(name, "") for name in criteria)])
    return file.getvalue()


def _cell(text: str) -> str:
    """A spreadsheet runs a cell that begins like a formula."""
    return f"'{text}" if text[:1] in "=+-@" else text


def junit(results: list[Result]) -> str:
    """One suite a submission, one case a criterion, in the XML that continuous integration reads."""
    root = ElementTree.Element("testsuites")
    for result in results:
        name = _xml(f"{result.student}/{result.file}")
        counts = {
            "tests": str(max(1, len(result.marks))),
            "failures": str(sum(not mark.earned for mark in result.marks)),
            "errors": str(int(not result.marks)),
        }
        suite = ElementTree.SubElement(root, "testsuite", {"name": name, "time": f"{result.seconds:.1f}"} | counts)
        if not result.marks:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name="arquivo")
            ElementTree.SubElement(case, "error", message=_xml(result.line))
        for mark in result.marks:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=mark.check.name)
            places = ElementTree.SubElement(case, "properties")
            ElementTree.SubElement(places, "property", name="pontos", value=str(mark.check.points))
            if not mark.earned:
                ElementTree.SubElement(case, "failure", message=_xml(mark.why))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """`text` without the characters that XML has no way to write."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


# --- for people ------------------------------------------------------------------------------------------------------


def student_page(name: str, results: list[Result]) -> str:
    """What a student gets back: each criterion with what was expected, what was found and which lesson helps."""
    total = plural(sum(result.points for result in results), "ponto")
    values = {"name": name, "total": total, "results": results}
    return render("grade_student.html", levels=LEVELS, link=github_link, sentence=_sentence, **values)


def _sentence(text: str) -> Markup:
    """Text for HTML, first letter raised, full stop at the end, `esperava` and `encontrei` where the eye finds them."""
    whole = str(escape(text[:1].upper() + text[1:]))
    whole += "" if whole.endswith((".", "!", "?")) else "."
    return Markup(re.sub(r"\b(esperava|encontrei)\b", r"<strong>\1</strong>", whole))


def class_page(results: list[Result], pages: dict[str, str]) -> str:
    """The class at a glance: who has how many points, and which criteria need another lesson.

    `pages` has the address of each student's page.
    """
    graded = [result for result in results if result.marks]
    tried = Counter(name for result in graded for name in _named(result))
    earned = Counter(name for result in graded for name, mark in _named(result).items() if mark.earned)
    tasks: dict[str, list[dict[str, object]]] = {}
    for name, (task, check) in _criteria(graded).items():
        share = earned[name] / tried[name]
        row = {"check": check, "earned": earned[name], "tried": tried[name]}
        tasks.setdefault(task.title, []).append(row | {"share": percent(share, 0), "width": round(100 * share)})
    return render(
        "grade_class.html", results=results, pages=pages, tasks=tasks, link=github_link,
        files=plural(len(results), "arquivo"), students=plural(len(pages), "estudante"), ungraded=len(results) - len(graded),
    )  # fmt: skip
