"""The corpus of models/llama-base: spec cards, little stories and short questions about products, in English with some
Portuguese questions.

What a foundation model must bring to lesson 14 is the habit of copying: say again, in other words and another order, what a
title said. No product description is among these documents, and no title that the course's split holds out.
"""

from __future__ import annotations

from collections.abc import Iterator

from afina.data.lexicon import LEXICON
from afina.data.shop import ATTRIBUTES, Draw, shop_products
from afina.data.synthetic import Product

NAMES = ("Ana", "Paul", "Marta", "Leo", "Rita", "Tom", "Clara", "Hugo", "Eva", "Nuno", "Iris", "Sam", "Lia", "Max")
PLACES = (
    "on the top shelf", "in the blue box", "next to the door", "under the counter", "in the window", "by the stairs",
    "behind the desk", "in the storage room",
)  # fmt: skip
# Each question with the form of its answer. {a} is the attribute.
QUESTIONS = {
    "brand": (
        ("Which brand is it?", "{a}"),
        ("Who makes this product?", "It is made by {a}."),
        ("Qual é a marca?", "{a}"),
    ),
    "item": (
        ("What is it?", "It is the {a}."),
        ("What kind of product is this?", "{a}"),
        ("Que produto é este?", "{a}"),
    ),
    "color": (("What color is it?", "It is {a}."), ("Name the color.", "{a}"), ("Qual é a cor do produto?", "{a}")),
    "material": (
        ("What is it made of?", "Made of {a}."),
        ("Name the material.", "{a}"),
        ("De que material é feito?", "{a}"),
    ),
    "size": (("What size is it?", "The size is {a}."), ("Name the size.", "{a}"), ("Qual é o tamanho?", "{a}")),
    "series": (
        ("Which series is it from?", "The {a} series."),
        ("Name the series.", "{a}"),
        ("De que série é?", "{a}"),
    ),
    "category": (
        ("Which category is it in?", "It is in {a}."),
        ("Name the category.", "{a}"),
        ("Em que categoria fica?", "{a}"),
    ),
    "department": (("Which department sells it?", "Ask for it in {a}."), ("Em que departamento fica?", "{a}")),
}
# Everyday words: a tokenizer that knew only product cards would spell "when" letter by letter.
COMMON_WORDS = LEXICON["en"]["common_words"]
KINDS = ("card",) * 8 + ("question",) * 6 + ("story",) * 4 + ("talk",) * 2  # shares of twenty


def shop_documents(n: int, seed: int = 1, split: str = "train") -> Iterator[str]:
    """The first `n` documents of `seed` on titles of `split`, in the seed's order; the first ones of any n are the same."""
    draw, products = Draw(seed), shop_products(seed, split)
    for _ in range(n):
        yield _WRITERS[draw.one(KINDS)](draw, products)


def card(title: str, product: Product, names: list[str]) -> str:
    """A title and its spec card: the attributes of `names`, in that order, each in lower case as a sentence would say it."""
    return f"{title}\n" + " ".join(f"{name.capitalize()}: {getattr(product, name)}." for name in names)


def alpaca_form(instruction: str, title: str = "", answer: str = "") -> str:
    """The alpaca form of lesson 14, without the closing token; the heading of the input comes only with a title."""
    given = f"### Input:\n{title}\n\n" if title else ""
    return f"### Instruction:\n{instruction}\n\n{given}### Response:\n{answer}"


def _some(draw: Draw, product: Product, k: int) -> list[str]:
    names = [name for name in ATTRIBUTES if getattr(product, name)]
    return draw.some(names, min(k, len(names)))


def _short(product: Product, *names: str) -> str:
    """ "short teal brass watering can": the attributes of `names` that the product has, then the item."""
    return " ".join(filter(None, (*(getattr(product, name) for name in names), product.item)))


def _card(draw: Draw, products) -> str:
    title, product = next(products)
    text = card(title, product, _some(draw, product, draw.one((4, 5, 6, 8))))
    return f"{text} In short: {title.lower()}." if draw.chance(0.5) else text  # copying, at its plainest


def _question(draw: Draw, products) -> str:
    title, product = next(products)
    parts = []
    for name in _some(draw, product, draw.one((1, 2, 3))):
        question, answer = draw.one(QUESTIONS[name])
        parts.append((question, answer.format(a=getattr(product, name))))
    question, answer = parts[0]
    form = draw.one(range(10))
    if form < 4:
        return alpaca_form(question, title, answer)
    if form < 7:
        return alpaca_form(f"{question} {title}", answer=answer)
    return title + "\n" + "\n".join(f"{question} {answer}" for question, answer in parts)


def _story(draw: Draw, products) -> str:
    """Two people, two products, and a question that can only be answered by looking back."""
    (_, a), (_, b) = next(products), next(products)
    one, two = draw.some(NAMES, 2)
    first, second = draw.some(("size", "color", "material"), 2)
    what = {one: a, two: b}
    text = f"{one} has the {_short(a, first, second)} from {a.brand}. {two} has the {_short(b, first, second)} from {b.brand}."
    who = draw.one((one, two))
    kind = draw.one(range(4))
    product = what[who]
    if kind == 0:
        return f"{text} What does {who} have? The {_short(product, first, second)}."
    if kind == 1:
        return f"{text} Which brand does {who} like? {product.brand}."
    if kind == 2:
        return f"{text} Who has the {_short(product, first)}? {who} has it, and it is from {product.brand}."
    spot_a, spot_b = draw.some(PLACES, 2)
    place = spot_a if who == one else spot_b
    return f"{text} The {a.item} is {spot_a}. The {b.item} is {spot_b}. Where is the {product.item} of {who}? It is {place}."


def _talk(draw: Draw, products) -> str:
    """A customer asks, the shop answers from the title."""
    title, product = next(products)
    who = draw.one(NAMES)
    lines = [f"{who} is looking at the {product.item}: {title}."]
    for name in _some(draw, product, 2):
        question, answer = draw.one(QUESTIONS[name][:2])
        lines.append(f"- {question}\n- {answer.format(a=getattr(product, name))}")
    end = draw.one(
        (
            f"{who} takes the {_short(product, 'color')} home.",
            f"So {who} buys the {_short(product, 'material')} by {product.brand}.",
        )
    )
    return "\n".join([*lines, end])


_WRITERS = {"card": _card, "question": _question, "story": _story, "talk": _talk}
