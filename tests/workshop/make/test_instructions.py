"""Instructions: every answer follows from its request, and the held-out splits hold out what they promise."""

from collections import Counter

from workshop.make.instructions import instructions
from workshop.make.phrasings import PHRASINGS


def test_splits_and_kinds(clubs):
    rows = list(instructions(clubs))
    assert Counter(row["split"] for row in rows)["train"] == 1_884
    assert len({(row["instruction"], row["input"]) for row in rows}) == len(rows)
    assert {row["kind"] for row in rows} == set(PHRASINGS)
    combinations = {
        name: {one for row in rows if row["split"] == name for one in row["combinations"]}
        for name in ("train", "validation", "test_combinations", "test_phrasings")
    }
    assert combinations["train"].isdisjoint(combinations["validation"] | combinations["test_combinations"])
    assert combinations["test_phrasings"] <= combinations["train"]
    for row in rows:
        known, held_out = PHRASINGS[row["kind"]]
        assert row["phrasing"] in (held_out if row["split"] == "test_phrasings" else known)
        assert all(value in row["output"] or value.capitalize() in row["output"] for value in said(row)), row


def said(row):
    """What a right answer says, but for the question of who has it, which the answer repeats with an article."""
    return [value for name, value in row["attributes"].items() if name not in ("clube",)]
