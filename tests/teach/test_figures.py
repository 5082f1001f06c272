"""The figures drawn from numbers: texts inside the page and their boxes, apart, readable; the palette; what a lesson shows."""

import ast
import io
from itertools import combinations

import matplotlib.pyplot as plt
import pytest
from layout import EYES, boxes_around, contrast, inside, overlap, too_alike
from matplotlib.colors import CSS4_COLORS
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from afina.runtime import course_root
from afina.teach import figures
from workshop.notebooks import sources

TOKENS, WEIGHTS = ["banco", "perto", "rio"], [0.45, 0.1, 0.45]
DRAWN = {
    "attention": (lambda: figures.attention(TOKENS, WEIGHTS), figures.attention_alt(TOKENS, WEIGHTS)),
    "heat_map": (
        lambda: figures.heat_map([[0.9, 0.1], [0.2, 0.8]], ["a", "b"], "Pesos"),
        "Um mapa de calor dois por dois.",
    ),
}


@pytest.fixture(params=DRAWN)
def drawn(request):
    """A diagram laid out on its page, with its texts' and boxes' rectangles in pixels."""
    figure = DRAWN[request.param][0]()
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    texts = [t for ax in figure.axes for t in (*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label) if t.get_text()]
    texts += [
        t for ax in figure.axes for t in (*ax.get_xticklabels(), *ax.get_yticklabels()) if ax.axison and t.get_text()
    ]
    texts += [t for ax in figure.axes for t in (ax._left_title, ax._right_title) if t.get_text()]
    places = [(t, t.get_window_extent(renderer)) for t in texts]
    boxes = [
        (p, p.get_window_extent(renderer)) for ax in figure.axes for p in ax.patches if isinstance(p, FancyBboxPatch)
    ]
    yield figure, places, boxes
    plt.close(figure)


def test_texts_stay_on_the_page(drawn):
    figure, places, _ = drawn
    assert places
    assert [text.get_text() for text, place in places if not inside(place, figure.bbox)] == []


def test_texts_do_not_touch_each_other(drawn):
    _, places, _ = drawn
    touching = [(a.get_text(), b.get_text()) for (a, one), (b, other) in combinations(places, 2) if overlap(one, other)]
    assert touching == []


def test_texts_fit_their_boxes_and_can_be_read_there(drawn):
    _, places, boxes = drawn
    for text, place in places:
        around = boxes_around(place, boxes)
        for _, area in around:
            assert inside(place, area), f"{text.get_text()!r} leaves its box"
        if around:
            innermost = min(around, key=lambda pair: pair[1].width * pair[1].height)[0]
            assert contrast(text.get_color(), innermost.get_facecolor()) > 4.5, text.get_text()


def test_boxes_are_apart_or_one_inside_the_other(drawn):
    _, _, boxes = drawn
    for (_, one), (_, other) in combinations(boxes, 2):
        assert not overlap(one, other) or inside(one, other) or inside(other, one)


def test_no_text_lies_across_the_edge_of_a_box(drawn):
    _, places, boxes = drawn
    for text, place in places:
        for _, area in boxes:
            assert not overlap(place, area) or inside(place, area), f"{text.get_text()!r} crosses a box"


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize(
    "names", ["BLUE ORANGE GREEN RED SKY PINK INK MIST", "BLUE SLATE FOREST RUST PLUM INK MIST"], ids=["lines", "boxes"]
)
def test_colour_blind_readers_tell_the_palette_apart(names, eye):
    assert too_alike({name: getattr(figures, name) for name in names.split()}, eye) == []


def test_the_colour_check_sees_what_is_wrong():
    pair = {"red": "#D62728", "green": "#5F8A00"}
    assert too_alike(pair, "all cones") == [] and too_alike(pair, "deuteranopia") == [("red", "green")]


TEXTS = [*sources(course_root()), *sorted((course_root() / "tasks").glob("t*/src.py"))]


@pytest.mark.parametrize("source", TEXTS, ids=[path.stem if path.stem != "src" else path.parent.name for path in TEXTS])
def test_lessons_and_tasks_draw_with_the_palette_only(source):
    """No colour named by hand but white (on a dark cell of a map), and no figure that the course's style never saw."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    words = [w.value for w in ast.walk(tree) if isinstance(w, ast.keyword) and "color" in (w.arg or "")]
    said = [node.value for word in words for node in ast.walk(word) if isinstance(node, ast.Constant)]
    by_hand = [c for c in said if c in {*CSS4_COLORS} - {"white"} or str(c).startswith(("#", "tab:", "C0", "C1"))]
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert by_hand == []
    assert [call for call in calls if call in ("plt.figure", "plt.subplots", "plt.show", "plt.plot")] == []


@pytest.mark.parametrize("name", DRAWN)
def test_two_drawings_are_the_same_bytes(name):
    def png():
        page, figure = io.BytesIO(), DRAWN[name][0]()
        figure.savefig(page, format="png", dpi=60, metadata={"Software": None})
        plt.close(figure)
        return page.getvalue()

    assert png() == png()


@pytest.mark.parametrize("name", DRAWN)
def test_alt_texts_are_sentences(name):
    alt = DRAWN[name][1]
    assert alt.endswith(".") and len(alt.split()) >= 5 and "  " not in alt


def test_attention_alt_tells_the_weights():
    assert "banco 45 %, perto 10 %, rio 45 %" in figures.attention_alt(TOKENS, WEIGHTS)


def test_show_asks_for_a_description():
    figure, _ = figures.figure()
    with pytest.raises(ValueError, match="describe"):
        figures.show(figure, alt="um gráfico")
    plt.close(figure)


@pytest.fixture
def shown(monkeypatch):
    """What is displayed: (data, metadata)."""
    outputs = []
    monkeypatch.setattr(figures, "display", lambda data, metadata, raw: outputs.append((data, metadata)))
    return outputs


def test_a_picture_of_a_page_keeps_its_description(tmp_path, shown):
    path = tmp_path / "page.png"
    path.write_bytes(b"PNG")
    figures.show_picture(path, "Uma página com uma pergunta e uma resposta.", width=400)
    assert shown[0][0]["image/png"] == b"PNG"
    assert shown[0][1]["image/png"] == {"alt": "Uma página com uma pergunta e uma resposta.", "width": 400}
    with pytest.raises(ValueError, match="describe"):
        figures.show_picture(path, "página", width=400)


ATTENTION = (lambda: figures.attention(TOKENS, WEIGHTS), 820)


@pytest.mark.parametrize(("draw", "wide"), [ATTENTION, (figures.pretraining, 821), (lambda: figures.figure()[0], 1094)])
def test_a_diagram_takes_fewer_pixels_than_a_chart(draw, wide, shown):
    figures.show(draw(), alt="Uma figura com uma descrição inteira.")
    ((data, metadata),) = shown
    assert Image.open(io.BytesIO(data["image/png"])).width == wide
    assert metadata["image/png"] == {"alt": "Uma figura com uma descrição inteira.", "width": 730}


def test_a_diagram_brings_its_description(shown):
    figures.show(figures.transformer())
    figures.show(figures.transformer(), alt=figures.TRANSFORMER_ALT)
    assert shown[0] == shown[1] and shown[0][0]["text/plain"] == figures.TRANSFORMER_ALT


def test_every_diagram_that_the_package_carries_has_a_function_and_a_description():
    names = sorted(path.stem for path in (course_root() / "afina" / "teach" / "diagrams").glob("*.png"))
    told = {alt for name, alt in vars(figures).items() if name.endswith("_ALT")}
    assert len(names) == len(told) == 12
    for name in names:
        diagram = getattr(figures, name)()
        assert diagram.name == name and diagram.alt in told


def test_the_style_holds_from_figure_to_show_and_not_longer(shown):
    before = dict(plt.rcParams)
    fig, ax = figures.figure()
    assert plt.rcParams["axes.titlelocation"] == "left"
    ax.set_title("à esquerda")
    figures.figure()  # never shown
    figures.show(fig, alt="Uma figura com uma descrição inteira.")
    assert ax.get_title(loc="left") == "à esquerda" and dict(plt.rcParams) == before
    plt.close("all")
