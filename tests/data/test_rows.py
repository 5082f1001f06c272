"""One block of lines: a table and the account of every line, whatever a line holds."""

import json

from catalogue import row
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.data.rows import encode_rows, prepare
from afina.data.split import assign_splits


def test_four_columns_of_the_rows_that_stay():
    table = prepare(
        b"\n".join([row("1", "Caf&eacute;", " a  b "), b"", b"{", row("2", "", "x"), row("3", "y", "z", other=[1])])
    )
    assert [(kept.uid, kept.title, kept.content) for kept in table.rows] == [("1", "Café", "a b"), ("3", "y", "z")]
    assert (table.line, table.read) == ([1, 5], 5)
    assert table.split == assign_splits(["Café", "y"])
    assert table.broken == [(3, "JSON cortado antes do fim")]
    assert table.dropped == {"blank": 1, "broken": 1, "empty_title": 1}
    again = prepare(row("other", "Caf&#233;", "a b"))
    assert again.key == table.key[:1]  # the key is of the cleaned texts, not of the uid


def test_rows_are_written_with_a_sum_that_also_tells_their_split():
    blocks = [prepare(row("1", "a", "b"), shares) for shares in ((1, 0, 0), (0, 0, 1))]
    (lines, sums), (same, others) = map(encode_rows, blocks)
    assert lines == same and json.loads(lines[0]) == {"uid": "1", "title": "a", "content": "b"}
    assert sums != others


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=30) | st.sampled_from([row("1", "a", "b"), b"", b"{}", b'{"title": 1e999}', b"\r"])))
def test_no_line_crashes_the_engine(lines):
    table = prepare(b"\n".join(lines))
    assert table.read == len(table.rows) + sum(table.dropped.values())
