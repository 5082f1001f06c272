"""The course's shop: chance with a seed, and products as titles with what they say."""

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

from afina.data.clean import clean
from afina.data.lexicon import LEXICON
from afina.data.split import assign_splits
from afina.data.synthetic import Product, clean_title, product_at

T = TypeVar("T")
ATTRIBUTES = ("brand", "item", "color", "material", "size", "series", "category", "department")


class Draw:
    """A seeded source of choices."""

    def __init__(self, seed: int):
        self._random = random.Random(seed).random

    def one(self, options: Sequence[T]) -> T:
        return options[int(self._random() * len(options))]

    def some(self, options: Sequence[T], k: int) -> list[T]:
        """`k` different options, in random order."""
        rest = list(options)
        return [rest.pop(int(self._random() * len(rest))) for _ in range(k)]

    def chance(self, p: float) -> bool:
        return self._random() < p


def shop_products(seed: int, split: str = "train") -> Iterator[tuple[str, Product]]:
    """Endless pairs of a title of `split` and what it says; most titles cleaned as lesson 02 does, some as a shop writes them."""
    draw, index = Draw(seed + 1), 0
    slots = {"color": "c", "material": "m", "size": "s", "series": "e"}
    layouts = LEXICON["en"]["title_layouts"]
    while True:
        product = product_at(index, seed)
        index += 1
        have = {letter for name, letter in slots.items() if getattr(product, name)}
        layout = draw.one([i for i, (_, needs) in enumerate(layouts) if set(needs) == have])
        raw = clean_title(product, layout)
        title = clean(raw)
        as_written = draw.chance(0.3)
        if assign_splits([title]) == [split]:
            cleaned = {name: clean(getattr(product, name)) for name in ("brand", "size", "series")}
            yield (raw, product) if as_written else (title, product._replace(**cleaned))
