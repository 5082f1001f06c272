"""Pretraining: the loop (forward, loss, backward, update), its diary, its checkpoints; and the recipe of models/gpt-pt.

python -m afina.gpt.train          # rebuilds models/gpt-pt, some CPU minutes; killed, it continues where it was
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import random
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from afina.data.shop import Draw
from afina.errors import CourseError
from afina.gpt.generate import generate
from afina.gpt.loader import Windows, pack, pad, read_documents, ribbon
from afina.gpt.model import GPT, GPTConfig, next_token_loss
from afina.gpt.tokenizer import Tokenizer, save_tokenizer, train_bpe
from afina.gpt.weights import fill, read_tensors, save_gpt, write_tensors
from afina.runtime import SEED, build_folder, course_root, progress
from workshop.make.messages import messages
from workshop.make.prose import prose


@dataclass(frozen=True)
class Recipe:
    """How to train. Steps are updates; `warmup` of them climb to `learning_rate`, the rest come down to a tenth of it."""

    steps: int
    batch_size: int = 16
    learning_rate: float = 3e-3
    warmup: int = 50
    weight_decay: float = 0.1
    clip: float = 1.0
    evaluate_every: int = 50
    precision: str = "fp32"
    seed: int = SEED

    def __post_init__(self):
        for name in ("steps", "batch_size", "evaluate_every"):
            number = getattr(self, name)
            if not isinstance(number, int) or number < 1:
                raise CourseError(f"{name} é {number!r}.", "Use um inteiro a partir de 1.", where="Recipe")


def learning_rate_at(step: int, recipe: Recipe) -> float:
    """Warm-up in a straight line, then half a cosine down to a tenth (Loshchilov and Hutter, 2016)."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * (0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2)


def make_optimizer(model: GPT, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2017). Only matrices decay: a bias or a norm has nothing to unlearn."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)


def batch_of(step: int, rows: Sequence, recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """(inputs, targets), each (batch, tokens), of this step. Every pass over the rows has an order of its own.

    Nothing is remembered from the step before, so a run that continues draws what the killed one would have drawn.
    """
    a_pass, place = divmod(step, max(1, len(rows) // recipe.batch_size))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(recipe.seed + a_pass))
    chosen = order[place * recipe.batch_size : (place + 1) * recipe.batch_size].tolist()
    inputs, targets = zip(*(rows[number] for number in chosen), strict=True)
    return torch.stack(inputs), torch.stack(targets)


@torch.no_grad()
def evaluate(model: GPT, rows: Sequence, batch_size: int = 32) -> float:
    """Mean loss of one token over all rows, in nats. CourseError where no token counts."""
    was_training, device = model.training, model.tokens.weight.device
    model.eval()
    total = count = 0
    for start in range(0, len(rows), batch_size):
        some = [rows[number] for number in range(start, min(start + batch_size, len(rows)))]
        inputs, targets = (torch.stack(column).to(device) for column in zip(*some, strict=True))
        counted = int((targets != -100).sum())
        total += next_token_loss(model(inputs), targets).item() * counted
        count += counted
    model.train(was_training)
    if not count:
        raise CourseError("não há nenhum token em que medir a perda.", "Dê ao menos uma linha.", where="evaluate")
    return total / count


def train(
    model: GPT, rows: Sequence, validation: Sequence, recipe: Recipe, checkpoint: Path | None = None
) -> Iterator[dict[str, float]]:
    """Train `model` where it stands; gives the diary, one entry a step, while it goes: `list(train(...))` runs it all.

    `rows` and `validation` hold pairs (inputs, targets) of equal length. Every `evaluate_every` steps, and at the end,
    the entry has a "validation_loss" and, where asked, `checkpoint` is written; if it exists, the run continues there.
    """
    if not len(rows) or not len(validation):
        raise CourseError("não há nenhuma janela de texto.", "O corpus está vazio ou é curto demais.", where="train")
    device = model.tokens.weight.device
    optimizer = make_optimizer(model, recipe)
    saved = checkpoint is not None and checkpoint.exists()
    start = load_checkpoint(checkpoint, model, optimizer, recipe) if saved else 0
    for step in range(start, recipe.steps):
        torch.manual_seed(recipe.seed + step)  # dropout, too, must be the same in a run that continues
        model.train()
        inputs, targets = (part.to(device) for part in batch_of(step, rows, recipe))
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = next_token_loss(model(inputs), targets)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        rate = learning_rate_at(step, recipe)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        entry = {"step": step + 1, "loss": loss.item(), "learning_rate": rate, "gradient": norm.item()}
        if (step + 1) % recipe.evaluate_every == 0 or step + 1 == recipe.steps:
            entry["validation_loss"] = evaluate(model, validation)
            if checkpoint:
                save_checkpoint(checkpoint, model, optimizer, step + 1, recipe)
        yield entry


def _run(model: GPT, recipe: Recipe) -> dict[str, str]:
    """What must agree for a checkpoint to belong to a run."""
    return {name: str(value) for name, value in (asdict(model.config) | asdict(recipe)).items()}


def save_checkpoint(path: Path, model: GPT, optimizer: torch.optim.Optimizer, step: int, recipe: Recipe) -> None:
    """Weights, the optimizer's moments, the step and the recipe, in one safetensors file."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(tensors, path, _run(model, recipe) | {"step": str(step)})


def load_checkpoint(path: Path, model: GPT, optimizer: torch.optim.Optimizer, recipe: Recipe) -> int:
    """Put model and optimizer back where the checkpoint left them; returns the steps done.

    CourseError, with both as they were, for another run's checkpoint and for one with a part missing.
    """
    tensors, written = read_tensors(path)
    step = written.pop("step", None)
    for name, value in _run(model, recipe).items():
        if written.get(name) != value:
            raise CourseError(
                f"o ponto salvo é de outra corrida: {name} era {written.get(name, 'desconhecido')}, agora é {value}.",
                "Apague o arquivo para começar de novo, ou volte à receita dele.",
                where=path,
            )
    learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {f"optimizer.{n}.{part}": p.shape for n, p in enumerate(learning) for part in ("exp_avg", "exp_avg_sq")}
    if step is None or any(name not in tensors or tensors[name].shape != shape for name, shape in moments.items()):
        raise CourseError("o ponto salvo está incompleto.", "Apague o arquivo para começar de novo.", where=path)
    fill(model, {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}, path)
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, part = name.split(".")
            state.setdefault(int(number), {})[part] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(step)


# --- models/gpt-pt ---------------------------------------------------------------------------------------------------

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
`python -m afina.gpt.train`.

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


def windows(tokenizer: Tokenizer, texts: list[str], context: int) -> Windows:
    """The documents, one after the other, cut into windows."""
    return Windows(ribbon([tokenizer.encode(text) for text in texts], tokenizer.end), context)


def whole_documents(tokenizer: Tokenizer, texts: list[str], context: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Rows of `context` tokens that hold whole documents: each row begins where a document does."""
    if not texts:
        raise CourseError("não há nenhum texto.", "O corpus está vazio: confira o arquivo.", where="whole_documents")
    rows = pack([[*tokenizer.encode(text), tokenizer.end] for text in texts], context)
    return list(zip(*pad([[tokenizer.end, *row] for row in rows], tokenizer.end), strict=True))


def copy_questions(texts: list[str]) -> dict[str, list[tuple[str, str]]]:
    """(story up to its question, answer) by kind of question: the answer is in the story, and must be said again."""
    kinds = {
        "quem tem o quê": r"O que \w+ tem\?",
        "onde fica": r"Onde fica [^?]+\?",
        "que clube": r"Para que clube torce \w+\?",
    }
    found = {}
    for kind, question in kinds.items():
        matches = (re.fullmatch(rf"(.*{question})( [^\n]+)", text) for text in texts)
        found[kind] = [match.groups() for match in matches if match]
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
            clock.write_text(str(before + time.process_time()), encoding="utf-8")
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
        **{name: f"{number:,}".replace(",", ".") for name, number in figures.items()},
        seeds=", ".join(map(str, EXTRA_SEEDS)),
        seconds=round(float(clock.read_text(encoding="utf-8"))),
        threads=torch.get_num_threads(),
        losses="\n".join(f"| {kind} | {loss:.3f} | {math.exp(loss):.2f} |" for kind, loss in losses.items()).replace(
            ".", ","
        ),
        copies=", ".join(f"{kind} {share:.1%}" for kind, share in right.items()).replace(".", ",").replace("%", " %"),
    )
    aside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    save_gpt(model, aside)
    save_tokenizer(tokenizer, aside / "tokenizer.json")
    (aside / "README.md").write_text(card, encoding="utf-8", newline="\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(aside, folder)
    shutil.rmtree(place.parent)
    return losses


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m afina.gpt.train", description="Refaz models/gpt-pt.")
    parser.parse_args(argv)
    folder = course_root() / "models" / "gpt-pt"
    folder.parent.mkdir(exist_ok=True)
    print(json.dumps({kind: round(loss, 4) for kind, loss in make_gpt_pt(folder).items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
