"""Fingerprints: every repeat is found, also where they go to the disk."""

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from afina.jsonl.repeats import Fingerprints


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=60))
def test_fingerprints_spill_and_still_find_every_repeat(values):
    with patch("afina.jsonl.repeats.BATCH", 8):
        prints = Fingerprints()
        for start in range(0, len(values), 5):
            prints.extend(values[start : start + 5])
        pairs = [pair for a, b in prints.repeats() for pair in zip(a.tolist(), b.tolist(), strict=True)]
        prints.close()
    wanted = [(i, values.index(v)) for i, v in enumerate(values) if v and values.index(v) < i]
    assert sorted(pairs) == wanted
