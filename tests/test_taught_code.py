"""Rule 1 of the house: what a from-scratch lesson defines and `afina.gpt` holds is one code, docstrings apart."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LESSONS = [
    path
    for path in sorted((ROOT / "notebooks" / "src").glob("[0-9][0-9]_*.py"))
    if 4 <= int(path.stem[:2]) <= 12  # the lessons that build a language model by hand
]


def definitions(source: str) -> dict[str, list[str]]:
    """{name: the dump of each top-level function or class of that name}, without docstrings."""
    found: dict[str, list[str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for inner in ast.walk(node):
                if isinstance(inner, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(inner) is not None:
                    inner.body = inner.body[1:] or [ast.Pass()]
            found.setdefault(node.name, []).append(ast.dump(node))
    return found


def drift(lesson: str, package: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """(names that lesson and package share, those of them that differ)."""
    taught = definitions(lesson)
    shared = sorted(taught.keys() & package.keys())
    return shared, [name for name in shared if any(dump not in package[name] for dump in taught[name])]


@pytest.fixture(scope="module")
def package() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "afina" / "gpt").glob("*.py")):
        for name, dumps in definitions(path.read_text(encoding="utf-8")).items():
            found.setdefault(name, []).extend(dumps)
    return found


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_teaches_what_the_package_holds(lesson, package):
    shared, different = drift(lesson.read_text(encoding="utf-8"), package)
    assert not different, f"these differ from afina/gpt: {', '.join(different)}"
    assert shared, "the lesson builds nothing that afina/gpt holds"


def test_the_comparison_sees_code_and_not_docstrings(package):
    source = (ROOT / "afina" / "gpt" / "tokenizer.py").read_text(encoding="utf-8")
    rewritten = re.sub(r'"""The ids of one piece.*?"""', '"""Another explanation."""', source, flags=re.S)
    assert rewritten != source and drift(rewritten, package)[1] == []
    mutant = source.replace("best = min(pairs, key=self.ranks.get)", "best = max(pairs, key=self.ranks.get)")
    assert mutant != source and drift(mutant, package)[1] == ["Tokenizer"]
