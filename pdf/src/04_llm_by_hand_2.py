"""Figures of deck 04: diagrams and charts of lessons 07 to 09, from what the executed lessons measured."""

import ast

from afina.ptbr import decimal
from afina.teach import figures
from workshop.slides import said


def first_weights():
    """Lesson 07, part 3: the softmax of three tokens' likenesses."""
    names = ["copo", "azul", "cinza"]
    rows = [said("07", rf"^{name} +\['(\S+)', '(\S+)', '(\S+)'\] soma")[0:3] for name in names]
    matrix = [[float(share) for share in row] for row in rows]
    figure = figures.heat_map(matrix, names, "", "token olhado", "token que olha")
    told = "; ".join(f"{name} {', '.join(map(decimal, row))}" for name, row in zip(names, matrix, strict=True))
    return figure, f"Mapa de calor três por três dos pesos: {told}. Cada linha soma 1."


def shortcuts():
    """Lesson 08, part 8: the loss after a hundred steps, with and without shortcuts, beside frequency alone."""
    text, alone = said("08", r"^(\{'com atalhos': .*\}) só frequência: (\S+)$")
    losses = {name: float(loss) for name, loss in ast.literal_eval(text).items()} | {"só frequência": float(alone)}
    return bars(losses, figures.BLUE, "Barras da perda depois de cem passos")


def cures():
    """Lesson 09, part 4: the loss on new text of the model that memorizes, and of three cures."""
    names = ("nada", "parar no melhor", "dropout 0,3", "200 vezes mais dados")
    losses = {name: float(said("09", rf"^{name} +(\d\.\d\d)$")[0]) for name in names}
    return bars(losses, figures.RED, "Barras da perda em textos separados, por remédio")


def bars(losses, color, what):
    fig, ax = figures.figure(height=2.8)
    drawn = ax.barh(list(losses)[::-1], list(losses.values())[::-1], color=color)
    labels = [decimal(loss) for loss in losses.values()]
    ax.bar_label(drawn, labels[::-1], padding=5, fontsize=13, fontweight="bold")
    ax.set(xlim=(0, 1.15 * max(losses.values())), xticks=[])
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(left=False, labelsize=13)
    told = "; ".join(f"{name}, {label}" for name, label in zip(losses, labels, strict=True))
    return fig, f"{what}: {told}."


def two_starts():
    """Lesson 09, part 9: the lowest loss on new messages, from drawn weights and from the course's GPT."""
    (text,) = said("09", r"^(\{'do zero': .*\})$")
    losses = {name: float(loss) for name, loss in ast.literal_eval(text).items()}
    return bars(losses, figures.BLUE, "Barras da menor perda em mensagens novas, por ponto de partida")


PICTURES = {
    "first_weights": first_weights,
    "transformer": lambda: (figures.transformer(), figures.TRANSFORMER_ALT),
    "shortcuts": shortcuts,
    "cures": cures,
    "two_starts": two_starts,
}
