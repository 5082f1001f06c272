"""Figures of deck 05: ranks, charts of lessons 10 to 12 drawn by their own cells, and the five seeds of the spam benchmark."""

import ast
import json
import re

import pandas as pd
import torch
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from afina.gpt.instruct import encode_example, pad_examples, read_instructions
from afina.gpt.loader import IGNORED
from afina.gpt.tokenizer import load_tokenizer
from afina.ptbr import decimal
from afina.runtime import SEED, course_root
from afina.teach import figures
from workshop.slides import cell_picture, flatter, said

ROOT = course_root()


def ranks():
    """Lesson 10, part 2: three matrices of the same size, drawn as the lesson draws them."""
    torch.manual_seed(SEED)

    def draw(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns).round(decimals=1)  # another CPU's last digits must not change the picture

    rank_1, rank_3 = draw(24, 1) @ draw(1, 40), draw(24, 3) @ draw(3, 40)
    names = {"rank_1": rank_1, "rank_3": rank_3, "any_matrix": draw(24, 40), "torch": torch}
    return cell_picture("10", "for ax, matrix in zip(axes, (rank_1, rank_3, any_matrix)", **names)


def how_much_rank():
    """Lesson 10, part 7: the loss on new text by the weights that learn, in the two tasks."""
    points = {}
    for task in ("inglês", "mensagens"):
        (row,) = said("10", rf"^{task} +(\d+: +\d.*)$")
        points[task] = [(int(n), float(loss)) for n, loss in re.findall(r"(\d+): +(\d+\.\d+)", row)]
    return flatter(cell_picture("10", "Perto, o posto ajuda; longe, ele não basta", points=points), 2.9)


def spam():
    """benchmarks/results/classify.json: average precision on new spam, mean and range of five seeds, by model."""
    names = {
        "TF-IDF": "TF-IDF",
        "all": "GPT, tudo solto",
        "LoRA": "GPT, LoRA",
        "last block": "GPT, último bloco",
        "head": "GPT, só a cabeça",
    }
    runs = json.loads((ROOT / "benchmarks/results/classify.json").read_text(encoding="utf-8"))["spam"]
    found = pd.DataFrame(runs).groupby("model")["average_precision"].agg(["mean", "min", "max"]).loc[list(names)[::-1]]
    fig, ax = figures.figure(height=2.9)
    colors = [figures.BLUE] * (len(names) - 1) + [figures.ORANGE]
    ax.barh([names[name] for name in found.index], found["mean"], color=colors)
    reach = [(found["mean"] - found["min"]).clip(0), (found["max"] - found["mean"]).clip(0)]
    ax.errorbar(found["mean"], range(len(found)), xerr=reach, fmt="none", color=figures.INK, capsize=4)
    labels = [decimal(mean) for mean in found["mean"]]
    for row, label in enumerate(labels):
        ax.text(
            max(found["max"].iloc[row], found["mean"].iloc[row]) + 0.02, row, label, va="center", size=13, weight="bold"
        )
    ax.set(xlim=(0, 1), xticks=[])
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(left=False, labelsize=13)
    told = "; ".join(f"{names[name]}, {label}" for name, label in list(zip(found.index, labels, strict=True))[::-1])
    return fig, f"Barras da precisão média no teste, média e faixa de cinco sementes: {told}."


def adjectives():
    """Lesson 11, part 5: right answers on adjectives that no label showed."""
    text = said("11", r"^(\{'TF-IDF': .*\}) acaso: ")[0]
    scores = {name: float(score) for name, score in ast.literal_eval(text).items()}
    return cell_picture("11", "Adjetivos que nenhum rótulo mostrou", scores=scores)


def what_counts():
    """Lesson 12, part 5: one example of each kind, position by position: request, answer, end, padding."""
    tokenizer = load_tokenizer(ROOT / "models" / "gpt-pt" / "tokenizer.json")
    one_each = {row["kind"]: row for row in read_instructions("train")}
    encoded = [encode_example(row, tokenizer, 128) for row in one_each.values()]
    ids, labels = pad_examples(encoded, filler=tokenizer.end)
    lengths = torch.tensor([len(its) for its, _ in encoded])
    after = torch.arange(ids.size(1)) >= lengths[:, None]
    answer = torch.where(labels == tokenizer.end, 3, 2)
    part = torch.where(after, 0, torch.where(labels == IGNORED, 1, answer))
    names = {"part": part, "one_each": one_each, "ListedColormap": ListedColormap, "Patch": Patch}
    return flatter(cell_picture("12", "Só a resposta e o fim contam na perda", **names), 3.1)


def forgetting():
    """Lesson 12, part 9: the loss on requests and the prose forgotten, by remedy."""
    (text,) = said("12", r"^Perda nos pedidos e perda a mais na prosa, por remédio: (\{.*\})\.$")
    points = ast.literal_eval(text)
    runs = {"antes": {}} | {name: {"pedidos": asked} for name, (asked, _) in points.items()}
    extra = {name: forgot for name, (_, forgot) in points.items()}
    return flatter(cell_picture("12", "Bom é embaixo, à esquerda", runs=runs, extra=extra), 3.1)


PICTURES = {
    "ranks": ranks,
    "how_much_rank": how_much_rank,
    "spam": spam,
    "adjectives": adjectives,
    "what_counts": what_counts,
    "forgetting": forgetting,
}
