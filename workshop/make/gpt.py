"""Trains models/gpt-pt, the GPT by hand that lessons 10 to 12 start from, with the code of lessons 04 to 09; its card says how.

python -m workshop.make.gpt    # some CPU minutes; killed, it continues where it was
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import time
from dataclasses import asdict
from pathlib import Path

import torch

from afina import whole
from afina.data.shop import Draw
from afina.gpt.generate import generate
from afina.gpt.loader import read_documents
from afina.gpt.model import GPT, GPTConfig
from afina.gpt.tokenizer import Tokenizer, save_tokenizer, train_bpe
from afina.gpt.train import Recipe, evaluate, train, whole_documents
from afina.gpt.weights import save_gpt
from afina.ptbr import decimal, number, percent
from afina.runtime import SEED, build_folder, course_root, progress
from workshop.make.messages import messages
from workshop.make.prose import prose

EXTRA_SEEDS = (1, 2, 3, 4, 5, 6)  # prose and messages made again with these, beside what is in data/
HELD_OUT = 500  # reviews
REPETITIONS = 15_000  # lists to say again: little else teaches so soon to look back and copy
GPT_PT = {"context": 128, "d_model": 128, "n_heads": 4, "n_layers": 4}
VOCABULARY = 2048
RECIPE = Recipe(steps=5000, batch_size=15, learning_rate=5e-3, warmup=100, evaluate_every=200)
CARD = """\
---
language: pt
license: cc-by-4.0
pipeline_tag: text-generation
tags: [gpt, text-generation, curso]
---

# gpt-pt: o GPT pequeno das aulas 07 a 12

Um GPT de {weights} pesos ({n_layers} camadas, {d_model} colunas, {n_heads} cabeças, vocabulário de {vocabulary} tokens, contexto de
{context}), escrito e treinado do zero com o código das aulas 04 a 09 (`afina.gpt`). Serve para aprender sem rede: só conhece o mundinho
dos textos do curso, e repete com segurança o que não sabe.

## Dados

{documents} documentos, {tokens} tokens, cada documento seguido de `<|fim|>`:

- `data/prose_train.txt.gz`, e a mesma prosa feita com as sementes {seeds}
- `data/reviews.jsonl.gz`: treino e sem rótulo, menos as {held_out} últimas sem rótulo
- `data/messages.jsonl.gz`: treino, e mensagens de treino feitas com as mesmas sementes
- {repetitions} listas de palavras ditas duas vezes, que ensinam a copiar

Nenhum rótulo, e nenhum texto de validação ou de teste. O tokenizador é o BPE da aula 04, treinado nos mesmos documentos.

## Receita

{steps} passos de {batch_size} janelas de {context} tokens ({seen} tokens), AdamW, taxa até {learning_rate}, {warmup} passos de
aquecimento e depois cosseno, corte do gradiente em 1, semente {seed}. {seconds} segundos de CPU, com {threads} thread(s). Para refazer:
`python -m workshop.make.gpt`.

## Medido

Em textos que ele não viu, perda por token em nats e, ao lado, quantos tokens plausíveis restam em média (`e` elevado à perda):

| textos | perda | perplexidade |
| --- | --- | --- |
{losses}

Cópia, em historinhas de `data/prose_validation.txt.gz` que terminam em uma pergunta, resposta inteira e exata: {copies}.
Um teste do curso confere estes números.

Dados e pesos sob CC BY 4.0.
"""


def _rows(name: str) -> list[dict]:
    with gzip.open(course_root() / "data" / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def repetitions(texts: list[str], count: int) -> list[str]:
    """`count` lists of words drawn from `texts`, each said twice."""
    words = sorted({word for text in texts for word in re.findall(r"[^\W\d_]{2,}", text)})
    draw, lists = Draw(SEED), []
    for _ in range(count):
        said = ", ".join(draw.some(words, 4 + draw.one(range(9))))
        lists.append(
            f"{draw.one(('Repita', 'Diga de novo', 'Copie'))}: {said}. {draw.one(('Outra vez', 'De novo', 'Cópia'))}: {said}."
        )
    return lists


def gpt_texts() -> tuple[list[str], dict[str, list[str]]]:
    """(training documents, held-out documents by kind). No label, and no text of validation or test, is in the first."""
    data = course_root() / "data"
    clubs = json.loads((data / "clubes.json").read_text(encoding="utf-8"))
    reviews, short = _rows("reviews.jsonl.gz"), _rows("messages.jsonl.gz")
    unlabelled = [row["text"] for row in reviews if row["split"] == "unlabelled"]
    held_out = {
        "prosa": read_documents(data / "prose_validation.txt.gz"),
        "resenhas": unlabelled[-HELD_OUT:],
        "mensagens": [row["text"] for row in short if row["split"] == "validation"],
    }
    texts = [*read_documents(data / "prose_train.txt.gz"), *unlabelled[:-HELD_OUT]]
    texts += [row["text"] for row in (*reviews, *short) if row["split"] == "train"]
    for seed in EXTRA_SEEDS:
        texts += [*prose(clubs, seed), *(row["text"] for row in messages(seed) if row["split"] == "train")]
    texts += repetitions(texts, REPETITIONS)
    evaluated = {row["text"] for row in (*reviews, *short) if row["split"] not in ("train", "unlabelled")}
    evaluated.update(text for some in held_out.values() for text in some)
    texts = [text for text in dict.fromkeys(texts) if text not in evaluated]
    random.Random(SEED).shuffle(texts)
    return texts, held_out


def copy_questions(texts: list[str]) -> dict[str, list[tuple[str, str]]]:
    """(story up to its question, answer) by kind of question: the answer is in the story, and must be said again."""
    kinds = {
        "quem tem o quê": r"O que \w+ tem\?",
        "onde fica": r"Onde fica [^?]+\?",
        "que clube": r"Para que clube torce \w+\?",
    }
    found: dict[str, list[tuple[str, str]]] = {}
    for kind, question in kinds.items():
        matches = (re.fullmatch(rf"(.*{question})( [^\n]+)", text) for text in texts)
        found[kind] = [(match[1], match[2]) for match in matches if match]
    return found


def copies(model: GPT, tokenizer: Tokenizer, questions: list[tuple[str, str]]) -> float:
    """Share of the questions that the model answers word for word, greedily."""
    right = 0
    for story, answer in questions:
        ids, wanted = [tokenizer.end, *tokenizer.encode(story)], [*tokenizer.encode(answer), tokenizer.end]
        written = generate(model, torch.tensor([ids]), len(wanted), stop=tokenizer.end)
        right += written[0, len(ids) :].tolist() == wanted
    return right / len(questions)


def make_gpt_pt(folder: Path, recipe: Recipe = RECIPE) -> dict[str, float]:
    """Pretrain the model that lessons 10 to 12 start from and write it, card and all, to `folder`; returns its losses.

    The checkpoint lies in `build/gpt-pt/`: a run that was killed continues there, and a finished one removes it.
    """
    texts, held_out = gpt_texts()
    tokenizer = train_bpe(texts, VOCABULARY)
    rows = whole_documents(tokenizer, texts, GPT_PT["context"])
    validation = whole_documents(tokenizer, held_out["prosa"], GPT_PT["context"])
    torch.manual_seed(recipe.seed)
    model = GPT(GPTConfig(vocab_size=len(tokenizer), **GPT_PT))
    place = build_folder() / "gpt-pt" / "checkpoint.safetensors"
    clock = place.with_name("seconds.txt")  # of CPU, over all the parts of a run that was interrupted
    before = float(clock.read_text(encoding="utf-8")) if place.exists() else 0.0
    for entry in progress(train(model, rows, validation, recipe, place), desc="gpt-pt", total=recipe.steps):
        if "validation_loss" in entry:
            whole.write(clock, str(before + time.process_time()))
            print(f"{entry['step']:>6} passos: {entry['validation_loss']:.4f}", flush=True)
    model.eval()
    losses = {
        kind: evaluate(model, whole_documents(tokenizer, some, GPT_PT["context"])) for kind, some in held_out.items()
    }
    right = {kind: copies(model, tokenizer, some) for kind, some in copy_questions(held_out["prosa"]).items()}
    figures = {
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary": len(tokenizer),
        "documents": len(texts),
        "repetitions": REPETITIONS,
        "tokens": sum(int((targets != -100).sum()) for _, targets in rows),
        "seen": recipe.steps * recipe.batch_size * GPT_PT["context"],
        "held_out": HELD_OUT,
    }
    card = CARD.format(
        **asdict(recipe),
        **GPT_PT,
        **{name: number(value) for name, value in figures.items()},
        seeds=", ".join(map(str, EXTRA_SEEDS)),
        seconds=round(float(clock.read_text(encoding="utf-8"))),
        threads=torch.get_num_threads(),
        losses="\n".join(f"| {kind} | {decimal(x, 3)} | {decimal(math.exp(x))} |" for kind, x in losses.items()),
        copies=", ".join(f"{kind} {percent(share)}" for kind, share in right.items()),
    )
    with whole.new_folder(folder, marks=("config.json",)) as aside:
        save_gpt(model, aside)
        save_tokenizer(tokenizer, aside / "tokenizer.json")
        whole.write(aside / "README.md", card)
    whole.discard(place.parent)
    return losses


if __name__ == "__main__":
    losses = make_gpt_pt(course_root() / "models" / "gpt-pt")
    print(json.dumps({kind: round(loss, 4) for kind, loss in losses.items()}))
