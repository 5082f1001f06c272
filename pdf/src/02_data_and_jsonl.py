"""Figures of deck 02: the charts of lesson 02, drawn by its own cells from what it measured, and the engine's benchmark."""

import ast
import json

import pandas as pd

from afina.ptbr import decimal
from afina.runtime import course_root
from afina.teach import figures
from workshop.slides import cell_picture, flatter, said

ROOT = course_root()


def bars(names, values, labels, alt, height=2.9):
    """Horizontal bars with a label at the end of each, largest letters that fit."""
    fig, ax = figures.figure(height=height)
    drawn = ax.barh(names[::-1], values[::-1], color=figures.BLUE)
    ax.bar_label(drawn, labels[::-1], padding=5, fontsize=13, fontweight="bold")
    ax.set(xlim=(0, 1.28 * max(values)), xticks=[])
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(left=False, labelsize=13)
    return fig, alt


def rules():
    """Lesson 02, part 2: the share of descriptions that each cleaning rule changes."""
    names = ("unescape_entities", "strip_tags", "keep_wanted", "fold_space")
    shares = [float(said("02", rf"^{name} +mudou +(\S+)% das descrições")[0]) for name in names]
    labels = [f"{share:.0f} %" for share in shares]
    told = "; ".join(f"{name}, {label}" for name, label in zip(names, labels, strict=True))
    return bars(list(names), shares, labels, f"Barras com a parte das descrições que cada regra mudou: {told}.")


def curve(name):
    """{examples: (None, held-out accuracy, None)} of one learning curve of lesson 02, part 6."""
    (text,) = said("02", rf"^{name} +(\{{.*\}})$")
    return {n: (None, float(test), None) for n, test in ast.literal_eval(text).items()}


def scores(sizes, after):
    """{examples: (train accuracy, held-out accuracy, None)} of the printed lines that end with `after`."""
    line = r"^ +{} exemplos: treino (\S+), separados (\d\.\d\d){}"
    return {n: (*map(float, said("02", line.format(n, after))), None) for n in sizes}


def stages():
    (text,) = said("02", r"^(\{'lidas'(?:.|\n)*?\})$")
    return ast.literal_eval(text)


def engines():
    """benchmarks/results/data_prep.json: one catalogue, four ways of cleaning it; seconds on the clock."""
    measured = json.loads((ROOT / "benchmarks/results/data_prep.json").read_text(encoding="utf-8"))
    found = measured["comparison"]["engines"]
    names = {"afina": "afina prep", "pandas": "pandas", "datasets": "datasets", "naive": "laço em Python"}
    seconds = [found[engine]["wall_s"] for engine in names]
    labels = [f"{decimal(found[one]['wall_s'], 1)} s · {decimal(found[one]['peak_mb'], 0)} MB" for one in names]
    told = "; ".join(f"{name}, {label}" for name, label in zip(names.values(), labels, strict=True))
    return bars(
        list(names.values()), seconds, labels, f"Barras com o tempo e a memória de quatro jeitos de limpar: {told}."
    )


PICTURES = {
    "clubs": lambda: flatter(
        cell_picture("02", "Três estádios grandes", clubs=pd.read_json(ROOT / "data/clubes.json")), 3.1
    ),
    "rules": rules,
    "stages": lambda: cell_picture("02", "De cada quatro linhas", stages=stages()),
    "engines": engines,
    "curves": lambda: flatter(
        cell_picture("02", "Mais dados ajudam, mas", easy=curve("fácil"), hard=curve("difícil")), 3
    ),
    "diseases": lambda: cell_picture(
        "02",
        "Decorou (sobreajuste)",
        memorized=scores([100, 300, 1000, 3000, 10_000], ", distância"),
        simple=scores([50, 100, 300, 1000, 3000, 6000], "$"),
    ),
    "tokens": lambda: job_sizes(),
}


def job_sizes():
    """Lesson 03, part 8: three epochs over the whole catalogue, by model, in dollars."""
    names = {
        "amazon.nova-micro-v1:0:128k": "Nova Micro",
        "amazon.nova-2-lite-v1:0:256k": "Nova 2 Lite",
        "gpt-4.1-mini-2025-04-14": "GPT-4.1 mini",
        "gpt-4.1-2025-04-14": "GPT-4.1",
    }
    labels = [said("03", rf"^{model} +US\$ +([\d.]+)$")[0] for model in names]
    dollars = [float(label.replace(".", "")) for label in labels]
    told = "; ".join(f"{name}, US$ {label}" for name, label in zip(names.values(), labels, strict=True))
    alt = f"Barras com o custo estimado de três épocas de um milhão e meio de exemplos: {told}."
    return bars(list(names.values()), dollars, [f"US$ {label}" for label in labels], alt, height=2.3)
