"""The files of labelled examples, by split."""

import pytest

from afina.data.examples import read_split
from afina.errors import CourseError


def test_a_split_is_read_whole_and_alone():
    rows = read_split("reviews", "validation", "")
    assert rows and {row["split"] for row in rows} == {"validation"} and all(row["text"] for row in rows)


def test_another_split_is_refused_with_the_file_and_the_remedy():
    with pytest.raises(CourseError, match=r'data/messages.jsonl.gz: não há divisão "teste". São train e test.'):
        read_split("messages", "teste", "São train e test.")
