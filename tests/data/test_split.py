"""The split of a row is decided by its title alone."""

import pytest

from afina.data.split import SPLITS, assign_splits
from afina.errors import CourseError


def test_splits_follow_the_title_alone():
    titles = [f"Produto {i}" for i in range(20_000)]
    splits = assign_splits(titles)
    assert assign_splits(reversed([title.upper() for title in titles])) == splits[::-1]
    shares = {split: splits.count(split) / len(splits) for split in SPLITS}
    assert shares == pytest.approx({"train": 0.90, "validation": 0.05, "test": 0.05}, abs=0.01)
    assert assign_splits(["Café", "produto 1", ""]) == ["train", "train", "train"]  # fixed for ever, on every machine


def test_shares_can_be_chosen():
    titles = [str(i) for i in range(500)]
    assert set(assign_splits(titles, (0, 0, 1))) == {"test"}
    assert set(assign_splits(titles, (1, 0, 0))) == {"train"}
    assert set(assign_splits(titles, (0, 1, 0))) == {"validation"}
    for bad in [(0.5, 0.5), (0.9, 0.2, -0.1), (0.5, 0.2, 0.2)]:
        with pytest.raises(CourseError, match="somem 1"):
            assign_splits(titles, bad)
