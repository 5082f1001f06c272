"""Figures of deck 06: the charts of lesson 13, from what it measured."""

import ast
import re

import pandas as pd

from afina.ptbr import decimal
from afina.teach import figures
from workshop.slides import cell_picture, flatter, said


def bars(values, labels, color, alt, height=2.8):
    """Horizontal bars, {name: value}, with a label at the end of each."""
    fig, ax = figures.figure(height=height)
    drawn = ax.barh(list(values)[::-1], list(values.values())[::-1], color=color)
    ax.bar_label(drawn, labels[::-1], padding=5, fontsize=13, fontweight="bold")
    ax.set(xlim=(0, 1.15 * max(values.values())), xticks=[])
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(left=False, labelsize=13)
    told = "; ".join(f"{name}, {label}" for name, label in zip(values, labels, strict=True))
    return fig, f"{alt}: {told}."


def hidden_words():
    """Lesson 13, part 3: the share of hidden words guessed right in reviews that no model read."""
    (text,) = said("13", r"^(\{'pesos aleatórios': '.*\})$")
    shares = {name: float(share) for name, share in ast.literal_eval(text).items()}
    labels = [f"{share:.0%}".replace("%", " %") for share in shares.values()]
    return bars(shares, labels, figures.BLUE, "Barras com a parte das palavras escondidas que cada modelo acerta")


def three_models():
    """Lesson 13, part 7: right answers of the three models in the two tests."""
    (text,) = said("13", r"^Barras com o acerto dos três modelos nos dois testes: (\{.*\})\.$")
    table = pd.DataFrame(ast.literal_eval(text)).T
    return flatter(cell_picture("13", "Quem leu antes conhece", table=table), 3)


def rates():
    """Lesson 13, part 9: right answers by epoch, for four learning rates."""
    (block,) = said("13", r"^((?:\d\S* \['\d.*\]\n?)+)")
    sweep = {
        float(rate): [float(check) for check in ast.literal_eval(checks)]
        for rate, checks in re.findall(r"^(\S+) (\[.*\])$", block, re.M)
    }
    best_rate = max(sweep, key=lambda rate: sweep[rate][-1])
    return cell_picture("13", "Pequena não sai do lugar", sweep=sweep, best_rate=best_rate)


def swapped():
    """Lesson 13, part 12: the chance of "negativo" when each word in turn is hidden."""
    (block,) = said("13", r"^((?:\S+ +\d\.\d\d → \d\.\d\d\n?)+)")
    rows = re.findall(r"^(\S+) +\S+ → (\S+)$", block, re.M)
    words, chances = [word for word, _ in rows], [float(chance) for _, chance in rows]
    fig, ax = figures.figure(height=2.8)
    drawn = ax.bar(
        range(len(words)), chances, color=[figures.RED if chance < 0.5 else figures.SKY for chance in chances]
    )
    turned = [decimal(chance) if chance < 0.5 else "" for chance in chances]
    ax.bar_label(drawn, turned, padding=4, fontsize=13, fontweight="bold")
    ax.set_xticks(range(len(words)), words, fontsize=13)
    ax.set(ylabel="chance de “negativo”", ylim=(0, 1.05))
    ax.grid(visible=False, axis="x")
    told = "; ".join(f"{word} {decimal(chance)}" for word, chance in zip(words, chances, strict=True))
    return fig, f"Barras com a chance de negativo quando se esconde cada palavra: {told}."


PICTURES = {
    "hidden_words": hidden_words,
    "three_models": three_models,
    "rates": rates,
    "swapped": swapped,
}
