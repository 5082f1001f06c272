"""data/reviews.jsonl.gz: product reviews of two opinions, of which the one that decides gives the sentiment.

All text is made from `lexicon.json` and a seed; the splits are part of the data. Only `Random.random()` is drawn from, the
one method whose sequence Python promises to keep between versions. The same holds for its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from afina.data.lexicon import SENTIMENTS
from afina.data.shop import Draw
from afina.runtime import SEED
from workshop.make.portuguese import PT, Noun, agree, sentence

_BE = {"ind": "é são", "sub": "seja sejam", "inf": "ser serem", "acc": " "}
_FAR = {"ind": "está estão", "sub": "esteja estejam", "inf": "estar estarem", "acc": " "}
_OPPOSITE = {"positivo": "negativo", "negativo": "positivo"}


def _opinion(draw: Draw, aspect: Noun, sentiment: str, words: dict[str, list[str]]) -> dict[str, str]:
    """One opinion on an aspect in the moods that the templates need: indicative, subjunctive, infinitive, after "achei".

    Half of the good and bad opinions say the opposite word and deny it: "não é nada ruim", "está longe de ser ótimo".
    """
    denied = sentiment in _OPPOSITE and draw.chance(0.5)
    word = agree(draw.one(words[_OPPOSITE[sentiment] if denied else sentiment]), aspect)
    if denied and draw.chance(0.4):
        verbs, before, after = _FAR, "", "longe de ser "
    elif denied:
        verbs, before, after = _BE, "não ", "nada "
    else:
        strengths = ["", "", "", "mesmo ", "realmente "] if sentiment in _OPPOSITE else ["", "", "bem ", "só "]
        verbs, before, after = _BE, "", draw.one(strengths)
    opinion = {}
    for mood, forms in verbs.items():
        verb = forms.split(" ")[aspect.plural]
        opinion[mood] = f"{aspect.the} {before}{verb} {after}{word}" if verb else f"{aspect.the} {after}{word}"
    return opinion


class _Moods:
    """Gives a template `{D.ind}` and the like."""

    def __init__(self, moods: dict[str, str]):
        self.__dict__.update(moods)


def _other(draw: Draw, sentiment: str) -> str:
    return draw.one([s for s in SENTIMENTS if s != sentiment])


def _review(draw: Draw, template: str, deciding: str, other: str, words: dict[str, list[str]]) -> str:
    name = draw.one(list(PT["review_products"]))
    product = Noun.read(name)
    first, second = (Noun.read(a) for a in draw.some(PT["review_products"][name], 2))
    pair = [_Moods(_opinion(draw, aspect, s, words)) for aspect, s in ((first, deciding), (second, other))]
    body = template.format(D=pair[0], O=pair[1], A=pair[0], B=pair[1])
    opener = draw.one(PT["review_openers"]).format(
        p=product.word,
        o_p=product.pick("o a"),
        O_p=product.pick("O A"),
        um_p=product.pick("um uma"),
        oa_p=product.pick("o a"),
        esse_p=product.pick("esse essa"),
    )
    if opener.endswith(": "):
        body = body[0].lower() + body[1:]
    return sentence(opener + body + draw.one(PT["review_closers"]))


def reviews(seed: int = SEED) -> Iterator[dict]:
    """Rows {text, label, split}: two opinions joined by contrast, of which the one that decides gives the label.

    The two sentiments always differ, and good or bad is said by denying its opposite half of the time: the words alone
    do not tell which one decides. Labels are balanced and no text stands twice. Splits: train and validation (6,000 and
    600), test_templates (600: the same words in templates of their own), test_adjectives (600: adjectives that only
    unlabelled has) and unlabelled (12,000, label null: all words and templates, pairs of like opinions, verdicts).
    """
    draw, seen = Draw(seed), set()
    known, held_out = PT["adjectives"], PT["adjectives_held_out"]
    every = {s: known[s] + held_out[s] * 2 for s in SENTIMENTS}
    train, test = PT["review_templates"], PT["review_templates_test"]

    def fresh(make: Callable[[], str]) -> str:
        while (text := make()) in seen:
            pass
        seen.add(text)
        return text

    labelled = (
        ("train", 6_000, train, known),
        ("validation", 600, train, known),
        ("test_templates", 600, test, known),
        ("test_adjectives", 600, train, held_out),
    )
    for split, n, templates, words in labelled:
        for i in range(n):
            label = SENTIMENTS[i % 3]
            text = fresh(lambda: _review(draw, draw.one(templates), label, _other(draw, label), words))  # noqa: B023
            yield {"text": text, "label": label, "split": split}
    for _ in range(12_000):
        sentiment = draw.one(SENTIMENTS)
        if draw.chance(0.5):
            template, other = draw.one(train + test), _other(draw, sentiment)
        else:
            template, other = draw.one(PT["review_pairs"]), sentiment
        verdict = " " + draw.one(PT["review_verdicts"][sentiment]) if draw.chance(0.5) else ""
        text = fresh(lambda: _review(draw, template, sentiment, other, every) + verdict)  # noqa: B023
        yield {"text": text, "label": None, "split": "unlabelled"}
