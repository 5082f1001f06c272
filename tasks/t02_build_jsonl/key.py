"""The answer key of task 02: the formats, the properties of a split, and the table of the validator's codes."""

import json
from random import Random

from workshop.tasks import Hidden, Wrong

SYSTEM = "Você descreve produtos de uma loja, em poucas frases e sem exagero."
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
TITLES = """
sides = [[p["title"] for p in side] for side in split(inputs)]
output = sides
"""
# twice here, then shuffled, then as another run of Python would see it, where hash() is salted anew
RERUNS = """
import builtins

def tested(products):
    return sorted({p["title"] for p in split(products)[1]})

output = [tested(inputs), tested(inputs), tested(inputs[::-1])]
real = builtins.hash
builtins.hash = lambda value: real((value, "another run"))
try:
    output.append(tested(inputs))
finally:
    builtins.hash = real
"""
WRITE = """
write_jsonl("escondido.jsonl", inputs)
with open("escondido.jsonl", "rb") as file:
    output = file.read().decode("utf-8", "replace")
"""
BUILD = """
import pathlib, tempfile

folder = pathlib.Path(tempfile.mkdtemp())
build(inputs, folder)
output = [(folder / f"{name}.jsonl").read_text(encoding="utf-8") for name in ("treino", "teste")]
"""


def hidden(rng: Random) -> dict[str, Hidden]:
    def title(number: int) -> str:
        return f"{rng.choice(WORDS).title()} {rng.choice(WORDS)} série {number}"

    products = [{"title": title(n), "content": f"{rng.choice(WORDS)} é bom."} for n in range(300)]
    pairs = [[product["title"], product["content"] + "\nFim. "] for product in products[:5]]
    rows = [{"n": n, "text": f'ação "{rng.choice(WORDS)}"\r\nnº {n}'} for n in range(5)]

    def messages(*pairs: tuple) -> str:
        return json.dumps(
            {"messages": [{"role": role, "content": text} for role, text in pairs]},
            ensure_ascii=False,
        )

    ask, answer = ("user", rng.choice(WORDS)), ("assistant", rng.choice(WORDS))
    single = [
        (messages(("system", "s"), ask, answer, ask, answer), []),
        ("[]", ["json"]),
        ("", ["json"]),
        ('{"message": []}', ["messages"]),
        ('{"messages": "oi"}', ["messages"]),
        (messages(ask, ("system", "s"), answer), ["role"]),
        (messages((None, "x"), answer), ["role"]),
        (messages(ask, ("assistant", "\n\t ")), ["empty"]),
        (messages(ask, ("assistant", None)), ["empty"]),
        (messages(ask, answer, ask), ["end"]),
    ]
    several = [
        (messages(("system", ""), ask), ["empty", "end"]),
        (messages(ask, ("bot", "x")), ["role", "end"]),
        (messages(("user", 3), ("system", "s"), answer), ["role", "empty"]),
        (messages(("user", " "), ("system", "s"), ("bot", "x")), ["role", "empty", "end"]),
    ]
    repeated = products + [
        {"title": p["title"], "content": "outra"} for p in rng.sample(products, 150)
    ]
    twins = products + [
        {"title": f" {p['title'].swapcase()}  ", "content": "gêmeo"} for p in products
    ]

    def share_judge(sides: list) -> bool | str:
        total, share = sum(map(len, sides)), len(sides[1]) / len(products)
        if sorted(sides[0] + sides[1]) != sorted(p["title"] for p in products):
            return f"esperava os {len(products)} produtos, cada um uma vez, encontrei {total}"
        return 0.04 < share < 0.18 or f"esperava perto de 10% no teste, encontrei {share:.0%}"

    def leak_judge(sides: list) -> bool | str:
        both = {" ".join(t.split()) for t in sides[0]} & {" ".join(t.split()) for t in sides[1]}
        return (
            not both
            or f"esperava nenhum título dos dois lados, encontrei {len(both)}, como {min(both)!r}"
        )

    def near_judge(sides: list) -> bool | str:
        return leak_judge([[" ".join(t.casefold().split()) for t in side] for side in sides])

    def stable_judge(runs: list) -> bool | str:
        reasons = [
            "",
            "ao rodar de novo",
            "ao mudar a ordem",
            "em outra execução do Python (o hash() muda!)",
        ]
        moved = [
            (len(set(run) ^ set(runs[0])), why)
            for run, why in zip(runs, reasons, strict=True)
            if run != runs[0]
        ]
        return (
            not moved
            or f"esperava que ninguém mudasse de lado, encontrei {moved[0][0]} mudanças {moved[0][1]}"
        )

    def file_judge(text: str) -> bool | str:
        lines = text.split("\n")
        if lines[-1] != "" or len(lines) != len(rows) + 1:
            return f"esperava {len(rows)} linhas e uma quebra no fim, encontrei {text[:120]!r}"
        if not all(
            ok(line) and json.loads(line) == row for line, row in zip(lines, rows, strict=False)
        ):
            return f"esperava um objeto por linha, igual ao dado, encontrei {lines[0][:120]!r}"
        return "ação" in text or f"esperava os acentos como são, encontrei {lines[0][:120]!r}"

    def whole_judge(files: list) -> bool | str:
        made = [[json.loads(line) for line in text.splitlines() if ok(line)] for text in files]
        answers = sorted(row["messages"][-1]["content"] for side in made for row in side)
        if answers != sorted(product["content"] for product in products):
            return f"esperava {len(products)} respostas nos dois arquivos, encontrei {len(answers)}, ou outras"
        return (
            len(made[0]) > len(made[1]) > 0
            or f"esperava mais no treino que no teste, encontrei {[len(side) for side in made]}"
        )

    ask_roles = "[[m['role'] for m in example(*pair)['messages']] for pair in inputs]"
    ask_texts = "[sorted((m['role'], m['content']) for m in example(*p)['messages'] if m['role'] != 'system') for p in inputs]"
    texts = [
        [["assistant", content], ["user", f"Descreva o produto: {name}"]] for name, content in pairs
    ]
    ask_problems = "[problems(line) for line in inputs]"
    return {
        "roles": Hidden(ask_roles, pairs, [["system", "user", "assistant"] for _ in pairs]),
        "texts": Hidden(ask_texts, pairs, texts),
        "file": Hidden(WRITE, rows, file_judge),
        "share": Hidden(TITLES, products, share_judge),
        "leak": Hidden(TITLES, repeated, leak_judge),
        "stable": Hidden(RERUNS, products, stable_judge),
        "near": Hidden(TITLES, twins, near_judge),
        "validator": Hidden(
            ask_problems, [line for line, _ in single], [codes for _, codes in single]
        ),
        "every": Hidden(
            ask_problems, [line for line, _ in several], [codes for _, codes in several]
        ),
        "whole": Hidden(BUILD, products, whole_judge),
    }


def ok(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


PLACE = "place = int(hashlib.sha256(title.encode()).hexdigest(), 16) % 10"
FOLD = 'title = " ".join(product["title"].casefold().split())'
USER = '{"role": "user", "content": f"Descreva o produto: {title}"},\n'
ASSISTANT = '{"role": "assistant", "content": content},\n'
WRONG = [
    Wrong("papéis na ordem errada", {USER: "MARK,\n", ASSISTANT: USER, "MARK,\n": ASSISTANT}, loses=["roles", "whole"]),
    Wrong("sem a mensagem system", {'{"role": "system", "content": SYSTEM},\n': ""}, loses=["roles"]),
    Wrong("descrição cortada", {'"content": content}': '"content": content[:12]}'}, loses=["texts", "whole"]),
    Wrong("acentos escapados", {", ensure_ascii=False": ""}, loses=["file"]),
    Wrong("JSON com recuo, em várias linhas", {"ensure_ascii=False)": "ensure_ascii=False, indent=1)"}, loses=["file", "whole"]),
    Wrong("sorteio a cada execução", {PLACE: "import random; place = random.randrange(10)"}, loses=["leak", "stable", "near"]),
    Wrong("os últimos dez por cento", {PLACE: "place = 0 if product in products[-(len(products) // 10):] else 1"},
          loses=["leak", "stable", "near"]),
    Wrong("hash() do Python, que muda a cada execução", {PLACE: "place = hash(title) % 10"}, loses=["stable"]),
    Wrong("maiúsculas e espaços fazem outro produto", {FOLD: 'title = product["title"]'}, loses=["near"]),
    Wrong("o teste também no treino", {"return sides": "return sides[0] + sides[1], sides[1]"},
          loses=["share", "leak", "near", "whole"]),
    Wrong("o validador para no primeiro problema", {"return found": "return found[:1]"}, loses=["every"]),
    Wrong("aceita conversa que acaba na pergunta", {'if roles[-1] != "assistant":': 'if "assistant" not in roles:'},
          loses=["validator"]),
    Wrong("só confere se há conteúdo, não se é texto", {"isinstance(text, str) and text.strip()": "text"},
          loses=["validator", "every"]),
]  # fmt: skip
