"""The course's diagrams: every text inside the page and inside its box, no two on top of each other, readable, the same on every run."""

import ast
import io
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import CSS4_COLORS, to_rgb
from matplotlib.patches import FancyBboxPatch

from afina.runtime import course_root
from afina.teach import figures
from workshop.notebooks import sources

TOKENS, WEIGHTS = ["banco", "perto", "rio"], [0.45, 0.1, 0.45]
DRAWN = {
    "course_map": (figures.course_map, figures.MAP_ALT),
    "pretraining": (figures.pretraining, figures.PRETRAINING_ALT),
    "embedding": (figures.embedding, figures.EMBEDDING_ALT),
    "transfer": (figures.transfer, figures.TRANSFER_ALT),
    "attention": (lambda: figures.attention(TOKENS, WEIGHTS), figures.attention_alt(TOKENS, WEIGHTS)),
    "transformer": (figures.transformer, figures.TRANSFORMER_ALT),
    "fine_tuning": (figures.fine_tuning, figures.FINE_TUNING_ALT),
    "decision_tree": (figures.decision_tree, figures.DECISION_ALT),
    "tuning_methods": (figures.tuning_methods, figures.METHODS_ALT),
    "stacks": (figures.stacks, figures.STACKS_ALT),
    "feedback_loop": (figures.feedback_loop, figures.FEEDBACK_ALT),
    "job_states": (figures.job_states, figures.JOB_STATES_ALT),
    "bedrock_parts": (figures.bedrock_parts, figures.BEDROCK_PARTS_ALT),
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


def inside(small, large, slack=1.0):
    return (
        small.x0 >= large.x0 - slack
        and small.x1 <= large.x1 + slack
        and small.y0 >= large.y0 - slack
        and small.y1 <= large.y1 + slack
    )


def overlap(one, other, slack=1.0):
    return (
        min(one.x1, other.x1) - max(one.x0, other.x0) > slack and min(one.y1, other.y1) - max(one.y0, other.y0) > slack
    )


def luminance(color):
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """WCAG 2.1 contrast ratio of two colours."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


# How a person sees linear RGB: Machado, Oliveira and Fernandes (2009), severity 1.0. Protanopia and deuteranopia are the common two.
EYES = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]


def seen_as(color, eye):
    """CIELAB (D65) of a colour as an eye of EYES sees it."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = TO_XYZ @ np.clip(EYES[eye] @ linear, 0, 1) / [0.95047, 1, 1.08883]
    x, y, z = (t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29 for t in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def too_alike(colors, eye, distance=17):
    """Pairs of names whose colours are nearer than `distance` (CIE76), some seven times the least that is noticed."""
    seen = {name: seen_as(color, eye) for name, color in colors.items()}
    return [(a, b) for a, b in combinations(seen, 2) if np.linalg.norm(seen[a] - seen[b]) < distance]


def boxes_around(place, boxes):
    x, y = (place.x0 + place.x1) / 2, (place.y0 + place.y1) / 2
    return [(box, area) for box, area in boxes if area.x0 < x < area.x1 and area.y0 < y < area.y1]


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


def test_the_layout_checks_see_what_is_wrong():
    """The helpers above fail on a page made wrong on purpose."""
    figure, ax = figures._canvas(2)
    figures._box(ax, 10, 10, 5, 5, "um título largo demais", color=figures.BLUE)
    figures._say(ax, 12, 12, "em cima dele")
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    title, above = (t.get_window_extent(renderer) for t in ax.texts)
    assert overlap(title, above) and not inside(title, ax.patches[0].get_window_extent(renderer))
    assert contrast("white", figures.ORANGE) < 4.5 < contrast("white", figures.RUST)
    plt.close(figure)


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


def test_a_picture_of_a_page_keeps_its_description(tmp_path, monkeypatch):
    path = tmp_path / "page.png"
    path.write_bytes(b"PNG")
    shown = []
    monkeypatch.setattr(figures, "display", lambda data, metadata, raw: shown.append((data, metadata)))
    figures.show_picture(path, "Uma página com uma pergunta e uma resposta.", width=400)
    assert shown[0][0]["image/png"] == b"PNG"
    assert shown[0][1]["image/png"] == {"alt": "Uma página com uma pergunta e uma resposta.", "width": 400}
    with pytest.raises(ValueError, match="describe"):
        figures.show_picture(path, "página", width=400)


@pytest.mark.parametrize(("draw", "wide"), [(figures.pretraining, 820), (lambda: figures.figure()[0], 1094)])
def test_a_diagram_takes_fewer_bytes_than_a_chart(draw, wide, monkeypatch):
    import base64

    from PIL import Image

    shown = []
    monkeypatch.setattr(figures, "display", lambda data, metadata, raw: shown.append((data, metadata)))
    figures.show(draw(), alt="Uma figura com uma descrição inteira.")
    data, metadata = shown[0]
    image = Image.open(
        io.BytesIO(data["image/png"] if isinstance(data["image/png"], bytes) else base64.b64decode(data["image/png"]))
    )
    assert image.width == wide and metadata["image/png"] == {
        "alt": "Uma figura com uma descrição inteira.",
        "width": 730,
    }
