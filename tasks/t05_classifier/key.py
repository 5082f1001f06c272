"""The answer key of task 05. The private test is made by the course's own generator, from another seed."""

from itertools import islice
from random import Random

import numpy as np

from workshop.make.reviews import reviews
from workshop.tasks import Hidden, Wrong

TOKENS, WEIGHTS, GOAL = 16_000, 100_000, 0.70
SPENT = "[model.tokens_read, model.weights_that_learn]"
LABELLED = 7_800  # rows of `reviews` before the unlabelled ones


def _within(found) -> bool | str:
    tokens, weights = found
    if not 0 < tokens <= TOKENS:
        return f"esperava de 1 a {TOKENS} tokens lidos, encontrei {tokens}"
    return weights <= WEIGHTS or f"esperava até {WEIGHTS} pesos aprendendo, encontrei {weights}"


def hidden(rng: Random) -> dict[str, Hidden]:
    draw = np.random.default_rng(rng.randrange(2**32))
    rows = list(islice(reviews(rng.randrange(1_000, 2**31)), LABELLED))

    by_split = {
        split: [row for row in rows if row["split"] == split]
        for split in ("train", "validation", "test_templates", "test_adjectives")
    }
    unlabelled = {"text": "Recebi ontem.", "label": None, "split": "train"}
    export = [*(row for some in by_split.values() for row in rng.sample(some, 6)), unlabelled]
    rng.shuffle(export)

    def pairs(split):
        return [
            [row["text"], int(row["label"] == "neutro")]
            for row in export
            if row["split"] == split and row["label"]
        ]

    def is_split(found):
        train, validation = found
        if validation != pairs("validation"):
            return f"esperava a validação {pairs('validation')[:2]} …, encontrei {validation[:2]} …"
        known = [pair for pair in train if pair in pairs("train")]
        if any(text == unlabelled["text"] for text, _ in train):
            return "há uma linha sem rótulo no treino; esperava nenhuma"
        return (
            known == pairs("train")
            or "esperava no treino todos os exemplos dele, com a classe certa e na ordem; faltam ou mudaram"
        )

    evaluated = [row for row in export if row["split"] != "train"]
    copies = [
        {**row, "text": change(row["text"]), "split": "train"}
        for row, change in zip(
            rng.sample(evaluated, 4),
            (str, str.upper, lambda text: f"  {text} ", lambda text: text.replace(" ", "  ")),
            strict=True,
        )
    ]
    leaked = [*copies, *export]
    banned = {" ".join(row["text"].lower().split()) for row in evaluated}

    def has_no_leak(found):
        texts = [text for text, _ in found[0]]
        inside = [text for text in texts if " ".join(text.lower().split()) in banned]
        if inside:
            return (
                f"há {len(inside)} textos avaliados no treino, como {inside[0]!r}; esperava nenhum"
            )
        return len(texts) >= 6 or f"esperava 6 exemplos de treino, encontrei {len(texts)}"

    vectors, lengths = draw.normal(size=(4, 7, 3)).round(3), [7, 2, 5, 1]
    last = np.array([row[n - 1] for row, n in zip(vectors, lengths, strict=True)])
    mean = np.array([row[:n].mean(0) for row, n in zip(vectors, lengths, strict=True)])
    read, inputs = (
        "read_rows(torch.tensor(inputs[0]), torch.tensor(inputs[1]))",
        [vectors.tolist(), lengths],
    )

    private = rng.sample(by_split["test_adjectives"], 240)
    truth = np.array([row["label"] == "neutro" for row in private])

    def scores(found):
        spent, chances = found
        if _within(spent) is not True:
            return "o filtro saiu do orçamento, e a nota não vale: " + _within(spent)
        said = np.array(chances) >= 0.5
        f1 = 2 * (truth & said).sum() / max(1, truth.sum() + said.sum())
        return bool(f1 >= GOAL) or f"esperava F1 de {GOAL:.2f} ou mais, encontrei {f1:.2f}"

    def guesses(n, skill):
        truth = draw.random(n) < 0.4
        return truth.astype(int).tolist(), (draw.random(n) + skill * truth).round(2).tolist()

    def cut_of(truth, chances, precision):
        truth, chances = np.array(truth), np.array(chances)
        each = {cut: truth[chances >= cut].mean() for cut in sorted(set(chances.tolist()))}
        good = [cut for cut, value in each.items() if value >= precision]
        return good[0] if good else max(each, key=each.get)

    cases = [[*guesses(60, 0.5), wanted] for wanted in (0.5, 0.7, 0.85)]
    cases.append([[1, 0, 0], [0.2, 0.5, 0.9], 0.95])
    validation, test = guesses(80, 0.6), guesses(80, 0.2)
    cut = cut_of(*validation, 0.8)
    said, right = np.array(test[1]) >= cut, np.array(test[0]) == 1
    wanted = {
        "threshold": cut,
        "precision": float((said & right).sum() / max(1, said.sum())),
        "recall": float((said & right).sum() / right.sum()),
    }
    return {
        "split": Hidden("split_rows(inputs)", export, is_split),
        "leak": Hidden("split_rows(inputs)", leaked, has_no_leak),
        "last": Hidden(f"{read}[:, :3]", inputs, last),
        "mean": Hidden(f"{read}[:, 3:]", inputs, mean),
        "budget": Hidden(SPENT, None, _within),
        "score": Hidden(
            f"[{SPENT}, chances_of(model, inputs)]", [row["text"] for row in private], scores
        ),
        "threshold": Hidden(
            "[choose_threshold(*case) for case in inputs]", cases, [cut_of(*case) for case in cases]
        ),
        "report": Hidden("report(inputs[0], inputs[1], 0.8)", [validation, test], wanted),
    }


WITHOUT_REPEATS = '    train = [row for row in train if key(row["text"]) not in evaluated]\n'
LORA = '    add_lora(model.gpt, LoRASettings(8, alpha=16, targets=("attention.qkv", "feed_forward.up")))\n'
WRONG = [
    Wrong(
        "o teste entra no treino",
        {
            'labelled if row["split"] == "train"]': 'labelled if row["split"] != "validation"]',
            WITHOUT_REPEATS: "",
        },
        ["leak"],
    ),
    # a head that learned from filling misses the goal by far: F1 0.25 to 0.52 in three seeds and three private tests
    Wrong(
        "lê o preenchimento como último token",
        {"hidden[torch.arange(len(hidden)), lengths - 1]": "hidden[:, -1]"},
        ["last", "score"],
    ),
    Wrong(
        "o preenchimento entra na média",
        {"(hidden * real[..., None]).sum(1) / lengths[:, None]": "hidden.mean(1)"},
        ["mean"],
    ),
    Wrong(
        "treina tudo",
        {
            "    model.requires_grad_(False)\n" + LORA: "",
            "learning_rate=8e-3": "learning_rate=1e-3",
        },
        ["budget", "score"],
    ),
    Wrong(
        "lotes sem ordem: o recheio estoura os tokens",
        {"drawn.sort(": "sorted([], "},
        ["budget", "score"],
    ),
    Wrong(
        "taxa alta: diz sempre a classe mais comum",
        {"learning_rate=8e-3": "learning_rate=1.0"},
        ["score"],
    ),
    Wrong("só a cabeça aprende", {LORA: "", "learning_rate=8e-3": "learning_rate=3e-2"}, ["score"]),
    Wrong(
        "corte escolhido no teste",
        {"choose_threshold(*validation, precision)": "choose_threshold(*test, precision)"},
        ["report"],
    ),
]
