"""What the check cells of a graded task compare, and say."""

import copy

import pytest

from afina.teach.check import NotYet, difference, expect


@pytest.mark.parametrize(
    ("found", "wanted", "words"),
    [
        (None, 3, "em branco"),
        ([1, 2], [1, 3], "no item 1, esperava 3, encontrei 2"),
        ([1], [1, 2], "esperava 2 itens, encontrei 1"),
        (0.1 + 0.2, 0.3, ""),
        ((1, 2), [1, 2], ""),
        ("a", "b", "esperava 'b', encontrei 'a'"),
        (True, 1, "esperava 1, encontrei True"),
        (float("nan"), float("nan"), ""),
        ({"a": 1}, {"a": 2}, "esperava {'a': 2}"),
        (5, lambda n: n > 3 or "pequeno", ""),
        (2, lambda n: n > 3 or "pequeno", "pequeno"),
        ("x", lambda n: n > 3, "não deu para conferir"),
    ],
)
def test_difference(found, wanted, words):
    said = difference(found, wanted)
    assert (words in said) if words else said == ""


def test_expect_prints_or_raises(capsys):
    expect(copy.copy(4), 4, "quatro")
    assert capsys.readouterr().out == "✔ quatro\n"
    with pytest.raises(NotYet, match="quatro: esperava 4, encontrei 5"):
        expect(5, 4, "quatro")
