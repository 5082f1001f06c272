"""Pictures of the course: one palette that colour-blind readers can tell apart, one way to show a figure with its description."""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib import rc_params_from_file
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from afina.ptbr import decimal, percent

# Okabe and Ito (2008), "Color Universal Design"; the yellow is left out, too pale on white.
BLUE, ORANGE, GREEN, RED, SKY, PINK, INK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#22303C"
PALETTE = [BLUE, ORANGE, GREEN, RED, SKY, PINK]
PAPER, MIST = "#FFFFFF", "#E8EDF1"
# Darker sisters, on which white text reads at any size (contrast above 4.5). SLATE is also the colour of reference lines.
SLATE, FOREST, RUST, PLUM = "#5B6B78", "#006B3F", "#B54A00", "#5C2D7A"

STYLE = {
    **rc_params_from_file(Path(__file__).with_suffix(".mplstyle"), use_default_template=False),
    "axes.prop_cycle": plt.cycler(color=PALETTE),
}
WIDTH = 7.6  # inches: fills the text column of JupyterLab and of the HTML page
DPI = 144
_styled = contextlib.ExitStack()  # open from `figure` to `show`


def figure(height: float = 3.4, columns: int = 1, rows: int = 1, **subplots: Any) -> tuple[Figure, Any]:
    """`plt.subplots` in the course's style: returns (figure, axes). `height` in inches; further words go to subplots.

    The style holds until `show`, for the titles and labels that are set in between; then matplotlib is as it was.
    """
    _styled.close()  # of a figure that was never shown
    _styled.enter_context(plt.rc_context(STYLE))
    return plt.subplots(rows, columns, figsize=(WIDTH, height), **subplots)


def show(fig: "Figure | Diagram", alt: str = "") -> None:
    """Show a figure with its alternative text and close it; or a diagram, which brings its own.

    `alt` says in one or two Portuguese sentences what a person who cannot see the picture needs to know.
    Raises ValueError when it is missing: a figure without description is half a figure.
    A figure labelled "flat" (`fig.set_label`), which has few colours, goes out in half the bytes.
    """
    if isinstance(fig, Diagram):
        show_picture(_FOLDER / f"{fig.name}.png", alt or fig.alt, round(WIDTH * 96))
        return
    png = io.BytesIO()
    colours, dpi = (24, 108) if fig.get_label() == "flat" else (128, DPI)
    fig.savefig(png, format="png", dpi=dpi, metadata={"Software": None})
    plt.close(fig)
    _styled.close()
    _display(few_colours(png.getvalue(), colours), alt, round(fig.get_figwidth() * 96))


def show_picture(path: str | Path, alt: str, width: int) -> None:
    """Show a PNG of the repository, such as a picture of a page, `width` CSS pixels wide; `alt` as in `show`."""
    _display(Path(path).read_bytes(), alt, width)


def _display(png: bytes, alt: str, width: int) -> None:
    """The picture as an output of the cell; `width` in CSS pixels, since the file is sharper than the screen needs."""
    if len(alt.split()) < 5:
        raise ValueError("describe the figure in a sentence (alt=...)")
    display({"image/png": png, "text/plain": alt}, metadata={"image/png": {"alt": alt, "width": width}}, raw=True)


def few_colours(png: bytes, colours: int = 128) -> bytes:
    """The same picture with a small palette: 128 colours take a quarter of the bytes, and no one sees it in a chart."""
    from PIL import Image

    small, image = io.BytesIO(), Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(colours, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


# Diagrams are drawn as workshop/diagrams/NAME.svg, from which `python -m workshop.pictures` makes what is shown here.
_FOLDER = Path(__file__).parent / "diagrams"
_ALTS: dict[str, str] = json.loads((_FOLDER / "alt.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Diagram:
    """A finished drawing: `show(transformer())`."""

    name: str
    alt: str


def _diagram(name: str) -> tuple[Callable[[], Diagram], str]:
    """What lessons know a drawing by: a function, as where figures are drawn, and the description."""
    return lambda: Diagram(name, _ALTS[name]), _ALTS[name]


course_map, MAP_ALT = _diagram("course_map")
pretraining, PRETRAINING_ALT = _diagram("pretraining")
embedding, EMBEDDING_ALT = _diagram("embedding")
transfer, TRANSFER_ALT = _diagram("transfer")
transformer, TRANSFORMER_ALT = _diagram("transformer")
fine_tuning, FINE_TUNING_ALT = _diagram("fine_tuning")
decision_tree, DECISION_ALT = _diagram("decision_tree")
tuning_methods, METHODS_ALT = _diagram("tuning_methods")
stacks, STACKS_ALT = _diagram("stacks")
feedback_loop, FEEDBACK_ALT = _diagram("feedback_loop")
job_states, JOB_STATES_ALT = _diagram("job_states")
bedrock_parts, BEDROCK_PARTS_ALT = _diagram("bedrock_parts")


def heat_map(matrix: list[list[float]], labels: list[str], title: str, xlabel: str = "", ylabel: str = "") -> Figure:
    """A square matrix of shares (0 to 1) with its numbers written in the cells and `labels` on both sides."""
    fig, ax = figure(height=2.9)
    fig.set_label("flat")
    ax.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    for row, shares in enumerate(matrix):
        for column, share in enumerate(shares):
            ax.text(column, row, decimal(share), ha="center", va="center", color="white" if share > 0.5 else INK)
    ax.set(xticks=range(len(labels)), xticklabels=labels, yticks=range(len(labels)), yticklabels=labels)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.grid(visible=False)
    return fig


def attention_alt(tokens: list[str], weights: list[float]) -> str:
    shares = ", ".join(f"{token} {percent(weight, 0)}" for token, weight in zip(tokens, weights, strict=True))
    return (
        f"Diagrama da atenção. A consulta de {tokens[0]} é comparada com a chave de cada token; as notas viram pesos "
        f"({shares}); os valores, misturados nesses pesos, formam o novo vetor de {tokens[0]}."
    )


def attention(tokens: list[str], weights: list[float]) -> Figure:
    """What the first of three tokens does: its query meets every key, and the values are mixed by the weights given."""
    fig, ax = figure(height=3.1)
    fig.set_label("flat")
    ax.set(xlim=(0, 100), ylim=(0, 310 / WIDTH))  # 100 units across, and units of the same length up
    ax.axis("off")
    first = tokens[0]
    boxes: list[tuple[float, float, float, float, str, str, str]] = [
        (0, 15, 17, 12, first, "sua consulta", BLUE),
        (84, 14.5, 16, 13, "Soma", f"o novo vetor\nde {first}", RUST),
    ]
    said: dict[str, Any] = {"ha": "center", "va": "center", "size": 9.5}
    for y, token, weight in zip((29.0, 16.0, 3.0), tokens, weights, strict=True):
        boxes += [(31, y, 16, 9, token, "chave", SLATE), (60, y, 14, 9, token, "valor", FOREST)]
        ax.plot([47, 60], [y + 4.5] * 2, color=ORANGE, linewidth=1 + 14 * weight, solid_capstyle="butt")
        ax.text(53.5, y + 8, percent(weight, 0), weight="bold", **said)
        head = {"arrowstyle": "-|>,head_width=0.28,head_length=0.5", "shrinkA": 1, "shrinkB": 1, "linewidth": 1.4}
        for start, end in (((17, 21), (31, y + 4.5)), ((74, y + 4.5), (84, 21))):
            ax.annotate("", end, start, arrowprops={"color": INK, **head})
    for x, y, width, height, title, note, color in boxes:
        shape = "round,pad=0,rounding_size=1.6"
        ax.add_patch(FancyBboxPatch((x, y), width, height, facecolor=color, boxstyle=shape, linewidth=0))
        title_at, note_at = (0.76, 0.34) if "\n" in note else (0.63, 0.26)
        for text, at, style in ((title, title_at, {"weight": "bold", "size": 10.5}), (note, note_at, {"size": 9})):
            ax.text(x + width / 2, y + height * at, text, **said | style | {"color": "white"})
    ax.text(17, 35, "consulta · chave\n= nota", style="italic", **said)
    ax.text(91, 35, "peso × valor,\nsomados", style="italic", **said)
    return fig
