"""Trains models/llama-base, the base of lessons 14 to 17: safetensors, tokenizer, config, and a card with measured figures.

python -m workshop.make.llama    # some CPU minutes
"""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from afina.data.shop import ATTRIBUTES, shop_products
from afina.ptbr import decimal, number
from afina.runtime import SEED, course_root, progress
from afina.tune.export import save
from afina.tune.templates import LLAMA_CHAT
from workshop.make.documents import COMMON_WORDS, shop_documents

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

{documents} documentos de `workshop.make.documents.shop_documents`, semente 1: 40 % fichas (título e atributos), 30 % perguntas sobre um
título, 30 % historinhas e conversas de loja. Só títulos da divisão de treino, e **nenhuma descrição de produto**: escrever
descrições é o que as aulas ensinam a ele. O tokenizador (BPE de bytes) viu os mesmos textos e uma lista de palavras comuns.

## Receita

{steps} passos de {batch} documentos agrupados por comprimento ({tokens} tokens ao todo), AdamW a 4e-3 com aquecimento e queda em
cosseno, semente {seed}; {seconds} segundos de CPU, com {threads} thread(s). Para refazer: `python -m workshop.make.llama`.

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
    words, draw = COMMON_WORDS, random.Random(SEED)
    everyday = (" ".join(draw.choice(words) for _ in range(50)) for _ in range(3_000))
    bpe = ByteLevelBPETokenizer()
    special = ["<s>", "</s>", "<pad>"]
    bpe.train_from_iterator(
        itertools.chain(documents, everyday), vocab_size=vocabulary, special_tokens=special, show_progress=False
    )
    bpe.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(bpe.to_str()),
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
    probes: dict[str, list[tuple[list[int], str]]] = {name: [] for name in ATTRIBUTES}
    for title, product in itertools.islice(shop_products(SEED, split), products):
        for name in ATTRIBUTES:
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
    documents = list(shop_documents(steps * batch // 2))  # two epochs
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
    loss = held_out_loss(model, tokenizer, list(shop_documents(500, seed=SEED, split="test")))
    copies = copy_accuracy(model, tokenizer)
    figures = {
        "weights": number(model.num_parameters()),
        "layers": model.config.num_hidden_layers,
        "width": model.config.hidden_size,
        "vocabulary": number(len(tokenizer)),
        "positions": model.config.max_position_embeddings,
        "documents": number(steps * LLAMA_BATCH // 2),
        "steps": number(steps),
        "batch": LLAMA_BATCH,
        "tokens": number(tokens),
        "seed": SEED,
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "loss": decimal(loss, 3),
        "probed": 200,
        "names": " | ".join(copies),
        "rule": " | ".join("---" for _ in copies),
        "copies": " | ".join(decimal(share) for share in copies.values()),
    }
    save(model, tokenizer, folder, LLAMA_CARD.format(**figures))
    return loss


if __name__ == "__main__":
    print(json.dumps({"held_out_loss": round(make_llama(course_root() / "models" / "llama-base"), 4)}))
