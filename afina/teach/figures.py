"""Pictures of the course: one palette that colour-blind readers can tell apart, one way to show a figure with its description."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.axes import Axes
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

    A figure labelled "flat" (`fig.set_label`), which every diagram is, has few colours and goes out in half the bytes.

    `alt` says in one or two Portuguese sentences what a person who cannot see the picture needs to know.
    Raises ValueError when it is missing: a figure without description is half a figure.
    """
    png = io.BytesIO()
    colours, dpi = (24, 108) if fig.get_label() == "flat" else (128, DPI)
    fig.savefig(png, format="png", dpi=dpi, metadata={"Software": None})
    plt.close(fig)
    _display(_few_colours(png.getvalue(), colours), alt, round(fig.get_figwidth() * 96))


def show_picture(path: str | Path, alt: str, width: int) -> None:
    """Show a PNG of the repository, such as a picture of a page, `width` CSS pixels wide; `alt` as in `show`."""
    _display(Path(path).read_bytes(), alt, width)


def _display(png: bytes, alt: str, width: int) -> None:
    """The picture as an output of the cell; `width` in CSS pixels, since the file is sharper than the screen needs."""
    if len(alt.split()) < 5:
        raise ValueError("describe the figure in a sentence (alt=...)")
    display({"image/png": png, "text/plain": alt}, metadata={"image/png": {"alt": alt, "width": width}}, raw=True)


def _few_colours(png: bytes, colours: int = 128) -> bytes:
    """The same picture with a small palette: 128 colours take a quarter of the bytes, and no one sees it in a chart."""
    from PIL import Image

    small = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(
        small, "PNG", optimize=True
    )
    return small.getvalue()


# --- diagrams: what they are drawn with --------------------------------------------------------------------------------

# Darker sisters of the palette, on which white text reads at any size (contrast above 4.5). SLATE is also the colour of reference lines.
SLATE, FOREST, RUST, PLUM = "#5B6B78", "#006B3F", "#B54A00", "#5C2D7A"


def _canvas(height: float, top: float | None = None) -> tuple[Figure, Axes]:
    """An empty page `height` inches high: 100 units across, `top` units up (default: as long as the ones across)."""
    fig, ax = figure(height=height)
    fig.set_label("flat")
    ax.set(xlim=(0, 100), ylim=(0, top or 100 * height / WIDTH))
    ax.axis("off")
    ax.grid(False)
    return fig, ax


def _box(ax: Axes, x: float, y: float, width: float, height: float, title: str, note: str = "", color: str = BLUE):
    """A rounded box with its lower left corner at (x, y): a bold title and, below it, a note. Text is white, or dark on MIST."""
    style = {"boxstyle": "round,pad=0,rounding_size=1.6", "linewidth": 0}
    ax.add_patch(plt.matplotlib.patches.FancyBboxPatch((x, y), width, height, facecolor=color, **style))
    ink = INK if color == MIST else "white"
    if not note:
        ax.text(x + width / 2, y + height / 2, title, ha="center", va="center", color=ink, weight="bold", size=10)
        return
    lines = 1 + note.count("\n")  # the title keeps clear of notes of several lines
    title_at, note_at = {1: (0.63, 0.26), 2: (0.76, 0.34), 3: (0.81, 0.37)}[lines]
    ax.text(x + width / 2, y + height * title_at, title, ha="center", va="center", color=ink, weight="bold", size=10.5)
    ax.text(x + width / 2, y + height * note_at, note, ha="center", va="center", color=ink, size=9)


def _arrow(ax: Axes, start: tuple, end: tuple, color: str = INK, curve: float = 0) -> None:
    shape = {
        "arrowstyle": "-|>,head_width=0.28,head_length=0.5",
        "color": color,
        "linewidth": 1.4,
        "shrinkA": 1,
        "shrinkB": 1,
    }
    if curve:
        shape["connectionstyle"] = f"arc3,rad={curve}"
    ax.annotate("", end, start, arrowprops=shape)


def _path(ax: Axes, *points: tuple) -> None:
    """A line with corners through the points; the last piece is an arrow."""
    ax.plot(*zip(*points[:-1], strict=True), color=INK, linewidth=1.4, solid_joinstyle="round")
    _arrow(ax, points[-2], points[-1])


def _say(ax: Axes, x: float, y: float, text: str, size: float = 9.5, **style) -> None:
    ax.text(x, y, text, **{"ha": "center", "va": "center", "color": INK, "size": size, "style": "italic"} | style)


# --- the map of the course -------------------------------------------------------------------------------------------

MAP_ALT = (
    "Mapa do curso. O arquivo bruto passa pela preparação dos dados e pelo JSONL; dali saem três caminhos: um LLM feito à mão, "
    "o ajuste de modelos prontos e os jobs na nuvem. Os três chegam ao modelo servido, e o uso dele devolve dados novos ao começo."
)


def course_map() -> Figure:
    """The course in one picture: data walks from left to right, and what users say comes back as new data."""
    fig, ax = _canvas(4.3, top=56)
    _box(ax, 0, 23, 16, 10, "Conceitos", "aulas 00 e 01", SLATE)
    _box(ax, 21, 23, 16, 10, "Dados", "aula 02", BLUE)
    _box(ax, 42, 23, 14, 10, "JSONL", "aula 03", BLUE)
    _box(ax, 62, 41, 20, 10, "LLM à mão", "aulas 04 a 12", FOREST)
    _box(ax, 62, 23, 20, 10, "Modelos prontos", "aulas 13 e 14", RUST)
    _box(ax, 62, 6, 20, 10, "Jobs na nuvem", "aulas 15 e 16", PLUM)
    _box(ax, 87, 23, 13, 10, "Servir", "aula 17", INK)
    _arrow(ax, (16, 28), (21, 28))
    _arrow(ax, (37, 28), (42, 28))
    for y in (46, 28, 11):
        _arrow(ax, (56, 28), (62, y))
        _arrow(ax, (82, y), (87, 28))
    ax.plot([93.5, 93.5, 29], [23, 1.5, 1.5], color=INK, linewidth=1.4, solid_joinstyle="round")
    _arrow(ax, (29, 1.5), (29, 23))
    ax.text(45, 2.6, "o uso vira dado novo", ha="center", color=INK, size=9.5, style="italic")
    return fig


def course_map_svg() -> str:
    """The map as the README shows it: `docs/course_map.svg`, byte for byte the same on every run."""
    return _svg(course_map())


def _svg(fig: Figure) -> str:
    svg = io.StringIO()
    fig.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(fig)
    return "\n".join(line.rstrip() for line in svg.getvalue().splitlines()) + "\n"


# --- the picture of the architecture page ----------------------------------------------------------------------------

# Which room imports which; a test compares this, and the table of docs/arquitetura.md, with the package.
IMPORTS = {
    "data": (),
    "jsonl": (),
    "gpt": ("data",),
    "tune": ("data",),
    "jobs": ("jsonl",),
    "cloud": ("jsonl", "tune"),
    "serve": ("cloud", "data", "gpt", "jsonl", "tune"),
}
ROOMS = {  # lower left corner, what it is for, colour
    "data": (0, 38, "limpa e divide", BLUE),
    "jsonl": (0, 17, "monta e confere", BLUE),
    "gpt": (29, 46, "um LLM à mão", FOREST),
    "tune": (29, 32, "modelos prontos", RUST),
    "jobs": (29, 12.2, "envia e espera", PLUM),
    "cloud": (57, 21, "os gêmeos locais", PLUM),
    "serve": (83, 36, "API e página", INK),
}


def architecture() -> Figure:
    """The rooms of `afina`: an arrow goes from a room to the one that imports it; a dashed one is files or HTTP."""
    fig, ax = _canvas(5.2, top=68)
    width, height = 17, 9
    _box(
        ax,
        0,
        60.5,
        100,
        6.5,
        "afina.teach, afina.launch e afina.cli: em cima de todas, e nenhuma as importa",
        color=SLATE,
    )
    _box(ax, 0, 0, 100, 6.5, "afina.runtime e afina.errors: o térreo, que todas usam", color=SLATE)
    for room, (x, y, note, color) in ROOMS.items():
        _box(ax, x, y, width, height, f"afina.{room}", note, color)
    for room, used in IMPORTS.items():
        x, y = ROOMS[room][:2]
        for other in used:
            left, low = ROOMS[other][:2]
            start, end = (left + width, low + height / 2), (x, y + height / 2)
            if (other, room) == ("data", "serve"):
                _path(ax, (8.5, low + height), (8.5, 57.5), (x + 12, 57.5), (x + 12, y + height))
            elif (other, room) == ("jsonl", "serve"):
                _path(ax, (12, low), (12, 10), (x + 12, 10), (x + 12, y))
            else:
                _arrow(ax, start, end)
    dashed = {"color": INK, "linewidth": 1.4, "linestyle": (0, (3, 2))}
    head = {"arrowstyle": "-|>,head_width=0.28,head_length=0.5", "shrinkA": 1, "shrinkB": 1, **dashed}
    ax.annotate("", (6, 26), (6, 38), arrowprops=head)
    ax.annotate("", (57, 22.5), (46, 15), arrowprops=head)
    ax.plot([88, 88, 3, 3], [36, 8.4, 8.4, 15], **dashed, dash_joinstyle="round")  # what people say of the answers
    ax.annotate("", (3, 17), (3, 14), arrowprops={**head, "linestyle": "-"})
    _say(ax, 7.5, 32, "arquivos", ha="left", size=9)
    _say(ax, 55, 16, "HTTP local", size=9)
    _say(ax, 74, 12, "o uso volta como arquivo", size=9)
    return fig


def architecture_svg() -> str:
    """The picture as `docs/arquitetura.md` shows it: `docs/architecture.svg`."""
    return _svg(architecture())


# --- the diagrams of lesson 01 ---------------------------------------------------------------------------------------

PRETRAINING_ALT = (
    "Diagrama do pré-treino. Um texto sem rótulo perde uma palavra; o modelo dá uma chance a cada palavra possível; a resposta certa, que "
    "estava no próprio texto, diz o erro; os pesos mudam um pouco e tudo se repete."
)


def pretraining() -> Figure:
    """Hide a word, guess it, compare with the text itself, adjust, repeat."""
    fig, ax = _canvas(2.2)
    y, height = 13, 14
    _box(ax, 0, y, 20, height, "Texto sem rótulo", "O Porto joga no\nEstádio do Dragão.", SLATE)
    _box(ax, 26, y, 22, height, "Tire um pedaço", "O Porto joga no\n[ ? ]", BLUE)
    _box(ax, 54, y, 20, height, "O modelo prevê", "uma chance para\ncada palavra", RUST)
    _box(ax, 80, y, 20, height, "Compare", "a resposta estava\nno próprio texto", FOREST)
    for x in (20, 48, 74):
        _arrow(ax, (x, y + height / 2), (x + 6, y + height / 2))
    _path(ax, (90, y), (90, 4), (37, 4), (37, y))
    _say(ax, 63.5, 6.8, "ajuste os pesos um pouco e repita")
    return fig


EMBEDDING_ALT = (
    "Diagrama de embeddings. Cada palavra tem uma linha em uma tabela de números; a linha é um ponto no plano. Bateria e tela caem perto "
    "uma da outra; selim cai longe."
)


def embedding() -> Figure:
    """A word is a row of a table; the row is a point; near points are alike. The numbers are an example, and the dots use them."""
    fig, ax = _canvas(2.9)
    rows = {"bateria": (0.9, 0.2), "tela": (0.8, 0.3), "selim": (0.1, 0.9)}
    _say(ax, 8, 35, "palavra", style="normal", weight="bold")
    _say(ax, 38, 35, "sua linha na tabela", style="normal", weight="bold")
    _say(ax, 81, 35, "um ponto no espaço", style="normal", weight="bold")
    for number, ((word, row), color) in enumerate(zip(rows.items(), (BLUE, FOREST, RUST), strict=True)):
        y = 23 - 10 * number
        _box(ax, 0, y, 16, 7, word, color=color)
        _arrow(ax, (16, y + 3.5), (24, y + 3.5))
        for column, value in enumerate((*row, "…")):
            cell = f"{value:.1f}".replace(".", ",") if value != "…" else value
            _box(ax, 24 + 9.5 * column, y, 8.5, 7, cell, color=MIST)
        ax.plot(66 + 28 * row[0], 5 + 24 * row[1], "o", color=color, markersize=9)
        _say(
            ax,
            66 + 28 * row[0] + (2.5 if word == "selim" else 0),
            5 + 24 * row[1] + (0 if word == "selim" else 3.4 if word == "tela" else -3.4),
            word,
            ha="left" if word == "selim" else "center",
            style="normal",
        )
    _arrow(ax, (64, 3), (99, 3))
    _arrow(ax, (64, 3), (64, 31))
    return fig


TRANSFER_ALT = (
    "Diagrama da transferência. Muito texto sem rótulo forma, uma vez, um modelo de base. Com poucos exemplos rotulados cada, ele vira "
    "três modelos: um classifica resenhas, um acha nomes, um responde clientes."
)


def transfer() -> Figure:
    """One expensive base, many cheap tasks."""
    fig, ax = _canvas(3)
    _box(ax, 0, 12, 20, 15, "Muito texto", "sem rótulo:\né só coletar", SLATE)
    _box(ax, 32, 12, 20, 15, "Modelo de base", "já conhece\na língua", BLUE)
    _arrow(ax, (20, 19.5), (32, 19.5))
    _say(ax, 26, 31, "pré-treino:\ncaro, uma vez só")
    for y, task, color in (
        (28, "Classificar resenhas", FOREST),
        (15, "Achar nomes", RUST),
        (2, "Responder clientes", PLUM),
    ):
        _box(ax, 74, y, 26, 9.5, task, "com poucos exemplos", color)
        _arrow(ax, (52, 19.5), (74, y + 4.7))
    _say(ax, 59, 35, "transferência:\nbarata, por tarefa")
    return fig


def attention_alt(tokens: list[str], weights: list[float]) -> str:
    shares = ", ".join(f"{token} {100 * weight:.0f} %" for token, weight in zip(tokens, weights, strict=True))
    return (
        f"Diagrama da atenção. A consulta de {tokens[0]} é comparada com a chave de cada token; as notas viram pesos "
        f"({shares}); os valores, misturados nesses pesos, formam o novo vetor de {tokens[0]}."
    )


def attention(tokens: list[str], weights: list[float]) -> Figure:
    """What the first of three tokens does: its query meets every key, and the values are mixed by the weights given."""
    fig, ax = _canvas(3.1)
    _box(ax, 0, 15, 17, 12, tokens[0], "sua consulta", BLUE)
    for number, (token, weight) in enumerate(zip(tokens, weights, strict=True)):
        y = 29 - 13 * number
        _box(ax, 31, y, 16, 9, token, "chave", SLATE)
        _arrow(ax, (17, 21), (31, y + 4.5))
        ax.plot([47, 60], [y + 4.5] * 2, color=ORANGE, linewidth=1 + 14 * weight, solid_capstyle="butt")
        _say(ax, 53.5, y + 8, f"{weight:.0%}".replace("%", " %"), style="normal", weight="bold")
        _box(ax, 60, y, 14, 9, token, "valor", FOREST)
        _arrow(ax, (74, y + 4.5), (84, 21))
    _box(ax, 84, 14.5, 16, 13, "Soma", "o novo vetor\nde " + tokens[0], RUST)
    _say(ax, 17, 35, "consulta · chave\n= nota")
    _say(ax, 91, 35, "peso × valor,\nsomados")
    return fig


TRANSFORMER_ALT = (
    "Diagrama de um bloco transformer. Os embeddings com posição passam por normalização e atenção, e o resultado é somado ao que entrou; "
    "depois por normalização e rede feed-forward, e é somado de novo. O bloco se repete N vezes e uma cabeça dá a saída."
)


def transformer() -> Figure:
    """One pre-norm block: two steps, each added to what came in."""
    fig, ax = _canvas(2.7)
    _box(ax, 0, 11, 17, 14, "Embeddings", "palavra\n+ posição", SLATE)
    style = {"boxstyle": "round,pad=0,rounding_size=1.6", "linewidth": 0}
    ax.add_patch(plt.matplotlib.patches.FancyBboxPatch((20, 4), 64.5, 29.5, facecolor=MIST, **style))
    steps = (
        (26, "Atenção", "os tokens\nse olham", BLUE, 17),
        (55, "Feed-forward", "cada token\nsozinho", FOREST, 50.2),
    )
    for x, title, note, color, before in steps:
        _box(ax, x, 11, 17, 14, title, note, color)
        _arrow(ax, (before, 18), (x, 18))
        ax.plot(x + 22, 18, "o", color="white", markersize=19, markeredgecolor=INK)
        _say(ax, x + 22, 18, "+", size=14, style="normal", weight="bold")
        _arrow(ax, (x + 17, 18), (x + 19.8, 18))
        _path(ax, (x - 3, 18), (x - 3, 28.5), (x + 22, 28.5), (x + 22, 20.4))
        _say(ax, x + 9, 30.9, "atalho", size=9)
        _say(ax, x + 8.5, 8.2, "normaliza antes", size=9)
    _say(ax, 52, 1.5, "um bloco; o modelo empilha N deles", style="normal", weight="bold")
    _arrow(ax, (79.2, 18), (87, 18))
    _box(ax, 87, 11, 13, 14, "Cabeça", "previsão\nou rótulo", RUST)
    return fig


FINE_TUNING_ALT = (
    "Diagrama do ajuste fino em duas linhas. Em cima, pesos sorteados treinados com poucos exemplos ainda erram muito. Embaixo, os mesmos "
    "poucos exemplos continuam o treino de pesos pré-treinados, e o modelo resolve a tarefa."
)


def fine_tuning() -> Figure:
    """The same few examples, from two starting points."""
    fig, ax = _canvas(2.9)
    for y, start, note, color, end, end_note in (
        (21, "Pesos sorteados", "não sabem nada", SLATE, "Treino do zero", "ainda erra muito"),
        (3, "Pesos pré-treinados", "conhecem a língua", BLUE, "Modelo ajustado", "resolve a tarefa"),
    ):
        _box(ax, 0, y, 26, 11, start, note, color)
        _arrow(ax, (26, y + 5.5), (37, y + 5.5))
        _box(ax, 37, y, 26, 11, "Os mesmos exemplos", "poucos, da tarefa", PLUM)
        _arrow(ax, (63, y + 5.5), (74, y + 5.5))
        _box(ax, 74, y, 26, 11, end, end_note, SLATE if y == 21 else FOREST)
    _say(ax, 50, 35.5, "em cima, treinar do zero; embaixo, ajuste fino")
    return fig


DECISION_ALT = (
    "Árvore de decisão. Sem como medir: monte a avaliação. Um bom prompt resolve: fique nele. Falta um fato, ou ele muda: use RAG. "
    "Falta comportamento e há exemplos bons: ajuste fino com LoRA; não há: junte exemplos."
)


def decision_tree() -> Figure:
    """Measure, then prompt, then retrieval, and only then training: the cheap answers come first."""
    fig, ax = _canvas(5)
    steps = (
        (55, "Você sabe medir se melhorou?", "não", "Monte a avaliação", "sem ela, é palpite", SLATE),
        (40, "Um bom prompt já resolve?", "sim", "Use o prompt", "nada a treinar", FOREST),
        (25, "Falta um fato, ou ele muda?", "sim", "Use RAG", "busca + prompt", BLUE),
        (10, "Há centenas de bons exemplos?", "não", "Junte exemplos", "do seu uso, revisados", SLATE),
    )
    for y, question, answer, title, note, color in steps:
        _box(ax, 0, y, 48, 9, question, color=MIST)
        _arrow(ax, (48, y + 4.5), (70, y + 4.5))
        _say(ax, 59, y + 6.6, answer, style="normal", weight="bold")
        _box(ax, 70, y, 30, 9, title, note, color)
        if y > 10:
            _arrow(ax, (24, y), (24, y - 6))
            _say(ax, 28, y - 3, "sim" if answer == "não" else "não", style="normal", weight="bold")
    _path(ax, (24, 10), (24, 2.7), (35, 2.7))
    _say(ax, 28, 7, "sim", style="normal", weight="bold")
    _box(ax, 35, 0, 65, 6.5, "Ajuste fino: comece por LoRA e meça contra o prompt", color=RUST)
    return fig


METHODS_ALT = (
    "Três modos de ajustar. No ajuste completo, todas as camadas treinam. Em LoRA, as camadas ficam congeladas e duas matrizes estreitas "
    "somam uma correção ao lado. Nos adapters, as camadas ficam congeladas e módulos estreitos entram entre elas."
)


def tuning_methods() -> Figure:
    """What trains (dark orange) and what stays frozen (grey) in each method."""
    fig, ax = _canvas(3.3)
    for x, title in ((0, "Completo"), (36, "LoRA"), (72, "Adapters")):
        _say(ax, x + 14, 41, title, size=12, style="normal", weight="bold")
    for y in (25, 10.5):
        _box(ax, 2, y, 24, 8, "camada", color=RUST)
        _box(ax, 34, y, 17, 8, "camada", color=SLATE)
        _say(ax, 53.5, y + 4, "+", size=13, style="normal", weight="bold")
        _box(ax, 56, y, 5, 8, "A", color=RUST)
        _box(ax, 62.5, y, 5, 8, "B", color=RUST)
        _box(ax, 74, y + 1.5, 24, 6.5, "camada", color=SLATE)
        _box(ax, 79, y - 4.75, 14, 4.5, "adapter", color=RUST)
    _say(ax, 14, 36.8, "todos os pesos mudam", size=9)
    _say(ax, 50, 36.8, "uma correção estreita ao lado", size=9)
    _say(ax, 86, 36.8, "módulos estreitos no meio", size=9)
    for x, meaning, color in ((20, "treina", RUST), (45, "congelado", SLATE)):
        ax.plot(x, 1.5, "s", color=color, markersize=9)
        _say(ax, x + 2.5, 1.5, meaning, size=9, ha="left", style="normal")
    return fig


STACKS_ALT = (
    "Duas grades de quem vê quem, na frase O time joga em casa. No encoder, cada palavra vê todas. No decoder, cada palavra vê só a si e "
    "às anteriores: um triângulo."
)


def stacks() -> Figure:
    """Who may look at whom: everyone (encoder), or only what came before (decoder)."""
    words = ["O", "time", "joga", "em", "casa"]
    fig, axes = figure(height=2.7, columns=2)
    fig.set_label("flat")
    pages = (
        ("Encoder (BERT): todos se veem", lambda row, column: True),
        ("Decoder (GPT): só o passado", lambda row, column: column <= row),
    )
    for ax, (title, sees) in zip(axes, pages, strict=True):
        grid = [[float(sees(row, column)) for column in range(5)] for row in range(5)]
        ax.imshow(grid, cmap=plt.matplotlib.colors.ListedColormap([MIST, BLUE]), vmin=0, vmax=1)
        ax.set(xticks=range(5), xticklabels=words, yticks=range(5), yticklabels=words, xlabel="palavra vista")
        ax.set_title(title, fontsize=10.5)
        ax.set_xticks([n - 0.5 for n in range(1, 5)], minor=True)
        ax.set_yticks([n - 0.5 for n in range(1, 5)], minor=True)
        ax.grid(visible=False, which="major")
        ax.grid(visible=True, which="minor", color="white", linewidth=2)
        ax.tick_params(which="both", length=0)
    axes[0].set(ylabel="palavra que olha")
    return fig


FEEDBACK_ALT = (
    "Ciclo de melhoria. O uso gera registros guardados com permissão; pessoas revisam; as revisões viram exemplos; o ajuste fino muda "
    "os pesos; a avaliação compara com o modelo atual e, se passar, o novo vai para o uso. Os pesos só mudam no ajuste fino."
)


def feedback_loop() -> Figure:
    """A model improves with use only by way of people, data, training and a test that it must pass."""
    fig, ax = _canvas(3.2)
    top, bottom = 29, 5.5
    _box(ax, 0, top, 24, 11, "Uso", "o modelo responde", INK)
    _box(ax, 38, top, 24, 11, "Registro", "com permissão", SLATE)
    _box(ax, 76, top, 24, 11, "Revisão", "pessoas corrigem", PLUM)
    _box(ax, 76, bottom, 24, 11, "Exemplos novos", "limpos e divididos", BLUE)
    _box(ax, 38, bottom, 24, 11, "Ajuste fino", "os pesos mudam", RUST)
    _box(ax, 0, bottom, 24, 11, "Avaliação", "contra o modelo atual", FOREST)
    _arrow(ax, (24, top + 5.5), (38, top + 5.5))
    _arrow(ax, (62, top + 5.5), (76, top + 5.5))
    _arrow(ax, (88, top), (88, bottom + 11))
    _arrow(ax, (76, bottom + 5.5), (62, bottom + 5.5))
    _arrow(ax, (38, bottom + 5.5), (24, bottom + 5.5))
    _arrow(ax, (12, bottom + 11), (12, top))
    _say(ax, 14, 22.8, "passou? publica", ha="left")
    _say(ax, 50, 2.2, "só aqui os pesos mudam", style="normal", weight="bold")
    return fig


def heat_map(matrix: list[list[float]], labels: list[str], title: str, xlabel: str = "", ylabel: str = "") -> Figure:
    """A square matrix of shares (0 to 1) with its numbers written in the cells and `labels` on both sides."""
    fig, ax = figure(height=2.9)
    fig.set_label("flat")
    ax.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    for row, shares in enumerate(matrix):
        for column, share in enumerate(shares):
            ink = "white" if share > 0.5 else INK
            ax.text(column, row, f"{share:.2f}".replace(".", ","), ha="center", va="center", color=ink)
    ax.set(xticks=range(len(labels)), xticklabels=labels, yticks=range(len(labels)), yticklabels=labels)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.grid(visible=False)
    return fig


# --- jobs elsewhere --------------------------------------------------------------------------------------------------

JOB_STATES_ALT = (
    "Estados de um job: validando os arquivos, na fila, treinando e, no fim, pronto. Dos três primeiros ele pode ir para falhou ou "
    "cancelado, que também são fins; de treinando pode ir para em pausa, e de lá voltar a treinar."
)


def job_states() -> Figure:
    """The states of a fine-tuning job in OpenAI's protocol: one good end, two others, and a place to rest."""
    fig, ax = _canvas(3.2)
    for x, title, note in (
        (0, "validating_files", "lê os arquivos"),
        (27, "queued", "espera a vez"),
        (54, "running", "treina"),
    ):
        _box(ax, x, 28, 21, 11, title, note, BLUE)
    _box(ax, 81, 28, 19, 11, "succeeded", "há um modelo", FOREST)
    for x in (21, 48, 75):
        _arrow(ax, (x, 33.5), (x + 6, 33.5))
    _box(ax, 0, 8.5, 48, 11, "failed · cancelled", "fins sem modelo", RUST)
    _box(ax, 54, 8.5, 21, 11, "paused", "não anda sozinho", PLUM)
    for x in (10.5, 37.5):
        _arrow(ax, (x, 28), (x, 19.5))
    _path(ax, (54, 30.5), (51, 30.5), (51, 14), (48, 14))
    _arrow(ax, (61, 28), (61, 19.5))
    _arrow(ax, (68, 19.5), (68, 28))
    _say(ax, 64.5, 4.5, "pause e resume")
    return fig


BEDROCK_PARTS_ALT = (
    "O job de ajuste veste o papel IAM, lê os dados do bucket S3, grava nele as métricas e faz o modelo ajustado. O modelo responde por "
    "uma implantação sob demanda, que não cobra parada, ou por throughput provisionado, que cobra por hora."
)


def bedrock_parts() -> Figure:
    """What a Bedrock job needs around it, and the two doors of the model that it makes."""
    fig, ax = _canvas(3.3)
    _box(ax, 0, 27, 24, 11, "Bucket S3", "dados e métricas", SLATE)
    _box(ax, 0, 5, 24, 11, "Papel IAM", "quem, e o que pode", PLUM)
    _box(ax, 35, 16, 19, 11, "Job", "três fases", BLUE)
    _box(ax, 63, 16, 15, 11, "Modelo", "não responde", INK)
    _path(ax, (24, 32.5), (41, 32.5), (41, 27))
    _path(ax, (48, 27), (48, 36), (24, 36))
    _path(ax, (24, 10.5), (44.5, 10.5), (44.5, 16))
    _arrow(ax, (54, 21.5), (63, 21.5))
    _box(ax, 75, 31, 25, 11, "Sob demanda", "parada, nada cobra", FOREST)
    _box(ax, 75, 1, 25, 11, "Provisionado", "cobra por hora, sempre", RUST)
    _path(ax, (70.5, 27), (70.5, 36.5), (75, 36.5))
    _path(ax, (70.5, 16), (70.5, 6.5), (75, 6.5))
    _say(ax, 32.5, 30.6, "lê")
    _say(ax, 36, 37.8, "grava")
    _say(ax, 34, 8.6, "veste")
    return fig
