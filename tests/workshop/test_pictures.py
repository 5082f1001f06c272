"""The diagrams: every text inside the page and its box, apart, readable on a phone and for every eye; pictures are their sources."""

import re
from functools import cache
from itertools import combinations
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from layout import EYES, boxes_around, contrast, inside, overlap, too_alike
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from afina.runtime import course_root
from afina.teach import figures
from workshop import pictures

ROOT = course_root()
DRAWN = pictures.diagrams(ROOT) | {"architecture": ROOT / "docs" / "architecture.svg"}
SVG = "{http://www.w3.org/2000/svg}"
PALETTE = {color for color in vars(figures).values() if isinstance(color, str) and re.fullmatch("#[0-9A-F]{6}", color)}
PHONE = 360 / 768  # a phone shows the whole page this much smaller


def area(x, y, width, height):
    return SimpleNamespace(x0=x, y0=y, x1=x + width, y1=y + height)


def place_of(text):
    """The rectangle that a <text> fills, by the widths of DejaVu Sans, the widest of its fonts."""
    size, bold = float(text.get("font-size")), text.get("font-weight") == "bold"
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    ink = TextPath((0, 0), text.text, size=size, prop=font).get_extents()
    if turned := re.fullmatch(r"translate\((\S+) (\S+)\) rotate\(-90\)", text.get("transform", "")):
        x, y = map(float, turned.groups())
        return area(x - ink.y1, y - ink.width / 2, ink.height, ink.width)
    x, y = float(text.get("x")), float(text.get("y"))
    left = {"start": 0, "end": ink.width, None: ink.width / 2}[text.get("text-anchor")]
    return area(x - left, y - ink.y1, ink.width, ink.height)


@pytest.fixture(params=DRAWN)
def drawn(request):
    return measured(request.param)


@cache
def measured(name):
    """(page, [(text, place)], [(box, place)]) of a drawing."""
    root = ElementTree.parse(DRAWN[name]).getroot()
    texts = [(text, place_of(text)) for text in root.iter(f"{SVG}text")]
    boxes = [
        (box, area(*(float(box.get(name)) for name in ("x", "y", "width", "height"))))
        for box in root.iter(f"{SVG}rect")
    ]
    return area(*map(float, root.get("viewBox").split())), texts, boxes


def test_texts_and_boxes_stay_on_the_page(drawn):
    page, texts, boxes = drawn
    assert texts and boxes
    assert [text.text for text, place in texts if not inside(place, page)] == []
    assert [place for _, place in boxes if not inside(place, page)] == []


def test_texts_do_not_touch_each_other(drawn):
    _, texts, _ = drawn
    assert [(a.text, b.text) for (a, one), (b, other) in combinations(texts, 2) if overlap(one, other)] == []


def test_texts_fit_their_boxes_and_can_be_read_there(drawn):
    _, texts, boxes = drawn
    for text, place in texts:
        around = boxes_around(place, boxes)
        assert all(inside(place, its) for _, its in around), f"{text.text!r} leaves its box"
        ground = min(around, key=lambda pair: pair[1].x1 - pair[1].x0)[0].get("fill") if around else "white"
        assert contrast(text.get("fill", figures.INK), ground) > 4.5, text.text


def test_no_text_lies_across_the_edge_of_a_box(drawn):
    _, texts, boxes = drawn
    for text, place in texts:
        for _, its in boxes:
            assert not overlap(place, its) or inside(place, its), f"{text.text!r} crosses a box"


def test_boxes_are_apart_or_one_inside_the_other(drawn):
    _, _, boxes = drawn
    for (_, one), (_, other) in combinations(boxes, 2):
        assert not overlap(one, other) or inside(one, other) or inside(other, one)


def test_letters_can_be_read_on_a_phone(drawn):
    _, texts, _ = drawn
    assert (
        min(float(text.get("font-size")) for text, _ in texts) * PHONE >= 6.3
    )  # CSS pixels; a phone has three dots in each


def test_the_layout_checks_see_what_is_wrong():
    """The helpers above fail on a page made wrong on purpose."""
    text = {"x": "50", "y": "50", "font-size": "16"}
    wide, above = (ElementTree.Element("text", text) for _ in range(2))
    wide.text, above.text = "um título largo demais", "em cima dele"
    assert overlap(place_of(wide), place_of(above)) and not inside(place_of(wide), area(40, 40, 20, 20))
    assert contrast("white", figures.ORANGE) < 4.5 < contrast("white", figures.RUST)


@pytest.mark.parametrize("path", DRAWN.values(), ids=DRAWN)
def test_a_drawing_has_the_palettes_colours_real_text_and_a_description(path):
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"#[0-9A-Fa-f]{6}", text)) <= PALETTE
    assert not re.search(r"<image|<script|href=|font-face", text)  # whole in itself
    alt = pictures.alt(path)
    assert alt.endswith(".") and len(alt.split()) >= 5 and "  " not in alt
    assert 'aria-labelledby="alt"' in text and '<desc id="alt">' in text and 'style="background:#fff"' in text


@pytest.mark.parametrize("eye", EYES)
def test_every_eye_tells_the_boxes_apart(eye):
    names = ["BLUE", "SLATE", "FOREST", "RUST", "PLUM", "INK", "MIST"]
    assert too_alike({name: getattr(figures, name) for name in names}, eye) == []


def test_what_lessons_show_is_drawn_from_the_sources():
    made = pictures.made(ROOT)
    assert [path.name for path, content in made.items() if path.read_bytes() != content] == [], (
        "run `python -m workshop.pictures`"
    )
    assert set(made) == set((ROOT / "afina" / "teach" / "diagrams").iterdir())


def test_two_drawings_are_the_same_bytes_and_small():
    one, other = (pictures.png(DRAWN["stacks"]) for _ in range(2))
    assert one == other and len(one) < 20_000


def test_a_drawing_without_description_stops_the_builder(tmp_path):
    path = tmp_path / "bare.svg"
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', encoding="utf-8")
    with pytest.raises(ValueError, match="<desc>"):
        pictures.alt(path)


def test_check_tells_a_stale_picture(tmp_path, monkeypatch, capsys):
    target = tmp_path / "alt.json"
    monkeypatch.setattr(pictures, "made", lambda root: {target: b"{}"})
    assert pictures.main(["--check"]) == 1 and pictures.main([]) == 0 and pictures.main(["--check"]) == 0
    assert "workshop.pictures" in capsys.readouterr().out and target.read_bytes() == b"{}"
