"""The answer key of task 01. The reference for texts is the course's own engine, afina.data.clean.

Catalogue cases hold each kind of dirt alone, and what is expected of them follows the student's own `clean_text`: a mistake there
costs the points of `clean_text` only.
"""

import json
from random import Random

from afina.data.clean import clean
from workshop.tasks import Hidden, Wrong

WORDS = [
    "mesa",
    "cadeira",
    "abajur",
    "estante",
    "tapete",
    "vaso",
    "espelho",
    "cortina",
    "banco",
    "quadro",
]
CATALOGUE = """
products, dropped = clean_catalogue(inputs)
output = [[p["uid"], p["title"], p["content"]] for p in products], {name: n for name, n in dropped.items() if n}
"""
# the same, beside what the student's own clean_text makes of each row
FOLLOWED = (
    CATALOGUE
    + """
rows = map(json.loads, inputs)
output = [*output, [[clean_text(row["title"]), clean_text(row["content"])] for row in rows]]
"""
)


def line(uid: str, title: object, content: object) -> str:
    return json.dumps({"uid": uid, "title": title, "content": content})


def hidden(rng: Random) -> dict[str, Hidden]:
    def words(n: int) -> list[str]:
        return [rng.choice(WORDS) for _ in range(n)]

    def texts(cases: list[str]) -> Hidden:
        return Hidden(
            "[clean_text(text) for text in inputs]", cases, [clean(text) for text in cases]
        )

    def catalogue(good: int, bad: list[tuple[str, str]]) -> Hidden:
        """`good` different products with `bad` lines, each (reason, line), strewn among them."""
        rows = [
            ("", line(f"g{i}", f"produto {i} {words(1)[0]}", " ".join(words(4))))
            for i in range(good)
        ]
        rows += bad
        rng.shuffle(rows)
        kept = [json.loads(text) for reason, text in rows if not reason]
        counts = {reason: sum(r == reason for r, _ in rows) for reason, _ in bad}
        found = [[row["uid"], row["title"], row["content"]] for row in kept]
        return Hidden(CATALOGUE, [text for _, text in rows], [found, counts])

    entities = [
        f"{a} &{name}; {b}"
        for name in ("ccedil", "Aacute", "#233", "#xE3", "ntilde")
        for a, b in [words(2)]
    ]
    tags = [
        f"{a}{tag}{b}"
        for tag in ("<br/>", "<b>", "</b>", "<!-- nota -->", "<td align=left>")
        for a, b in [words(2)]
    ]
    tags += [f"{rng.randint(1, 9)} < {rng.randint(1, 9)}"]
    spaces = [
        (" " * rng.randint(2, 5)).join(words(3)) + end for end in ("  ", "\n", "\t\t", "\u00a0 ")
    ]
    signs = [f"{a}{sign} {b}" for sign in "!?()*@#$%_-'" for a, b in [words(2)]] + [
        "été, 3.5",
        "Ελλάδα",
        "日本",
        "ж2",
    ]
    twice = [
        f"{a} &amp;{name}; {b}" for name in ("ccedil", "amp;eacute", "#227") for a, b in [words(2)]
    ]
    twice += [f"{a}&amp;lt;b&amp;gt;{b}" for a, b in [words(2)]]

    broken = [text[: rng.randint(5, 20)] for text in (line("x", "vaso", "azul"),) * 3]
    broken += [
        "",
        "null",
        "3",
        '"texto"',
        '{"uid": "y", "content": "z"}',
        line("n", 7, "azul"),
        line("m", "vaso", None),
    ]
    empty = [("no_title", line("t", " " * n, "azul")) for n in (0, 2)]
    empty += [("no_content", line("c", "vaso novo", " " * n)) for n in (0, 1, 2)]
    twin = line("g0", "par de vasos", "azul")
    pairs = [("", twin), ("duplicate", twin), ("duplicate", twin)]

    def late_judge(found: list) -> bool | str:
        products, dropped, cleaned = found
        wanted = list(dict.fromkeys(map(tuple, cleaned)))
        if [tuple(product[1:]) for product in products] == wanted and dropped == {
            "duplicate": len(cleaned) - len(wanted)
        }:
            return True
        return f"esperava {len(wanted)} produtos diferentes depois da limpeza, encontrei {len(products)}, e a conta {dropped}"

    base = [(f"{a} {i}", f"{b} {c}") for i in range(6) for a, b, c in [words(3)]]
    late = [(f"{title} ", f"  {content}") for title, content in base] + [
        (t, f"{c}!") for t, c in base[:3]
    ]
    late = [line(f"l{i}", *pair) for i, pair in enumerate([*base, *late])]

    whole = catalogue(
        9, [("broken", "x"), ("no_title", line("u", "", "a")), ("no_content", line("v", "b", ""))]
    )
    total = len(whole.inputs)

    def whole_judge(found: list) -> bool | str:
        products, dropped = found
        count = len(products) + sum(dropped.values())
        return (
            count == total
            or f"entraram {total} linhas, esperava {total} contadas, encontrei {count}"
        )

    return {
        "entities": texts(entities),
        "tags": texts(tags),
        "spaces": texts(spaces),
        "signs": texts(signs),
        "twice": texts(twice),
        "broken": catalogue(5, [("broken", text) for text in broken]),
        "empty": catalogue(5, empty),
        "duplicates": Hidden(
            CATALOGUE,
            [text for _, text in pairs],
            [[["g0", "par de vasos", "azul"]], {"duplicate": 2}],
        ),
        "late": Hidden(FOLLOWED, late, late_judge),
        "whole": Hidden(CATALOGUE, whole.inputs, whole_judge),
    }


UNESCAPE = """    while html.unescape(text) != text:
        text = html.unescape(text)
"""
WRONG = [
    Wrong("entidades destruídas", {UNESCAPE: "    text = re.sub(r'&#?\\w+;', '', text)\n"}, loses=["entities", "twice"]),
    Wrong("entidades decodificadas uma vez só", {UNESCAPE: "    text = html.unescape(text)\n"}, loses=["twice"]),
    Wrong("tag que cola as palavras", {'[^<>]*>", " ", text)': '[^<>]*>", "", text)'}, loses=["tags", "twice"]),
    Wrong("conta tomada por tag", {'r"<[A-Za-z/!?][^<>]*>"': 'r"<[^>]*>"'}, loses=["tags"]),
    Wrong("só letras sem acento", {'unicodedata.category(char)[0] in "LMN"': "(char.isalnum() and char.isascii())"},
          loses=["entities", "signs", "twice"]),
    Wrong("espaços deixados como estavam", {'return " ".join("".join(kept).split())': 'return "".join(kept).strip(" ")'},
          loses=["tags", "spaces"]),
    Wrong("linhas quebradas puladas sem contar", {'            dropped["broken"] += 1\n': ""}, loses=["broken", "whole"]),
    Wrong("um erro derruba tudo", {"except (ValueError, KeyError, TypeError)": "except ZeroDivisionError"},
          loses=["broken", "whole"]),
    Wrong("sem descrição, fica", {"elif not content:": "elif content is None:"}, loses=["empty"]),
    Wrong("repetidas ficam", {"elif (title, content) in seen:": "elif False:"}, loses=["duplicates", "late", "whole"]),
    Wrong("repetidas só pelo título", {"(title, content) in seen": "title in seen", "seen.add((title, content))": "seen.add(title)"}, loses=["duplicates"]),
    Wrong("repetidas procuradas antes de limpar",
          {"elif (title, content) in seen": "elif tuple(texts) in seen", "seen.add((title, content))": "seen.add(tuple(texts))"},
          loses=["late"]),
]  # fmt: skip
