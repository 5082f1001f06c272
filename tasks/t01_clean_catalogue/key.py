"""The answer key of task 01. The reference is the course's own engine, afina.data.clean."""

from random import Random

from afina.data.clean import clean
from afina.teach.tasks import Hidden, Wrong

CALL = "[clean_text(text) for text in inputs]"
WORDS = ["mesa", "cadeira", "abajur", "estante", "tapete", "vaso", "espelho", "cortina"]


def hidden(rng: Random) -> dict[str, Hidden]:
    def words(n):
        return [rng.choice(WORDS) for _ in range(n)]

    def cases(texts):
        return Hidden(CALL, texts, [clean(text) for text in texts])

    entities = [
        f"{a} &{name}; {b}"
        for name in ("ccedil", "Aacute", "#233", "#xE3", "amp")
        for a, b in [words(2)]
    ]
    tags = [
        f"{a}{tag}{b}"
        for tag in ("<br/>", "<b>", "</b>", "<!-- nota -->", " < ")
        for a, b in [words(2)]
    ]
    spaces = [
        (" " * rng.randint(2, 5)).join(words(3)) + end for end in ("  ", "\n", "\t\t", "\u00a0 ")
    ]
    return {"entities": cases(entities), "tags": cases(tags), "spaces": cases(spaces)}


WRONG = [
    Wrong(
        "entidades destruídas",
        {
            "    while html.unescape(text) != text:\n        text = html.unescape(text)\n": "    text = re.sub(r'&#?\\w+;', '', text)\n"
        },
        loses=["entities"],
    )
]
