"""Does a model improve with use? The shop's attendant: what it was taught, what customers then asked, and an exam of each kind.

    pairs = questions("marca", 150, seed=3)             # [(question, right answer)] on titles of the training split
    exam = make_exam()                                  # {kind: pairs}, on titles that no training ever sees
    score(model, tokenizer, exam)                       # {kind: share of answers that are exactly right}

Four kinds are taught before the launch (`TAUGHT`); the fifth (`ASKED`) is what customers ask and nobody foresaw. Answers copy
from the title, so that a model of a million weights can learn them; the words around the copy tell the kinds apart.
"""

import itertools
from collections.abc import Mapping, Sequence

from afina.chat.turn import prompt_text
from afina.data.shop import shop_products
from afina.errors import require
from afina.tune.evaluate import finished, generate
from afina.tune.sft import TrainSettings

# kind: (attribute of the product, question, answer)
KINDS = {
    "color": ("color", "What color is it?", "It is {}."),
    "material": ("material", "What is it made of?", "It is made of {}."),
    "marca": ("brand", "Qual é a marca?", "A marca é {}."),
    "tamanho": ("size", "Qual é o tamanho?", "O tamanho é {}."),
    "cor": ("color", "Qual é a cor do produto?", "A cor é {}."),
}
ASKED = "cor"
TAUGHT = tuple(kind for kind in KINDS if kind != ASKED)
EXAM_SEED = 7
ANSWER_TOKENS = 40
SETTINGS = TrainSettings(
    batch_size=16, accumulation=1, learning_rate=5e-3, warmup_steps=3, optimizer="adamw_torch", sampling="random",
    max_grad_norm=1.0, max_seq_length=128,
)  # fmt: skip

Pair = tuple[str, str]  # a question and its right answer


def questions(kind: str, n: int, seed: int, split: str = "train") -> list[Pair]:
    """`n` different questions of a kind, each followed by a title, with the right answer. The same seed asks the same."""
    known = ", ".join(KINDS)
    require(kind in KINDS, f'não há perguntas do tipo "{kind}".', f"Os tipos são: {known}.", "questions")
    attribute, question, answer = KINDS[kind]
    found: dict[str, str] = {}  # a dict keeps order and drops repeats
    for title, product in shop_products(seed, split):
        if len(found) == n:
            break
        if value := getattr(product, attribute):
            found[f"{question} {title}"] = answer.format(value)
    return list(found.items())


def make_exam(n: int = 40) -> dict[str, list[Pair]]:
    """`n` questions of every kind, on titles of the test split."""
    return {kind: questions(kind, n, EXAM_SEED, "test") for kind in KINDS}


def as_rows(pairs: Sequence[Pair], tokenizer) -> list[dict[str, str]]:
    """Pairs as `afina.tune.sft.train` takes them, in the model's own chat template: what serving will say, to the letter."""
    return [
        {"prompt": prompt_text(tokenizer, [{"role": "user", "content": question}]), "completion": answer}
        for question, answer in pairs
    ]


def answers(model, tokenizer, pairs: Sequence[Pair]) -> list[str]:
    """What the model answers to each question, its likeliest token every time."""
    prompts = [row["prompt"] for row in as_rows(pairs, tokenizer)]
    texts = generate(model, tokenizer, prompts, ANSWER_TOKENS)
    return [finished(text, tokenizer.eos_token)[0].strip() for text in texts]


def score(model, tokenizer, exam: Mapping[str, Sequence[Pair]]) -> dict[str, float]:
    """For each kind, the share of answers that equal the right one, letter by letter."""
    told = iter(answers(model, tokenizer, list(itertools.chain(*exam.values()))))
    return {kind: sum(next(told) == right for _, right in pairs) / len(pairs) for kind, pairs in exam.items()}
