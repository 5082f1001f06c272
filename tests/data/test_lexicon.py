"""The lexicon holds what the generators of both languages ask for."""

from afina.data.lexicon import LEXICON, SENTIMENTS


def test_both_languages_are_there():
    assert set(LEXICON) == {"en", "pt"}
    assert LEXICON["en"]["departments"] and LEXICON["en"]["title_layouts"]


def test_every_sentiment_has_its_words():
    for words in ("adjectives", "adjectives_held_out", "review_verdicts"):
        assert set(LEXICON["pt"][words]) == set(SENTIMENTS)


def test_no_adjective_is_both_known_and_held_out():
    known, held_out = LEXICON["pt"]["adjectives"], LEXICON["pt"]["adjectives_held_out"]
    assert {word for words in known.values() for word in words}.isdisjoint(
        word for words in held_out.values() for word in words
    )
