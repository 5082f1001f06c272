"""The old name of the table of models keeps what lessons take from it."""

from afina import prices
from afina.jsonl import limits


def test_the_old_names_are_the_table():
    assert limits.MODELS is prices.MODELS and limits.READ_ON == "2026-11-20"
