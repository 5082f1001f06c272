"""Reviews: balanced, without a text twice, and labelled by the rule that data/README.md tells."""

import re
from collections import Counter

import pytest
from course_data import split, tfidf

from workshop.make.portuguese import PT, Noun, agree


def test_review_splits(reviews):
    assert Counter(r["split"] for r in reviews) == {
        "train": 6_000,
        "validation": 600,
        "test_templates": 600,
        "test_adjectives": 600,
        "unlabelled": 12_000,
    }
    for name in ("train", "validation", "test_templates", "test_adjectives"):
        assert set(Counter(split(reviews, name)[1]).values()) == {len(split(reviews, name)[1]) // 3}
    assert set(split(reviews, "unlabelled")[1]) == {None}
    assert len({r["text"] for r in reviews}) == len(reviews)  # so no text is in two splits


def forms(adjectives):
    nouns = [Noun("x", feminine, plural) for feminine in (False, True) for plural in (False, True)]
    return {agree(word, noun): (s, word) for s, words in adjectives.items() for word in words for noun in nouns}


KNOWN, HELD_OUT = forms(PT["adjectives"]), forms(PT["adjectives_held_out"])


def words(texts):
    return {word for text in texts for word in re.findall(r"\w+", text.lower())}


def test_held_out_adjectives_are_only_in_the_unlabelled_texts(reviews):
    for name in ("train", "validation", "test_templates"):
        assert words(split(reviews, name)[0]).isdisjoint(HELD_OUT)
    test, unlabelled = words(split(reviews, "test_adjectives")[0]), words(split(reviews, "unlabelled")[0])
    assert test.isdisjoint(KNOWN)
    assert {word for _, word in HELD_OUT.values()} <= {HELD_OUT[form][1] for form in unlabelled & set(HELD_OUT)}
    assert test & set(HELD_OUT) <= unlabelled


OPINION = re.compile(
    r"\b(?:o|a|os|as) \w+ (não )?(?:(?:é|são|seja|sejam|ser|serem|está|estão|esteja|estejam|estar|estarem) )?"
    r"((?:longe de ser|nada|mesmo|realmente|bem|só) )?("
    + "|".join(sorted({**KNOWN, **HELD_OUT}, key=len, reverse=True))
    + r")\b"
)
CONCESSION = re.compile(r"(?:apesar de|embora|ainda que|a despeito de) $")


def read_by_the_rule(text):
    """What README.md says decides, read from the text alone."""
    opinions = list(OPINION.finditer(text.lower()))
    assert len(opinions) == 2, text
    weakened = [bool(CONCESSION.search(text.lower()[: m.start()])) for m in opinions]
    deciding = opinions[weakened.index(False)] if any(weakened) else opinions[1]
    sentiment = {**KNOWN, **HELD_OUT}[deciding[3]][0]
    denied = (deciding[2] or "").strip() in ("nada", "longe de ser")
    return {"positivo": "negativo", "negativo": "positivo"}[sentiment] if denied else sentiment


@pytest.mark.parametrize("name", ["train", "validation", "test_templates", "test_adjectives"])
def test_labels_follow_the_rule(reviews, name):
    for text, label in zip(*split(reviews, name), strict=True):
        assert read_by_the_rule(text) == label, text


def test_a_bag_of_words_is_not_enough_for_reviews(reviews):
    """The figures of data/README.md, with room for other versions of scikit-learn."""
    model = tfidf(reviews, C=10)
    score = {name: model.score(*split(reviews, name)) for name in ("validation", "test_templates", "test_adjectives")}
    assert score == pytest.approx({"validation": 0.472, "test_templates": 0.470, "test_adjectives": 0.342}, abs=0.02)
