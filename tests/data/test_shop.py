"""Chance with a seed, and titles that belong to their split."""

import itertools

import pytest

from afina.data.clean import clean
from afina.data.shop import ATTRIBUTES, Draw, shop_products
from afina.data.split import assign_splits
from afina.data.synthetic import parse_title


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_title_belongs_to_its_split(split):
    for title, product in itertools.islice(shop_products(1, split), 500):
        assert assign_splits([clean(title)]) == [split]
        assert parse_title(title).item == product.item


def test_an_attribute_that_is_missing_is_empty():
    for _, product in itertools.islice(shop_products(2), 200):
        assert set(ATTRIBUTES) == set(product._fields)
        assert product.brand and product.item and product.category and product.department


def test_chance_is_the_same_on_every_machine():
    draw = Draw(7)
    assert "".join(draw.one("abcdef") for _ in range(8)) == "badadcad"
    assert sorted(Draw(1).some(range(10), 10)) == list(range(10))
    assert [Draw(3).chance(0.5) for _ in range(3)] == [Draw(3).chance(0.5)] * 3
