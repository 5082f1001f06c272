"""Pictures of the course: one palette that colour-blind readers can tell apart, one way to show a figure with its description."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure

# Okabe and Ito (2008), "Color Universal Design"; the yellow is left out, too pale on white.
BLUE, ORANGE, GREEN, RED, SKY, PINK, INK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#22303C"
PALETTE = [BLUE, ORANGE, GREEN, RED, SKY, PINK]
PAPER, MIST = "#FFFFFF", "#E8EDF1"

STYLE = {
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": MIST,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "font.size": 11,
    "lines.linewidth": 2.2,
    "lines.markersize": 6,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "afina",
}
WIDTH = 7.6  # inches: fills the text column of JupyterLab and of the HTML page
DPI = 144


def figure(height: float = 3.4, columns: int = 1, rows: int = 1, **subplots):
    """`plt.subplots` in the course's style: returns (figure, axes). `height` in inches; further words go to subplots."""
    plt.rcParams.update(STYLE)  # for good: titles and labels set later must find it too
    return plt.subplots(rows, columns, figsize=(WIDTH, height), **subplots)


def show(fig: Figure, alt: str) -> None:
    """Show a figure with its alternative text and close it.

    `alt` says in one or two Portuguese sentences what a person who cannot see the picture needs to know.
    Raises ValueError when it is missing: a figure without description is half a figure.
    """
    if len(alt.split()) < 5:
        raise ValueError("describe the figure in a sentence (alt=...)")
    png = io.BytesIO()
    fig.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    plt.close(fig)
    width = round(fig.get_figwidth() * 96)  # CSS pixels: the file is sharper than the screen needs
    display(
        {"image/png": _few_colours(png.getvalue()), "text/plain": alt},
        metadata={"image/png": {"alt": alt, "width": width}},
        raw=True,
    )


def _few_colours(png: bytes) -> bytes:
    """The same picture with a palette of 128 colours: a quarter of the bytes, and no difference one can see in a chart."""
    from PIL import Image

    small = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


# --- the map of the course -------------------------------------------------------------------------------------------

MAP_ALT = (
    "Mapa do curso. O arquivo bruto passa pela preparação dos dados e pelo JSONL; dali saem três caminhos: um LLM feito à mão, "
    "o ajuste de modelos prontos e os jobs na nuvem. Os três chegam ao modelo servido, e o uso dele devolve dados novos ao começo."
)


def course_map() -> Figure:
    """The course in one picture: data walks from left to right, and what users say comes back as new data."""
    fig, ax = figure(height=4.3)
    ax.set(xlim=(0, 100), ylim=(0, 56))
    ax.axis("off")
    ax.grid(False)

    def box(x: float, y: float, width: float, title: str, lessons: str, color: str, height: float = 10) -> None:
        style = {"boxstyle": "round,pad=0,rounding_size=1.6", "linewidth": 0}
        ax.add_patch(plt.matplotlib.patches.FancyBboxPatch((x, y), width, height, facecolor=color, **style))
        ax.text(
            x + width / 2, y + height * 0.63, title, ha="center", va="center", color="white", weight="bold", size=10.5
        )
        ax.text(x + width / 2, y + height * 0.26, lessons, ha="center", va="center", color="white", size=9)

    def arrow(start: tuple, end: tuple) -> None:
        shape = {
            "arrowstyle": "-|>,head_width=0.28,head_length=0.5",
            "color": INK,
            "linewidth": 1.4,
            "shrinkA": 1,
            "shrinkB": 1,
        }
        ax.annotate("", end, start, arrowprops=shape)

    box(0, 23, 16, "Conceitos", "aulas 00 e 01", "#5B6B78")
    box(21, 23, 16, "Dados", "aula 02", BLUE)
    box(42, 23, 14, "JSONL", "aula 03", BLUE)
    box(62, 41, 20, "LLM à mão", "aulas 04 a 12", "#00735A")
    box(62, 23, 20, "Modelos prontos", "aulas 13 e 14", "#B54A00")
    box(62, 6, 20, "Jobs na nuvem", "aulas 15 e 16", "#8A4A75")
    box(87, 23, 13, "Servir", "aula 17", INK)
    arrow((16, 28), (21, 28))
    arrow((37, 28), (42, 28))
    for y in (46, 28, 11):
        arrow((56, 28), (62, y))
        arrow((82, y), (87, 28))
    ax.plot([93.5, 93.5, 29], [23, 1.5, 1.5], color=INK, linewidth=1.4, solid_joinstyle="round")
    arrow((29, 1.5), (29, 23))
    ax.text(45, 2.6, "o uso vira dado novo", ha="center", color=INK, size=9.5, style="italic")
    return fig


def course_map_svg() -> str:
    """The map as the README shows it: `docs/course_map.svg`, byte for byte the same on every run."""
    svg = io.StringIO()
    fig = course_map()
    fig.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(fig)
    return "\n".join(line.rstrip() for line in svg.getvalue().splitlines()) + "\n"
