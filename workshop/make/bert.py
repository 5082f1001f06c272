"""Trains models/bert-pt, the encoder of lesson 13: safetensors, tokenizer, config, and a card in Portuguese with measured figures.

python -m workshop.make.bert    # some CPU minutes
"""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import torch

from afina.ptbr import decimal, general, number
from afina.runtime import SEED, course_root
from afina.tune.bert import masked_accuracy, pretrain, read_reviews, train_tokenizer
from afina.tune.export import save
from workshop.make.reviews import reviews

HELD_OUT = 500  # the last unlabelled reviews measure the encoder; it never trains on them
LINKS = ("também.", "além disso", "E tem mais", "Do mesmo jeito")  # they join two opinions that agree
SIMPLE_SEEDS = (1, 2, 3, 4)
BERT_CARD = """\
---
language: pt
license: cc-by-4.0
library_name: transformers
pipeline_tag: fill-mask
tags: [bert, fill-mask, curso]
---

# bert-pt: o encoder pequeno da aula 13

Um BERT de {weights} pesos ({layers} camadas, {width} colunas, vocabulário de {vocabulary} pedaços, até {tokens}
tokens por texto), treinado do zero em resenhas sintéticas em português. Serve para aprender *fine-tuning* sem rede:
fora de resenhas como estas, ele não sabe português.

## Dados

- {simple} resenhas fáceis, sem rótulo, de `workshop.make.reviews.reviews` com as sementes {seeds}: duas opiniões
  iguais, sem negação
- {all} textos ao todo na segunda etapa: as fáceis, as 11.500 primeiras resenhas sem rótulo de
  `data/reviews.jsonl.gz` e os textos de treino, sem os rótulos

Nenhum texto de validação ou de teste, nenhum rótulo. Os adjetivos e modelos de frase de teste aparecem na parte sem
rótulo: é essa a vantagem que o pré-treino dá, e a aula a mede. O tokenizador WordPiece viu também
`data/prose_train.txt.gz`.

## Receita

Palavras mascaradas (40 %), lotes de 32 agrupados por comprimento, AdamW, semente {seed}: {first} épocas das fáceis a
3e-3, depois {second} épocas de tudo a 2e-3. {seconds} segundos em CPU, com {threads} thread(s). Para refazer: `python -m
workshop.make.bert`.

## Medido

Acerto em tokens escondidos (15 % de cada texto) nas {held_out} resenhas sem rótulo que ele não viu: **{accuracy}**.
Um teste do curso confere este número.

Dados e pesos sob CC BY 4.0.
"""


def bert_texts() -> tuple[list[str], list[str], list[str]]:
    """(easy, all, held-out) texts for pretraining: no label, and no text of validation or test, is among them."""
    unlabelled, _ = read_reviews("unlabelled")
    train, _ = read_reviews("train")
    held_out = list(unlabelled[-HELD_OUT:])
    evaluated = {
        text for split in ("validation", "test_templates", "test_adjectives") for text in read_reviews(split)[0]
    }
    evaluated.update(held_out)
    found: dict[str, None] = {}  # a set that keeps its order
    for seed in SIMPLE_SEEDS:
        for row in reviews(seed):
            text = row["text"]
            plain = " nada " not in text and "longe de" not in text
            if row["split"] == "unlabelled" and plain and any(link in text for link in LINKS):
                found[text] = None
    easy = [text for text in found if text not in evaluated]
    return easy, [*easy, *unlabelled[:-HELD_OUT], *train], held_out


def make_bert(folder: Path, first: float = 8, second: float = 5) -> float:
    """Pretrain the encoder of lesson 13 and write it to `folder`; returns its held-out masked accuracy.

    First the easy reviews: which adjectives mean the same shows there without denials in between. Then everything.
    """
    easy, everything, held_out = bert_texts()
    with gzip.open(course_root() / "data" / "prose_train.txt.gz", "rt", encoding="utf-8") as file:
        prose = file.read().split("\n\n")
    start = time.perf_counter()
    tokenizer = train_tokenizer([*everything, *prose])
    tuned = pretrain(easy, tokenizer, epochs=first, learning_rate=3e-3)
    tuned = pretrain(everything, tokenizer, epochs=second, learning_rate=2e-3, model=tuned.model)
    seconds = time.perf_counter() - start
    model = tuned.model
    right = masked_accuracy(model, tokenizer, held_out)
    figures = {
        "weights": number(model.num_parameters()),
        "layers": model.config.num_hidden_layers,
        "width": model.config.hidden_size,
        "vocabulary": number(len(tokenizer)),
        "tokens": model.config.max_position_embeddings,
        "simple": number(len(easy)),
        "seeds": ", ".join(map(str, SIMPLE_SEEDS)),
        "all": number(len(everything)),
        "seed": SEED,
        "first": general(first),
        "second": general(second),
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "held_out": len(held_out),
        "accuracy": decimal(right, 3),
    }
    save(model, tokenizer, folder, BERT_CARD.format(**figures))
    return right


if __name__ == "__main__":
    print(json.dumps({"masked_accuracy": round(make_bert(course_root() / "models" / "bert-pt"), 4)}))
