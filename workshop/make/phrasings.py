"""How each kind of request of data/instructions.jsonl.gz is asked: a table of words."""

# kind: phrasings of the training, then phrasings that only test_phrasings has
PHRASINGS = {
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
