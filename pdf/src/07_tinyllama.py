"""Figures of deck 07: the rivals of lesson 14, drawn by its own cell, and the methods of its benchmark."""

import ast
import json

import pandas as pd

from afina.ptbr import decimal
from afina.runtime import course_root
from afina.teach import figures
from afina.tune.evaluate import NAMES
from workshop.slides import cell_picture, flatter, said

ROOT = course_root()


def rivals():
    """Lesson 14, part 6: attributes, category and everything right, tuned model and its three rivals."""
    (text,) = said("14", r"^Barras com atributos, categoria e tudo certo: (\{.*\})\.$")
    english = {told: name for name, told in NAMES.items()}
    scores = pd.DataFrame(ast.literal_eval(text)).T.rename(columns=english)
    return flatter(cell_picture("14", "Cada rival acerta uma parte", scores=scores, NAMES=NAMES), 3)


def methods():
    """benchmarks/results/sft.json: the loss on unseen products by method, mean of the seeds."""
    found = json.loads((ROOT / "benchmarks/results/sft.json").read_text(encoding="utf-8"))["summary"]["methods"]
    names = {"lora": "LoRA", "qlora": "QLoRA", "qlora_words": "QLoRA + palavras", "full": "tudo"}
    losses = {told: found[name]["held_out_loss"]["mean"] for name, told in names.items()}
    fig, ax = figures.figure(height=2.7)
    drawn = ax.barh(list(losses)[::-1], list(losses.values())[::-1], color=figures.BLUE)
    labels = [decimal(loss) for loss in losses.values()]
    ax.bar_label(drawn, labels[::-1], padding=5, fontsize=13, fontweight="bold")
    ax.set(xlim=(0, 1.15 * max(losses.values())), xticks=[])
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(left=False, labelsize=13)
    told = "; ".join(f"{name}, {label}" for name, label in zip(losses, labels, strict=True))
    return fig, f"Barras da perda em produtos nunca vistos, por método: {told}."


PICTURES = {"rivals": rivals, "methods": methods}
