"""Prose: all documents different, no seams, and about clubs it says what the table says."""

import re

from workshop.make.portuguese import PT


def test_prose_splits(prose):
    assert {part: len(documents) for part, documents in prose.items()} == {"train": 8_100, "validation": 900}
    assert len({*prose["train"], *prose["validation"]}) == 9_000
    assert 1_500_000 < sum(len(d.encode()) for documents in prose.values() for d in documents) < 2_500_000


def test_texts_have_no_seams(prose, reviews, messages):
    """No unfilled slot, doubled space or sentence that begins in lower case."""
    texts = [*prose["train"], *prose["validation"], *(r["text"] for r in reviews), *(r["text"] for r in messages)]
    for text in texts:
        assert not re.search(r"[{}*|]|\s{2}| $|\n$| [.,;:!?]", text), text
        assert not re.match(r"[a-zà-ú]", text), text
        assert not re.search(r"(?<!D)[.!?] [a-zà-ú]", text), text


def test_articles_agree_with_their_nouns(prose):
    genders = dict(noun.split("|") for noun in PT["things"])
    pattern = re.compile(r"\b([oa]|uma?|[dp]el[oa]|d[oa]|est[ea]|el[ea]) (" + "|".join(genders) + r")\b", re.I)
    seen = 0
    for text in prose["train"]:
        for article, noun in pattern.findall(text):
            seen += 1
            assert ("f" if article[-1].lower() == "a" else "m") == genders[noun], text
    assert seen > 10_000


def test_prose_says_about_clubs_what_the_table_says(prose, clubs):
    text = "\n".join(prose["train"])
    for club in clubs:
        founded = set(re.findall(rf"O {club['nome']} foi fundado em (\d+)", text))
        assert founded == {str(club["fundacao"])}
        assert f"O {club['nome']} joga no {club['estadio']}" in text
