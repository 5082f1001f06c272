"""The course's small foundation models: trained here once, shipped in `models/`, loaded by the lessons.

    python -m afina.tune.base bert llama    # rebuilds models/bert-pt and models/llama-base, some CPU minutes each

Each folder holds safetensors, the tokenizer, the config and a card in Portuguese with the measured figures.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import math
import os
import random
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from afina.runtime import SEED, course_root, progress
from afina.tune.bert import captured_log, masked_accuracy, pretrain, read_reviews, train_tokenizer
from workshop.make import documents as shop
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

- {simple} resenhas fáceis, sem rótulo, de `workshop.make.reviews` com as sementes {seeds}: duas opiniões
  iguais, sem negação
- {all} textos ao todo na segunda etapa: as fáceis, as 11.500 primeiras resenhas sem rótulo de
  `data/reviews.jsonl.gz` e os textos de treino, sem os rótulos

Nenhum texto de validação ou de teste, nenhum rótulo. Os adjetivos e modelos de frase de teste aparecem na parte sem
rótulo: é essa a vantagem que o pré-treino dá, e a aula a mede. O tokenizador WordPiece viu também
`data/prose_train.txt.gz`.

## Receita

Palavras mascaradas (40 %), lotes de 32 agrupados por comprimento, AdamW, semente {seed}: {first} épocas das fáceis a
3e-3, depois {second} épocas de tudo a 2e-3. {seconds} segundos em CPU, com {threads} thread(s). Para refazer: `python -m
afina.tune.base bert`.

## Medido

Acerto em tokens escondidos (15 % de cada texto) nas {held_out} resenhas sem rótulo que ele não viu: **{accuracy}**.
Um teste do curso confere este número.

Dados e pesos sob CC BY 4.0.
"""


def bert_texts() -> tuple[list[str], list[str], list[str]]:
    """(easy, all, held-out) texts for pretraining: no label, and no text of validation or test, is among them."""
    unlabelled, _ = read_reviews("unlabelled")
    train, _ = read_reviews("train")
    held_out = unlabelled[-HELD_OUT:]
    evaluated = {
        text for split in ("validation", "test_templates", "test_adjectives") for text in read_reviews(split)[0]
    }
    evaluated.update(held_out)
    easy = {}  # a set that keeps its order
    for seed in SIMPLE_SEEDS:
        for row in reviews(seed):
            text = row["text"]
            plain = " nada " not in text and "longe de" not in text
            if row["split"] == "unlabelled" and plain and any(link in text for link in LINKS):
                easy[text] = None
    easy = [text for text in easy if text not in evaluated]
    return easy, [*easy, *unlabelled[:-HELD_OUT], *train], held_out


def _thousands(n: int) -> str:
    return f"{n:,}".replace(",", ".")


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
        "weights": _thousands(model.num_parameters()),
        "layers": model.config.num_hidden_layers,
        "width": model.config.hidden_size,
        "vocabulary": _thousands(len(tokenizer)),
        "tokens": model.config.max_position_embeddings,
        "simple": _thousands(len(easy)),
        "seeds": ", ".join(map(str, SIMPLE_SEEDS)),
        "all": _thousands(len(everything)),
        "seed": SEED,
        "first": f"{first:g}",
        "second": f"{second:g}",
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "held_out": len(held_out),
        "accuracy": f"{right:.3f}".replace(".", ","),
    }
    card = BERT_CARD.format(**figures)
    _write(folder, model, tokenizer, card)
    return right


def _write(folder: Path, model, tokenizer, card: str) -> None:
    """The whole folder aside, then renamed: a rebuild that is cut off leaves the old model as it was."""
    aside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    with captured_log():  # and its progress bar
        model.save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    (aside / "README.md").write_text(card, encoding="utf-8", newline="\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(aside, folder)


# --- the Llama of lessons 14 to 17 -----------------------------------------------------------------------------------

LLAMA_VOCABULARY = 1_536
LLAMA_STEPS, LLAMA_BATCH = 3_000, 20
LLAMA_SIZES = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "initializer_range": 0.06,  # the usual 0.02 is meant for models ten times as wide
}
# system and user text under the headings of lesson 14; the same form serves training, the twins and the chat page
LLAMA_CHAT = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '### Response:\n' + message['content'] + eos_token + '\n' }}"
    "{% elif message['role'] == 'user' %}{{ '### Instruction:\n' + message['content'] + '\n\n' }}"
    "{% else %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)
LLAMA_CARD = """\
---
language: [en, pt]
license: cc-by-4.0
library_name: transformers
pipeline_tag: text-generation
tags: [llama, curso]
---

# llama-base: o modelo de fundação pequeno das aulas 14 a 17

Um Llama de {weights} pesos ({layers} camadas, {width} colunas, vocabulário de {vocabulary} pedaços, até {positions} tokens),
treinado do zero em fichas, historinhas e perguntas curtas sobre produtos inventados, em inglês, com algumas perguntas em
português. Serve para aprender *fine-tuning* sem rede: fora de produtos como estes, ele não sabe nada.

## Dados

{documents} documentos de `workshop.make.documents`, semente 1: 40 % fichas (título e atributos), 30 % perguntas sobre um
título, 30 % historinhas e conversas de loja. Só títulos da divisão de treino, e **nenhuma descrição de produto**: escrever
descrições é o que as aulas ensinam a ele. O tokenizador (BPE de bytes) viu os mesmos textos e uma lista de palavras comuns.

## Receita

{steps} passos de {batch} documentos agrupados por comprimento ({tokens} tokens ao todo), AdamW a 4e-3 com aquecimento e queda em
cosseno, semente {seed}; {seconds} segundos de CPU, com {threads} thread(s). Para refazer: `python -m afina.tune.base llama`.

## Medido

Em títulos que ele nunca viu (divisão de teste): perda de **{loss}** por token em 500 documentos, e a cópia exata de cada
atributo, pedida como ficha ("título, quebra de linha, nome do atributo"), em {probed} produtos:

| {names} |
| {rule} |
| {copies} |

Um teste do curso confere estes números. Dados e pesos sob CC BY 4.0.
"""


def llama_tokenizer(documents: Iterable[str], vocabulary: int = LLAMA_VOCABULARY) -> PreTrainedTokenizerFast:
    """A byte-level BPE that opens each text with <s>, and knows </s>, <pad> and the chat form above."""
    words, draw = shop.COMMON_WORDS, random.Random(SEED)
    everyday = (" ".join(draw.choice(words) for _ in range(50)) for _ in range(3_000))
    bpe = ByteLevelBPETokenizer()
    special = ["<s>", "</s>", "<pad>"]
    bpe.train_from_iterator(
        itertools.chain(documents, everyday), vocab_size=vocabulary, special_tokens=special, show_progress=False
    )
    bpe._tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=LLAMA_SIZES["max_position_embeddings"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = LLAMA_CHAT
    return tokenizer


def _batches(rows: Sequence[list[int]], batch: int, seed: int) -> Iterator[list[list[int]]]:
    """Endless batches of rows of like length, in random order: little padding, and every row once an epoch."""
    draw = random.Random(seed)
    while True:
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), draw.random()))
        groups = [order[i : i + batch] for i in range(0, len(order) - batch + 1, batch)]
        draw.shuffle(groups)
        for group in groups:
            yield [rows[i] for i in group]


def _padded(rows: Sequence[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(input_ids, labels), each (rows, longest): padded at the right, the padding out of the labels."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    labels = torch.tensor([row + [-100] * (longest - len(row)) for row in rows])
    return ids, labels


def _next_token_loss(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor, reduction: str = "mean"):
    # Padding stands at the right, so that no real token ever looks at it and no mask is needed.
    logits = model(input_ids=ids[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction=reduction)


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, documents: Sequence[str]) -> float:
    """Mean loss per token, in nats, over all tokens of the documents after the first."""
    model.eval()
    rows = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(list(documents))["input_ids"]]
    rows.sort(key=len)
    total = count = 0
    for start in range(0, len(rows), 50):
        ids, labels = _padded(rows[start : start + 50], tokenizer.pad_token_id)
        total += _next_token_loss(model, ids, labels, "sum").item()
        count += (labels[:, 1:] != -100).sum().item()
    return total / count


@torch.no_grad()
def copy_accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, products: int = 200, split: str = "test"
) -> dict[str, float]:
    """Share of attributes that the model says exactly when a title of `split` and "Name:" are the prompt, by attribute."""
    model.eval()
    probes: dict[str, list[tuple[list[int], str]]] = {name: [] for name in shop.ATTRIBUTES}
    for title, product in itertools.islice(shop.shop_products(SEED, split), products):
        for name in shop.ATTRIBUTES:
            if value := getattr(product, name):
                probes[name].append((tokenizer(f"{title}\n{name.capitalize()}:")["input_ids"], f" {value}."))
    return {name: _said_exactly(model, tokenizer, rows) for name, rows in probes.items()}


def _said_exactly(model, tokenizer, rows: list[tuple[list[int], str]]) -> float:
    """Greedy continuation by teacher forcing: exact if every token of the answer is the likeliest one."""
    right = 0
    rows = sorted(rows, key=lambda row: len(row[0]))
    for start in range(0, len(rows), 50):
        part = [
            (prompt, tokenizer(answer, add_special_tokens=False)["input_ids"])
            for prompt, answer in rows[start : start + 50]
        ]
        ids, _ = _padded([prompt + answer for prompt, answer in part], tokenizer.pad_token_id)
        guesses = model(input_ids=ids).logits.argmax(-1)
        for (prompt, answer), guess in zip(part, guesses, strict=True):
            n = len(prompt)
            right += guess[n - 1 : n - 1 + len(answer)].tolist() == answer
    return right / len(rows)


def pretrain_llama(steps: int = LLAMA_STEPS, batch: int = LLAMA_BATCH, seed: int = SEED, **sizes):
    """(model, tokenizer, tokens seen): a Llama from random weights on the shop's documents; `sizes` override LLAMA_SIZES."""
    documents = list(shop.documents(steps * batch // 2))  # two epochs
    tokenizer = llama_tokenizer(documents[:5_000])
    rows = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(documents)["input_ids"]]
    torch.manual_seed(seed)
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **ends, **(LLAMA_SIZES | sizes)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.95), weight_decay=0.1)
    warm_up = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * i / steps)) + 0.01)
    )
    model.train()
    seen = 0
    bar = progress(desc="pré-treino", total=steps, unit="passo")
    for part in itertools.islice(_batches(rows, batch, seed), steps):
        ids, labels = _padded(part, tokenizer.pad_token_id)
        loss = _next_token_loss(model, ids, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        seen += ids.numel()
        bar.update()
    bar.close()
    return model, tokenizer, seen


def make_llama(folder: Path, steps: int = LLAMA_STEPS) -> float:
    """Pretrain the Llama of lessons 14 to 17 and write it to `folder`; returns its held-out loss."""
    start = time.process_time()
    model, tokenizer, tokens = pretrain_llama(steps)
    seconds = time.process_time() - start
    loss = held_out_loss(model, tokenizer, list(shop.documents(500, seed=SEED, split="test")))
    copies = copy_accuracy(model, tokenizer)
    figures = {
        "weights": _thousands(model.num_parameters()),
        "layers": model.config.num_hidden_layers,
        "width": model.config.hidden_size,
        "vocabulary": _thousands(len(tokenizer)),
        "positions": model.config.max_position_embeddings,
        "documents": _thousands(steps * LLAMA_BATCH // 2),
        "steps": _thousands(steps),
        "batch": LLAMA_BATCH,
        "tokens": _thousands(tokens),
        "seed": SEED,
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "loss": f"{loss:.3f}".replace(".", ","),
        "probed": 200,
        "names": " | ".join(copies),
        "rule": " | ".join("---" for _ in copies),
        "copies": " | ".join(f"{share:.2f}".replace(".", ",") for share in copies.values()),
    }
    _write(folder, model, tokenizer, LLAMA_CARD.format(**figures))
    return loss


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m afina.tune.base", description="Refaz os modelos do curso.")
    parser.add_argument("models", nargs="+", choices=["bert", "llama"], help="quais refazer")
    args = parser.parse_args(argv)
    models = course_root() / "models"
    models.mkdir(exist_ok=True)
    for name in args.models:
        if name == "bert":
            print(json.dumps({"folder": "bert-pt", "masked_accuracy": round(make_bert(models / "bert-pt"), 4)}))
        else:
            print(json.dumps({"folder": "llama-base", "held_out_loss": round(make_llama(models / "llama-base"), 4)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
