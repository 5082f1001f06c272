"""data/prose_*.txt.gz: short documents in which things named once must be named again."""

from __future__ import annotations

from afina.data.shop import Draw
from afina.runtime import SEED
from workshop.make.portuguese import PT, Noun, agree_color, any_thing, club_words, sentence, two_people

PROSE_DOCUMENTS = 9_000


def _club_facts(draw: Draw, clubs: list[dict]) -> str:
    club = club_words(draw.one(clubs))
    return " ".join(fact.format(**club) for fact in draw.some(PT["club_facts"], 3 + draw.chance(0.5)))


def _club_talk(draw: Draw, clubs: list[dict]) -> str:
    club, (one, two) = club_words(draw.one(clubs)), two_people(draw)
    lines = [f"{one.word} quer saber mais sobre o {club['nome']}."]
    for question, answer in draw.some(PT["club_questions"], 2):
        lines.append(f"— {question.format(**club)} — pergunta {one.word}.")
        lines.append(f"— {answer.format(**club)[:-1]} — responde {two.word}.")
    return "\n".join(lines)


def _club_fans(draw: Draw, clubs: list[dict]) -> str:
    a, b = (club_words(club) for club in draw.some(clubs, 2))
    one, two = two_people(draw)
    asked, club = draw.one(((one, a), (two, b)))
    return (
        f"{one.word} torce para o {a['nome']} e {two.word} torce para o {b['nome']}. "
        f"Quando o {a['nome']} joga em casa, {one.word} vai ao {a['estadio']}, {a['em_cidade']}. "
        f"Quando o {b['nome']} joga em casa, {two.word} vai ao {b['estadio']}, {b['em_cidade']}. "
        f"Para que clube torce {asked.word}? {asked.word} torce para o {club['nome']}."
    )


def _city(draw: Draw, clubs: list[dict]) -> str:
    name = draw.one(list(PT["cities"]))
    city, person = PT["cities"][name], Noun.read(draw.one(PT["people"])).word
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
    one, two = two_people(draw)
    a, b = (any_thing(draw, text) for text in draw.some(PT["things"], 2))
    place_a, place_b = draw.some(PT["places"], 2)
    who, thing, place, other = draw.one(((one, a, place_a, two), (two, b, place_b, one)))
    noun, a_thing = thing.noun, thing.noun.pick("um uma")
    has = f"{one.word} tem {a.noun.pick('um uma')} {a.full}. {two.word} tem {b.noun.pick('um uma')} {b.full}. "
    kind = draw.one(range(3))
    if kind == 0:
        return f"{has}O que {who.word} tem? {who.word} tem {a_thing} {thing.full}."
    if kind == 1:
        where = f"{sentence(a.noun.the)} de {one.word} fica {place_a} e {b.noun.the} de {two.word} fica {place_b}. "
        return f"{has}{where}Onde fica {noun.the} de {who.word}? {sentence(noun.the)} {thing.color} fica {place}."
    return (
        f"{has}Hoje {who.word} emprestou {noun.the} para {other.word}. "
        f"Agora {noun.the} {thing.color} está com {other.word}.\n"
        f"— Obrigad{other.pick('o a')} {noun.pick('pelo pela')} {noun.word} de {thing.material} — disse {other.word}."
    )


def _lost(draw: Draw, clubs: list[dict]) -> str:
    (one, two), thing = two_people(draw), any_thing(draw)
    noun, the, color = thing.noun, thing.noun.the, thing.color
    wrong, right = draw.some(PT["places"], 2)
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
    (buyer, seller), thing = two_people(draw), any_thing(draw)
    noun, color, price = thing.noun, thing.color, 10 * (3 + draw.one(range(18)))
    other = agree_color(draw.one([hue for hue in PT["colors"] if hue != thing.hue]), noun)
    lines = [
        f"— Bom dia! Você tem {noun.a} {color}? — pergunta {buyer.word}.",
        f"— Tenho, sim. {noun.pick('Ele Ela')} é de {thing.material} — responde {seller.word}.",
        f"— Quanto custa {noun.the} {color}?",
        f"— {sentence(noun.the)} {color} custa {price} reais.",
    ]
    lines += draw.one(
        [
            [f"{buyer.word} paga {price} reais e leva {noun.the} {color} de {thing.material}."],
            [
                f"— É {noun.pick('caro cara')}. E {noun.the} {other}?",
                f"— {sentence(noun.the)} {other} custa {price - 10} reais.",
                f"— Então levo {noun.the} {other}.",
            ],
            [f"— Obrigad{buyer.pick('o a')}, vou pensar — diz {buyer.word}."],
        ]
    )
    return "\n".join(lines)


def _product(draw: Draw, clubs: list[dict]) -> str:
    thing, price = any_thing(draw), 10 * (3 + draw.one(range(18)))
    noun, color, material = thing.noun, thing.color, thing.material
    the, whole = sentence(noun.the), thing.full
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
    person, thing = Noun.read(draw.one(PT["people"])).word, any_thing(draw)
    noun, color = thing.noun, thing.color
    fact = draw.one(PT["nature"][PT["colors"].index(thing.hue)])
    like = fact[0].lower() + fact[1:].split(" é ")[0]
    return (
        f"{fact} {sentence(noun.the)} de {person} também é {color}. "
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
    draw = Draw(seed + 2)
    seen: dict[str, None] = {}
    while len(seen) < PROSE_DOCUMENTS:
        seen[draw.one(_KINDS)(draw, clubs)] = None
    return list(seen)
