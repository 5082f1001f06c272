"""Each kind of request is asked in four ways, and in two that only the test has."""

from workshop.make.phrasings import PHRASINGS


def test_each_kind_has_four_phrasings_and_two_held_out():
    for known, held_out in PHRASINGS.values():
        assert (len(known), len(held_out)) == (4, 2) and set(known).isdisjoint(held_out)
