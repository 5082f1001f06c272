"""The course's Portuguese corpora: reviews with a sentiment, short messages with and without spam, prose, instructions.

All text is made here from `lexicon.json` and a seed; the splits are part of the data. Only `Random.random()` is drawn
from, the one method whose sequence Python promises to keep between versions.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from afina.data.synthetic import LEXICON
from afina.runtime import SEED

SENTIMENTS = ("positivo", "negativo", "neutro")
_PT = LEXICON["pt"]


class Draw:
    """A seeded source of choices."""

    def __init__(self, seed: int):
        self._random = random.Random(seed).random

    def one(self, options):
        return options[int(self._random() * len(options))]

    def some(self, options, k: int) -> list:
        """`k` different options, in random order."""
        rest = list(options)
        return [rest.pop(int(self._random() * len(rest))) for _ in range(k)]

    def chance(self, p: float) -> bool:
        return self._random() < p


# --- Portuguese agreement --------------------------------------------------------------------------------------------


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

    @property
    def of_the(self) -> str:
        return f"{self.pick('do da dos das')} {self.word}"


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


def _sentence(text: str) -> str:
    """A capital letter at the start of the text and after each full stop."""
    return re.sub(r"(^|[.!?] )(\w)", lambda m: m[1] + m[2].upper(), text)


# --- reviews ---------------------------------------------------------------------------------------------------------

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
    name = draw.one(list(_PT["review_products"]))
    product = Noun.read(name)
    first, second = (Noun.read(a) for a in draw.some(_PT["review_products"][name], 2))
    pair = [_Moods(_opinion(draw, aspect, s, words)) for aspect, s in ((first, deciding), (second, other))]
    body = template.format(D=pair[0], O=pair[1], A=pair[0], B=pair[1])
    opener = draw.one(_PT["review_openers"]).format(
        p=product.word,
        o_p=product.pick("o a"),
        O_p=product.pick("O A"),
        um_p=product.pick("um uma"),
        oa_p=product.pick("o a"),
        esse_p=product.pick("esse essa"),
    )
    if opener.endswith(": "):
        body = body[0].lower() + body[1:]
    return _sentence(opener + body + draw.one(_PT["review_closers"]))


def reviews(seed: int = SEED) -> Iterator[dict]:
    """Rows {text, label, split}: two opinions joined by contrast, of which the one that decides gives the label.

    The two sentiments always differ, and good or bad is said by denying its opposite half of the time: the words alone
    do not tell which one decides. Labels are balanced and no text stands twice. Splits: train and validation (6,000 and
    600), test_templates (600: the same words in templates of their own), test_adjectives (600: adjectives that only
    unlabelled has) and unlabelled (12,000, label null: all words and templates, pairs of like opinions, verdicts).
    """
    draw, seen = Draw(seed), set()
    known, held_out = _PT["adjectives"], _PT["adjectives_held_out"]
    every = {s: known[s] + held_out[s] * 2 for s in SENTIMENTS}
    train, test = _PT["review_templates"], _PT["review_templates_test"]

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
            template, other = draw.one(_PT["review_pairs"]), sentiment
        verdict = " " + draw.one(_PT["review_verdicts"][sentiment]) if draw.chance(0.5) else ""
        text = fresh(lambda: _review(draw, template, sentiment, other, every) + verdict)  # noqa: B023
        yield {"text": text, "label": None, "split": "unlabelled"}


# --- short messages --------------------------------------------------------------------------------------------------


def messages(seed: int = SEED) -> Iterator[dict]:
    """Rows {text, label, split}: 4,000 short messages, 13 % spam, in words that both kinds share.

    A message is a body of its kind between an opening and an ending that both kinds share; a body that starts with * in
    the lexicon is written by a company, the others by a person. Splits: train (2,800), validation (400) and test (800),
    each with bodies of its own. No text stands twice.
    """
    draw, seen = Draw(seed + 1), set()
    pieces = _PT["messages"]

    def fresh(bodies: list[str]) -> str:
        while True:
            slots = {name: draw.one(options) for name, options in pieces["slots"].items()}
            slots["link"] = slots["link"].format(num=slots["num"])
            body = draw.one(bodies)
            voice = "empresa" if body.startswith("*") else "pessoal"
            opening, ending = draw.one(pieces["openings"][voice]), draw.one(pieces["endings"][voice])
            body = body.lstrip("*") if opening.endswith((", ", ": ")) else _sentence(body.lstrip("*"))
            text = _sentence((opening + body + ending).format(**slots))
            if text not in seen:
                seen.add(text)
                return text

    for split, n, source in (("train", 2_800, "train"), ("validation", 400, "validation"), ("test", 800, "test")):
        labels = draw.some(["spam"] * round(0.13 * n) + ["normal"] * (n - round(0.13 * n)), n)
        for label in labels:
            yield {"text": fresh(pieces[f"{label}_{source}"]), "label": label, "split": split}


# --- prose -----------------------------------------------------------------------------------------------------------

PROSE_DOCUMENTS = 9_000


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


def _people(draw: Draw) -> tuple[Noun, Noun]:
    one, two = draw.some(_PT["people"], 2)
    return Noun.read(one), Noun.read(two)


def _thing(draw: Draw, text: str = "") -> Thing:
    noun = Noun.read(text or draw.one(_PT["things"]))
    return Thing(noun, draw.one(_PT["colors"]), draw.one(_PT["thing_materials"][noun.word]))


def _club(club: dict) -> dict[str, str]:
    city, n, name = _PT["cities"][club["cidade"]], club["titulos_liga"], club["nome"]
    times = "uma vez" if n == 1 else f"{n} vezes"
    titles = f"O {name} ganhou a liga portuguesa {times}." if n else f"O {name} nunca ganhou a liga portuguesa."
    seats = f"{club['capacidade']:,}".replace(",", ".")
    return {**club, "capacidade": seats, "titulos": titles, "em_cidade": city["em"], "de_cidade": city["de"]}


def _club_facts(draw: Draw, clubs: list[dict]) -> str:
    club = _club(draw.one(clubs))
    return " ".join(fact.format(**club) for fact in draw.some(_PT["club_facts"], 3 + draw.chance(0.5)))


def _club_talk(draw: Draw, clubs: list[dict]) -> str:
    club, (one, two) = _club(draw.one(clubs)), _people(draw)
    lines = [f"{one.word} quer saber mais sobre o {club['nome']}."]
    for question, answer in draw.some(_PT["club_questions"], 2):
        lines.append(f"— {question.format(**club)} — pergunta {one.word}.")
        lines.append(f"— {answer.format(**club)[:-1]} — responde {two.word}.")
    return "\n".join(lines)


def _club_fans(draw: Draw, clubs: list[dict]) -> str:
    a, b = (_club(club) for club in draw.some(clubs, 2))
    one, two = _people(draw)
    asked, club = draw.one(((one, a), (two, b)))
    return (
        f"{one.word} torce para o {a['nome']} e {two.word} torce para o {b['nome']}. "
        f"Quando o {a['nome']} joga em casa, {one.word} vai ao {a['estadio']}, {a['em_cidade']}. "
        f"Quando o {b['nome']} joga em casa, {two.word} vai ao {b['estadio']}, {b['em_cidade']}. "
        f"Para que clube torce {asked.word}? {asked.word} torce para o {club['nome']}."
    )


def _city(draw: Draw, clubs: list[dict]) -> str:
    name = draw.one(list(_PT["cities"]))
    city, person = _PT["cities"][name], Noun.read(draw.one(_PT["people"])).word
    facts = draw.some(city["facts"], 2)
    local = [club["nome"] for club in clubs if club["cidade"] == name]
    if local and draw.chance(0.6):
        facts.append(f"O {draw.one(local)} é um clube {city['de']}.")
    start = draw.one(["mora", "passa as férias", "nasceu", "trabalha", "tem uma tia que mora"])
    end = draw.one(
        [
            f"{person} gosta muito {city['de']}.",
            f"Para {person}, não há cidade igual.",
            f"{person} já sabe tudo isso de cor.",
        ]
    )
    return " ".join([f"{person} {start} {city['em']}.", *facts, end])


def _possession(draw: Draw, clubs: list[dict]) -> str:
    one, two = _people(draw)
    a, b = (_thing(draw, text) for text in draw.some(_PT["things"], 2))
    place_a, place_b = draw.some(_PT["places"], 2)
    who, thing, place, other = draw.one(((one, a, place_a, two), (two, b, place_b, one)))
    noun, a_thing = thing.noun, thing.noun.pick("um uma")
    has = f"{one.word} tem {a.noun.pick('um uma')} {a.full}. {two.word} tem {b.noun.pick('um uma')} {b.full}. "
    kind = draw.one(range(3))
    if kind == 0:
        return f"{has}O que {who.word} tem? {who.word} tem {a_thing} {thing.full}."
    if kind == 1:
        where = f"{_sentence(a.noun.the)} de {one.word} fica {place_a} e {b.noun.the} de {two.word} fica {place_b}. "
        return f"{has}{where}Onde fica {noun.the} de {who.word}? {_sentence(noun.the)} {thing.color} fica {place}."
    return (
        f"{has}Hoje {who.word} emprestou {noun.the} para {other.word}. "
        f"Agora {noun.the} {thing.color} está com {other.word}.\n"
        f"— Obrigad{other.pick('o a')} {noun.pick('pelo pela')} {noun.word} de {thing.material} — disse {other.word}."
    )


def _lost(draw: Draw, clubs: list[dict]) -> str:
    (one, two), thing = _people(draw), _thing(draw)
    noun, the, color = thing.noun, thing.noun.the, thing.color
    wrong, right = draw.some(_PT["places"], 2)
    lost = [
        f"{one.word} perdeu {noun.pick('o a')} {thing.full}.",
        f"Faz dois dias que {one.word} procura {noun.pick('um uma')} {thing.full}.",
    ]
    found = [
        f"Então {two.word} procurou {right} e encontrou {the} {color}.",
        f"No fim da tarde, {two.word} entrou {right} e viu {the} {color}.",
    ]
    ending = [
        f"{one.word} ficou feliz: {the} de {thing.material} estava {right}.",
        f"— {noun.pick('Este Esta')} {noun.word} é {noun.pick('meu minha')}! — disse {one.word}.",
        f"{one.word} guardou {the} {color} e agradeceu a {two.word}.",
    ]
    search = f"{one.word} olhou {wrong}, mas {the} não estava lá."
    return " ".join([draw.one(lost), search, draw.one(found), draw.one(ending)])


def _shop(draw: Draw, clubs: list[dict]) -> str:
    (buyer, seller), thing = _people(draw), _thing(draw)
    noun, color, price = thing.noun, thing.color, 10 * (3 + draw.one(range(18)))
    other = agree_color(draw.one([hue for hue in _PT["colors"] if hue != thing.hue]), noun)
    lines = [
        f"— Bom dia! Você tem {noun.a} {color}? — pergunta {buyer.word}.",
        f"— Tenho, sim. {noun.pick('Ele Ela')} é de {thing.material} — responde {seller.word}.",
        f"— Quanto custa {noun.the} {color}?",
        f"— {_sentence(noun.the)} {color} custa {price} reais.",
    ]
    lines += draw.one(
        [
            [f"{buyer.word} paga {price} reais e leva {noun.the} {color} de {thing.material}."],
            [
                f"— É {noun.pick('caro cara')}. E {noun.the} {other}?",
                f"— {_sentence(noun.the)} {other} custa {price - 10} reais.",
                f"— Então levo {noun.the} {other}.",
            ],
            [f"— Obrigad{buyer.pick('o a')}, vou pensar — diz {buyer.word}."],
        ]
    )
    return "\n".join(lines)


def _product(draw: Draw, clubs: list[dict]) -> str:
    thing, price = _thing(draw), 10 * (3 + draw.one(range(18)))
    noun, color, material = thing.noun, thing.color, thing.material
    the, whole = _sentence(noun.the), thing.full
    use = draw.one(
        ["para o dia a dia", "para dar de presente", "para quem viaja muito", "para quem gosta de coisas simples"]
    )
    kind = draw.one(range(4))
    if kind == 0:
        card = f"Produto: {noun.word}. Cor: {color}. Material: {material}. Preço: {price} reais."
        return f"{card} {noun.pick('Este Esta')} {whole} custa {price} reais."
    if kind == 1:
        return (
            f"{the} {color} é {use}. {noun.pick('Ele Ela')} é de {material} e custa {price} reais. "
            f"Quem compra {noun.the} {color} costuma voltar à loja."
        )
    if kind == 2:
        its_color = agree_color(thing.hue, Noun("cor", True))
        return f"À venda: {whole}. Preço: {price} reais. {the} é de {material} e a cor é {its_color}."
    return f"Na vitrine há {noun.pick('um uma')} {whole}. A etiqueta diz: {noun.word} {color}, {price} reais, {use}."


def _colors(draw: Draw, clubs: list[dict]) -> str:
    person, thing = Noun.read(draw.one(_PT["people"])).word, _thing(draw)
    noun, color = thing.noun, thing.color
    fact = draw.one(_PT["nature"][_PT["colors"].index(thing.hue)])
    like = fact[0].lower() + fact[1:].split(" é ")[0]
    return (
        f"{fact} {_sentence(noun.the)} de {person} também é {color}. "
        f"{person} tem {noun.a} {color} como {like}: é {noun.a} de {thing.material}."
    )


_KINDS = (
    [_possession] * 5
    + [_lost] * 3
    + [_shop] * 3
    + [_product] * 3
    + [_colors] * 2
    + [_city] * 2
    + [_club_facts] * 2
    + [_club_talk, _club_fans] * 2
)


def prose(clubs: list[dict], seed: int = SEED) -> list[str]:
    """PROSE_DOCUMENTS short documents, all different, in which things named once must be named again.

    `clubs` are the rows of `data/clubes.json`, so that the prose says about clubs what the table says.
    """
    draw, seen = Draw(seed + 2), {}
    while len(seen) < PROSE_DOCUMENTS:
        seen[draw.one(_KINDS)(draw, clubs)] = None
    return list(seen)


# --- instructions ----------------------------------------------------------------------------------------------------

# kind: phrasings of the training, then phrasings that only test_phrasings has
_PHRASINGS = {
    "cor": (
        ("Diga a cor do produto.", "Qual é a cor do produto?", "De que cor é o produto?", "Escreva só a cor."),
        ("Que cor tem o produto?", "Leia o texto e diga a cor."),
    ),
    "material": (
        (
            "Diga o material do produto.",
            "De que material é o produto?",
            "De que é feito o produto?",
            "Escreva só o material.",
        ),
        ("Qual é o material do produto?", "Leia o texto e diga o material."),
    ),
    "preço": (
        ("Diga o preço do produto.", "Quanto custa o produto?", "Qual é o preço do produto?", "Escreva só o preço."),
        ("Quantos reais custa o produto?", "Leia o texto e diga o preço."),
    ),
    "anúncio": (
        (
            "Escreva um anúncio do produto.",
            "Anuncie o produto.",
            "Faça um anúncio com estes dados.",
            "Ponha o produto à venda.",
        ),
        ("Crie um anúncio do produto.", "Com estes dados, escreva um anúncio."),
    ),
    "ficha": (
        (
            "Escreva a ficha do produto.",
            "Faça uma ficha com estes dados.",
            "Preencha a ficha do produto.",
            "Ponha o texto em uma ficha.",
        ),
        ("Monte a ficha do produto.", "Com estes dados, faça uma ficha."),
    ),
    "dono": (
        ("Quem tem {o_a}?", "De quem é {o_a}?", "Diga quem tem {o_a}.", "Diga de quem é {o_a}."),
        ("Qual dos dois tem {o_a}?", "Leia o texto: de quem é {o_a}?"),
    ),
    "estádio": (
        ("Onde joga o {nome}?", "Onde o {nome} joga?", "Diga onde joga o {nome}.", "Qual é o estádio do {nome}?"),
        ("Em que estádio joga o {nome}?", "Diga o estádio do {nome}."),
    ),
    "ano": (
        (
            "Em que ano o {nome} foi fundado?",
            "Quando o {nome} foi fundado?",
            "Diga em que ano o {nome} foi fundado.",
            "Desde que ano existe o {nome}?",
        ),
        ("Diga quando o {nome} foi fundado.", "Qual é o ano em que o {nome} foi fundado?"),
    ),
    "cidade": (
        ("De que cidade é o {nome}?", "Qual é a cidade do {nome}?", "Diga de que cidade é o {nome}.", "De onde é o {nome}?"),
        ("Diga a cidade do {nome}.", "O {nome} é de que cidade?"),
    ),
}  # fmt: skip
_OF_CLUBS = ("estádio", "ano", "cidade")
_OF_THINGS = tuple(kind for kind in _PHRASINGS if kind not in _OF_CLUBS)
_INSTRUCTION_ROWS = {
    "train": 300,
    "validation": 20,
    "test_combinations": 30,
    "test_phrasings": 30,
}  # of each thing kind


def _thing_task(draw: Draw, kind: str, pairs: list[tuple[str, str]]) -> tuple[str, str, dict[str, str], list[str], str]:
    """(input, output, attributes, pairs of thing and colour, what the instruction must name) of one task on `pairs`."""
    (word, hue), (other_word, other_hue) = draw.some(pairs, 2)
    while kind == "dono" and other_word == word:
        other_word, other_hue = draw.one(pairs)
    thing, other = (
        Thing(Noun.read(name), its, draw.one(_PT["thing_materials"][Noun.read(name).word]))
        for name, its in ((word, hue), (other_word, other_hue))
    )
    noun, the, price = thing.noun, _sentence(thing.noun.the), str(10 * (3 + draw.one(range(18))))
    one, two = _people(draw)
    if kind == "dono":
        owners = [f"{one.word} tem {thing.noun.a} {thing.color}.", f"{two.word} tem {other.noun.a} {other.color}."]
        both = [f"{thing.noun.word} {thing.color}", f"{other.noun.word} {other.color}"]
        said = {"pessoa": one.word, "coisa": noun.word}
        return " ".join(draw.some(owners, 2)), f"{one.word} tem {noun.the}.", said, both, noun.the
    card = f"Produto: {noun.word}. Cor: {thing.color}. Material: {thing.material}. Preço: {price} reais."
    texts = [
        f"{one.word} comprou {noun.a} {thing.color} de {thing.material} por {price} reais.",
        f"{the} {thing.color} é de {thing.material} e custa {price} reais.",
        f"À venda: {thing.full}. Preço: {price} reais.",
    ]
    text = card if kind == "anúncio" else draw.one(texts if kind == "ficha" else [*texts, card])
    every = {"coisa": noun.word, "cor": thing.color, "material": thing.material, "preço": price}
    output, asked = {
        "cor": (f"{the} é {thing.color}.", ("coisa", "cor")),
        "material": (f"{the} é de {thing.material}.", ("coisa", "material")),
        "preço": (f"{the} custa {price} reais.", ("coisa", "preço")),
        "anúncio": (f"À venda: {thing.full} por {price} reais.", tuple(every)),
        "ficha": (card, tuple(every)),
    }[kind]
    return text, output, {name: every[name] for name in asked}, [f"{noun.word} {thing.color}"], ""


def _club_answer(kind: str, club: dict[str, str]) -> str:
    return {
        "estádio": "O {nome} joga no {estadio}.",
        "ano": "O {nome} foi fundado em {fundacao}.",
        "cidade": "O {nome} é {de_cidade}.",
    }[kind].format(**club)


def instructions(clubs: list[dict], seed: int = SEED) -> Iterator[dict]:
    """Rows {instruction, input, output, kind, phrasing, combinations, attributes, split}: requests and their answers.

    Six kinds of request about a thing described in the input, of which the instruction decides the answer, and three
    about a club, without input. A combination is a thing with its colour, or a club with a kind. `attributes` are what a
    right answer says. Splits: train (1,884), validation and test_combinations (combinations of their own), and
    test_phrasings (combinations of the training, asked in words that it has not). No request stands twice.
    """
    draw, seen = Draw(seed + 3), set()
    things = [(thing, hue) for thing in _PT["things"] for hue in _PT["colors"]]
    things = draw.some(things, len(things))
    asked = draw.some([(kind, club["nome"]) for kind in _OF_CLUBS for club in clubs], 3 * len(clubs))
    parts = {  # a tenth of the things and of the clubs for validation, a fifth for the test
        "validation": (things[:24], asked[:3]),
        "test_combinations": (things[24:72], asked[3:9]),
        "train": (things[72:], asked[9:]),
    }
    parts["test_phrasings"] = parts["train"]
    by_name = {club["nome"]: _club(club) for club in clubs}
    names = {"estádio": "estadio", "ano": "fundacao", "cidade": "cidade"}
    for split, rows in _INSTRUCTION_ROWS.items():
        pairs, questions = parts[split]
        made = []
        for kind in _OF_THINGS * rows:
            while True:
                phrasing = draw.one(_PHRASINGS[kind][split == "test_phrasings"])
                text, output, attributes, combinations, named = _thing_task(draw, kind, pairs)
                instruction = phrasing.format(o_a=named)
                if (instruction, text) not in seen:
                    break
            seen.add((instruction, text))
            made.append((instruction, text, output, kind, phrasing, combinations, attributes))
        for kind, name in questions:
            club = by_name[name]
            attributes = {"clube": name, kind: str(club[names[kind]])}
            for phrasing in _PHRASINGS[kind][split == "test_phrasings"]:
                instruction, output = phrasing.format(nome=name), _club_answer(kind, club)
                made.append((instruction, "", output, kind, phrasing, [f"{name} {kind}"], attributes))
        for instruction, text, output, kind, phrasing, combinations, attributes in draw.some(made, len(made)):
            yield {
                "instruction": instruction,
                "input": text,
                "output": output,
                "kind": kind,
                "phrasing": phrasing,
                "combinations": combinations,
                "attributes": attributes,
                "split": split,
            }


# --- files -----------------------------------------------------------------------------------------------------------


def _jsonl(rows: Iterator[dict]) -> Iterator[bytes]:
    return (json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def course_files(clubs: list[dict]) -> dict[str, Iterator[bytes]]:
    """Name and content of each Portuguese file of `data/`. In the prose a blank line ends a document."""
    documents = prose(clubs)
    cut = PROSE_DOCUMENTS * 9 // 10
    parts = {"prose_train.txt.gz": documents[:cut], "prose_validation.txt.gz": documents[cut:]}
    return {
        "reviews.jsonl.gz": _jsonl(reviews()),
        "messages.jsonl.gz": _jsonl(messages()),
        "instructions.jsonl.gz": _jsonl(instructions(clubs)),
        **{name: (f"{document}\n\n".encode() for document in part) for name, part in parts.items()},
    }
