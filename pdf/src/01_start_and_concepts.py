"""Figures of deck 01: the diagrams of lessons 00 and 01, and charts of what the executed lessons measured."""

from afina.teach import figures
from workshop.slides import cell_picture, numbers, said


def context_accuracy():
    """Lesson 01, part 1: how often the hidden word is guessed, by how much is seen around it."""
    kinds = ("sem contexto", "a palavra anterior", "as duas anteriores", "um vizinho de cada lado")
    hits = [int(said("01", rf"^{kind} +acerta (\d+)%")[0]) for kind in kinds]
    fig, ax = figures.figure(height=2.9)
    bars = ax.barh(kinds[::-1], hits[::-1], color=figures.BLUE)
    ax.bar_label(bars, fmt="%d %%", padding=5, fontsize=13, fontweight="bold")
    ax.set(xlim=(0, 80), xticks=[])
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(left=False, labelsize=13)
    told = "; ".join(f"{kind}, {hit} %" for kind, hit in zip(kinds, hits, strict=True))
    return fig, f"Barras do acerto ao adivinhar a palavra escondida, em textos separados: {told}."


def attention():
    """Lesson 01, part 4: the weights of "banco", as the stored description of the lesson's own figure tells them."""
    words = ["banco", "perto", "rio"]
    shares = said("01", r"^Diagrama da atenção.*\(banco (\d+) %, perto (\d+) %, rio (\d+) %\)")
    weights = [int(share) / 100 for share in shares]
    return figures.attention(words, weights), figures.attention_alt(words, weights)


PICTURES = {
    "map": lambda: (figures.course_map(), figures.MAP_ALT),
    "pretraining": lambda: (figures.pretraining(), figures.PRETRAINING_ALT),
    "context": context_accuracy,
    "embedding": lambda: (figures.embedding(), figures.EMBEDDING_ALT),
    "transfer": lambda: cell_picture(
        "01",
        "Com poucos rótulos, a transferência decide",
        shots=[int(k) for k in said("01", r"^ +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$")],
        without=numbers(said("01", r"^sem transferência(.*)$")[0]),
        with_it=numbers(said("01", r"^com transferência(.*)$")[0]),
    ),
    "attention": attention,
    "transformer": lambda: (figures.transformer(), figures.TRANSFORMER_ALT),
    "stacks": lambda: (figures.stacks(), figures.STACKS_ALT),
    "fine_tuning": lambda: (figures.fine_tuning(), figures.FINE_TUNING_ALT),
    "decision": lambda: (figures.decision_tree(), figures.DECISION_ALT),
    "methods": lambda: (figures.tuning_methods(), figures.METHODS_ALT),
    "feedback": lambda: (figures.feedback_loop(), figures.FEEDBACK_ALT),
}
