"""The room as a whole: it imports nothing that stands on it."""

import ast

import afina.jobs
from afina import prices
from afina.runtime import course_root


def test_the_room_imports_nothing_that_stands_on_it():
    for path in (course_root() / "afina" / "jobs").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
            )
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert not any(name.startswith(("afina.teach", "afina.cloud", "afina.serve")) for name in names), path


def test_lessons_find_the_table_of_providers_here():
    assert afina.jobs.PROVIDERS is prices.PROVIDERS and afina.jobs.READ_ON == "2026-11-20"
