"""Portuguese agreement: nouns with their articles, adjectives and colours that follow them, people and things by chance."""

from __future__ import annotations

import re
from dataclasses import dataclass

from afina.data.lexicon import LEXICON
from afina.data.shop import Draw
from afina.ptbr import number

PT = LEXICON["pt"]


@dataclass(frozen=True)
class Noun:
    """A noun with its gender and number, and the little words that agree with it."""

    word: str
    feminine: bool
    plural: bool = False

    @classmethod
    def read(cls, text: str) -> Noun:
        """From the lexicon's notation: "mochila|f", "alças|fp"."""
        word, form = text.split("|")
        return cls(word, form[0] == "f", form.endswith("p"))

    def pick(self, forms: str) -> str:
        """The form that agrees, of four or two: "o a os as", "ele ela"."""
        return forms.split()[self.feminine + 2 * self.plural]

    @property
    def the(self) -> str:
        return f"{self.pick('o a os as')} {self.word}"

    @property
    def a(self) -> str:
        return f"{self.pick('um uma uns umas')} {self.word}"


def agree(adjective: str, noun: Noun) -> str:
    """The adjective, given masculine singular, in the noun's gender and number."""
    word = adjective
    if noun.feminine:
        if word == "bom":
            word = "boa"
        elif word.endswith("o"):
            word = word[:-1] + "a"
        elif word.endswith("dor"):
            word += "a"
    if not noun.plural:
        return word
    for ending, plural in (
        ("ável", "áveis"),
        ("ível", "íveis"),
        ("al", "ais"),
        ("m", "ns"),
        ("r", "res"),
        ("es", "es"),
    ):
        if word.endswith(ending):
            return word[: -len(ending)] + plural
    return word + "s"


def sentence(text: str) -> str:
    """A capital letter at the start of the text and after each full stop."""
    return re.sub(r"(^|[.!?] )(\w)", lambda m: m[1] + m[2].upper(), text)


def agree_color(color: str, noun: Noun) -> str:
    """Colours that are names of things, and those that do not end in -o, have one form."""
    return color if color in ("cinza", "laranja", "marrom", "azul", "verde") else agree(color, noun)


@dataclass(frozen=True)
class Thing:
    """A thing with a colour (as it agrees) and a material: "caneca azul de louça"."""

    noun: Noun
    hue: str
    material: str

    @property
    def color(self) -> str:
        return agree_color(self.hue, self.noun)

    @property
    def full(self) -> str:
        return f"{self.noun.word} {self.color} de {self.material}"


def two_people(draw: Draw) -> tuple[Noun, Noun]:
    one, two = draw.some(PT["people"], 2)
    return Noun.read(one), Noun.read(two)


def any_thing(draw: Draw, text: str = "") -> Thing:
    noun = Noun.read(text or draw.one(PT["things"]))
    return Thing(noun, draw.one(PT["colors"]), draw.one(PT["thing_materials"][noun.word]))


def club_words(club: dict) -> dict[str, str]:
    """A row of `data/clubes.json` with the words that a sentence about it needs."""
    city, n, name = PT["cities"][club["cidade"]], club["titulos_liga"], club["nome"]
    times = "uma vez" if n == 1 else f"{n} vezes"
    titles = f"O {name} ganhou a liga portuguesa {times}." if n else f"O {name} nunca ganhou a liga portuguesa."
    return {
        **club,
        "capacidade": number(club["capacidade"]),
        "titulos": titles,
        "em_cidade": city["em"],
        "de_cidade": city["de"],
    }
