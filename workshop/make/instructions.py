"""data/instructions.jsonl.gz: requests in Portuguese with their answers."""

from __future__ import annotations

from collections.abc import Iterator

from afina.data.shop import Draw
from afina.runtime import SEED
from workshop.make.phrasings import PHRASINGS
from workshop.make.portuguese import PT, Noun, Thing, club_words, sentence, two_people

_OF_CLUBS = ("estádio", "ano", "cidade")
_OF_THINGS = tuple(kind for kind in PHRASINGS if kind not in _OF_CLUBS)
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
        Thing(Noun.read(name), its, draw.one(PT["thing_materials"][Noun.read(name).word]))
        for name, its in ((word, hue), (other_word, other_hue))
    )
    noun, the, price = thing.noun, sentence(thing.noun.the), str(10 * (3 + draw.one(range(18))))
    one, two = two_people(draw)
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
    things = [(thing, hue) for thing in PT["things"] for hue in PT["colors"]]
    things = draw.some(things, len(things))
    asked = draw.some([(kind, club["nome"]) for kind in _OF_CLUBS for club in clubs], 3 * len(clubs))
    parts = {  # a tenth of the things and of the clubs for validation, a fifth for the test
        "validation": (things[:24], asked[:3]),
        "test_combinations": (things[24:72], asked[3:9]),
        "train": (things[72:], asked[9:]),
    }
    parts["test_phrasings"] = parts["train"]
    by_name = {club["nome"]: club_words(club) for club in clubs}
    names = {"estádio": "estadio", "ano": "fundacao", "cidade": "cidade"}
    for split, rows in _INSTRUCTION_ROWS.items():
        pairs, questions = parts[split]
        made = []
        for kind in _OF_THINGS * rows:
            while True:
                phrasing = draw.one(PHRASINGS[kind][split == "test_phrasings"])
                text, output, attributes, combinations, named = _thing_task(draw, kind, pairs)
                instruction = phrasing.format(o_a=named)
                if (instruction, text) not in seen:
                    break
            seen.add((instruction, text))
            made.append((instruction, text, output, kind, phrasing, combinations, attributes))
        for kind, name in questions:
            club = by_name[name]
            attributes = {"clube": name, kind: str(club[names[kind]])}
            for phrasing in PHRASINGS[kind][split == "test_phrasings"]:
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
