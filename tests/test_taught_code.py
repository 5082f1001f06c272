"""Rule 1 of the house: what a from-scratch lesson defines and `afina.gpt` holds is one code, docstrings and comments apart."""

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


# What each lesson must go on sharing: a name that changes on one side only would no longer be compared.
TAUGHT = {
    "04": "PIECE split merge replace_pair Tokenizer train_bpe",
    "05": "ribbon Windows batches IGNORED pad pack",
    "06": "look_up frequencies sinusoidal add_positions rotary",
    "07": "causal_mask attention_weights attention_by_hand CausalSelfAttention",
    "08": "FeedForward Block GPT next_token_loss count_parameters",
    "09": "learning_rate_at make_optimizer batch_of train next_token_probabilities generate",
    "10": "LoRALinear merge",
    "11": "Classifier",
    "12": "alpaca prompt_ids encode_example Pair pad_examples shift masked_loss mix",
}


def assigned(node: ast.stmt) -> list[str]:
    """The name of a constant or type that a statement defines: it begins with a capital letter."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name) and target.id[0].isupper()]


def definitions(source: str) -> dict[str, list[str]]:
    """{name: the dump of each top-level function, class or constant of that name}, without docstrings."""
    found: dict[str, list[str]] = {}
    for node in ast.parse(source).body:
        for name in assigned(node):
            found.setdefault(name, []).append(ast.dump(node))
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
    assert set(shared) == set(TAUGHT[lesson.stem[:2]].split()), "a name is on one side only, or TAUGHT is old"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_drift_of_any_one_definition_is_seen(lesson, package):
    source = lesson.read_text(encoding="utf-8")
    for name in TAUGHT[lesson.stem[:2]].split():
        nodes = (node for node in ast.parse(source).body if name in (getattr(node, "name", None), *assigned(node)))
        node = next(nodes)
        lines = source.splitlines()
        drifted = "\n".join(
            [*lines[: node.end_lineno - 1], f"{lines[node.end_lineno - 1]} + 1", *lines[node.end_lineno :]]
        )
        assert drift(drifted, package)[1] == [name]


def test_the_comparison_sees_code_and_not_docstrings(package):
    source = (ROOT / "afina" / "gpt" / "tokenizer.py").read_text(encoding="utf-8")
    rewritten = re.sub(r'"""The ids of one piece.*?"""', '"""Another explanation."""', source, flags=re.S)
    assert rewritten != source and drift(rewritten, package)[1] == []
    mutant = source.replace("best = min(pairs, key=self.ranks.get)", "best = max(pairs, key=self.ranks.get)")
    assert mutant != source and drift(mutant, package)[1] == ["Tokenizer"]
