"""Figures of deck 09: what lesson 17 measured, drawn by its own cells, its table of precisions, and how a batch is filled."""

import ast
import re

import nbformat
import numpy as np
import pandas as pd

from afina.ptbr import number, parse
from afina.runtime import course_root
from afina.serve import hosting
from afina.teach import figures
from workshop.slides import cell_picture, flatter, said


def precisions():
    """Lesson 17, part 4: size and speed of each precision. A styled table is stored only as HTML."""
    notebook = nbformat.read(course_root() / "notebooks/17_serving.ipynb", as_version=4)
    (page,) = (
        out.data["text/html"]
        for cell in notebook.cells
        for out in cell.get("outputs", [])
        if "tokens/s (16)" in out.get("data", {}).get("text/html", "")
    )
    heads = re.findall(r'class="col_heading[^>]*>([^<]+)<', page)
    rows = re.findall(r'class="row_heading[^>]*>([^<]+)<', page)
    cells = [parse(text.replace(".", "")) for text in re.findall(r"<td[^>]*>([^<]+)<", page)]
    table = pd.DataFrame(np.reshape(cells, (len(rows), len(heads))), rows, heads)
    panels = {
        "KB": ("memória, KB", figures.BLUE),
        "tokens/s (1)": ("tokens/s, 1 conversa", figures.ORANGE),
        "tokens/s (16)": ("tokens/s, 16 conversas", figures.GREEN),
    }
    fig, axes = figures.figure(height=2.7, columns=3)
    for ax, (name, (title, color)) in zip(axes, panels.items(), strict=True):
        drawn = ax.bar(rows, table[name], 0.6, color=color)
        ax.bar_label(drawn, [number(value) for value in table[name]], padding=3, fontsize=12)
        ax.set(title=title, yticks=[], ylim=(0, 1.15 * table[name].max()))
        ax.grid(visible=False)
        ax.spines["left"].set_visible(False)
    fig.get_layout_engine().set(wspace=0.12)
    told = "; ".join(
        f"{title}: " + ", ".join(f"{k} {table[n][k]:.0f}" for k in rows) for n, (title, _) in panels.items()
    )
    return fig, f"Barras por precisão. {told}."


def batches():
    """Three places, six conversations: a batch that waits for its longest answer, and one that refills."""
    first = {"A": 6, "B": 3, "C": 4}  # steps of each answer; an example
    later = {"D": 3, "E": 4, "F": 2}
    whole = {name: max(first.values()) for name in later}
    # a place is taken by the next in line as soon as it is free: D after B, E after C, F after A
    refilled = {"D": first["B"], "E": first["C"], "F": first["A"]}
    places = ({"D": 0, "E": 1, "F": 2}, {"D": 1, "E": 2, "F": 0})
    fig, axes = figures.figure(height=2.6, columns=2, sharex=True, sharey=True)
    for ax, starts, seats, title in zip(
        axes, (whole, refilled), places, ("um lote de cada vez", "lote contínuo"), strict=True
    ):
        for seat, (name, steps) in enumerate(first.items()):
            ax.barh(seat, steps, 0.7, color=figures.BLUE, edgecolor="white", linewidth=2)
            ax.text(steps / 2, seat, name, ha="center", va="center", color="white", weight="bold", size=13)
        for name, steps in later.items():
            ax.barh(seats[name], steps, 0.7, starts[name], color=figures.ORANGE, edgecolor="white", linewidth=2)
            middle = starts[name] + steps / 2
            ax.text(middle, seats[name], name, ha="center", va="center", color=figures.INK, weight="bold", size=13)
        end = max(starts[name] + steps for name, steps in later.items())
        ax.axvline(end, color=figures.RED, linestyle="--")
        ax.set(title=title, xlabel="passos", xticks=range(0, 12, 2), yticks=[], ylim=(2.6, -0.6))
        ax.grid(visible=False)
        ax.spines["left"].set_visible(False)
    fig.get_layout_engine().set(wspace=0.08)
    return fig, (
        "Três lugares e seis conversas. À esquerda, D, E e F só entram quando a mais longa de A, B e C acaba: dez passos. "
        "À direita, cada uma entra no primeiro lugar que fica livre: oito passos."
    )


def load():
    """Lesson 17, part 6. The cell takes percentiles of the answers; 21 of these seconds have the printed ones."""
    loads = {}
    for clients in (1, 4, 16):
        found = said("17", rf"^ *{clients}: +(\d+) tokens/s; metade em (\d+) ms, 95% em (\d+) ms$")
        rate, middle, slow = map(int, found)
        loads[clients] = ([middle / 1000] * 19 + [slow / 1000] * 2, rate)
    return cell_picture("17", 'left.set(title="Espera"', loads=loads, np=np)


def marks():
    """Lesson 17, part 7: right answers by kind of question, on the air and after each second tuning."""
    (text,) = said("17", r"^Barras por tipo e por treino, parte de respostas certas: (\{.*\})\.$")
    return cell_picture("17", "Respostas certas, por tipo de pergunta", table=pd.DataFrame(ast.literal_eval(text)))


def cost():
    """Lesson 17, part 8: a function and a machine, dollars a month."""
    return cell_picture("17", 'title="Custo por mês"', np=np, hosting=hosting, print=lambda *words: None)


PICTURES = {
    "precisions": precisions,
    "batches": batches,
    "load": load,
    "marks": lambda: flatter(marks(), 2.9),
    "cost": cost,
}
