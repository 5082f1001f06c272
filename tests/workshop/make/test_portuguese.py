"""Agreement in gender and number, and the words of a club."""

import pytest

from afina.data.shop import Draw
from workshop.make.portuguese import Noun, agree, agree_color, any_thing, club_words, sentence, two_people


@pytest.mark.parametrize(
    ("word", "feminine", "plural", "expected"),
    [
        ("péssimo", True, False, "péssima"),
        ("péssimo", True, True, "péssimas"),
        ("bom", True, True, "boas"),
        ("bom", False, True, "bons"),
        ("ruim", True, True, "ruins"),
        ("comum", False, True, "comuns"),
        ("horrível", True, True, "horríveis"),
        ("agradável", False, True, "agradáveis"),
        ("excepcional", True, True, "excepcionais"),
        ("encantador", True, False, "encantadora"),
        ("encantador", False, True, "encantadores"),
        ("exemplar", True, True, "exemplares"),
        ("simples", True, True, "simples"),
        ("excelente", True, False, "excelente"),
    ],
)
def test_agreement(word, feminine, plural, expected):
    assert agree(word, Noun("x", feminine, plural)) == expected


def test_nouns_bring_their_articles():
    bag, straps = Noun.read("mochila|f"), Noun.read("alças|fp")
    assert (bag.the, bag.a, straps.the, straps.a) == ("a mochila", "uma mochila", "as alças", "umas alças")
    assert agree_color("laranja", bag) == "laranja" and agree_color("vermelho", bag) == "vermelha"
    assert sentence("bom dia. tudo bem? sim.") == "Bom dia. Tudo bem? Sim."


def test_people_differ_and_things_can_be_named():
    draw = Draw(1)
    for _ in range(50):
        one, two = two_people(draw)
        assert one != two
        thing = any_thing(draw)
        assert thing.full == f"{thing.noun.word} {thing.color} de {thing.material}"


def test_a_club_in_words(clubs):
    for club in clubs:
        words = club_words(club)
        assert words["capacidade"].replace(".", "") == str(club["capacidade"])
        assert ("nunca ganhou" in words["titulos"]) == (club["titulos_liga"] == 0)
