"""The catalogue generator: schema, dirt, determinism, and a description that follows from its title."""

import gzip
import hashlib
import html
import json
import re
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.cli import main
from afina.data import synthetic
from afina.data.lexicon import LEXICON
from afina.data.synthetic import Product, catalogue_lines, clean_title, parse_title, product_at
from afina.errors import CourseError

ATTRIBUTES = ("brand", "item", "color", "material", "size", "series")


@pytest.fixture(scope="module")
def lines():
    return list(catalogue_lines(20_000, seed=7))


@pytest.fixture(scope="module")
def rows(lines):
    """(index, row) of every line that is not broken."""
    good = []
    for index, line in enumerate(lines):
        try:
            good.append((index, json.loads(line)))
        except ValueError:
            continue
    return good


def test_bytes_are_pinned():
    """The same on every platform and Python: a change here changes every catalogue that students have made."""
    digest = hashlib.sha256(b"".join(catalogue_lines(3_000))).hexdigest()
    assert digest == "ee0bc90fbf0927144a3a182d875e2886d34e8fdb9f38f7f0d8cf12ba6fe7b64d"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300), st.integers())
def test_prefix_property(a, b, seed):
    few, many = sorted((a, b))
    assert list(catalogue_lines(many, seed))[:few] == list(catalogue_lines(few, seed))


def test_seeds_differ():
    assert set(catalogue_lines(200, 1)).isdisjoint(catalogue_lines(200, 2))


def test_schema_and_size(lines, rows):
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    assert 740 < sum(map(len, lines)) / len(lines) < 820
    for _, row in rows:
        assert list(row) == ["uid", "title", "content", "target_ind", "target_rel"]
        assert re.fullmatch(r"B0[0-9A-F]{8}", row["uid"])
        assert len(row["target_ind"]) == len(row["target_rel"]) > 0
        assert all(type(i) is int and 0 <= i < 1_305_265 for i in row["target_ind"])
        assert set(row["target_rel"]) == {1.0}


def test_dirt_in_the_shares_that_are_promised(lines, rows):
    texts = [row["title"] + row["content"] for _, row in rows]
    share = {
        "broken": 1 - len(rows) / len(lines),
        "repeated": 1 - len(set(lines)) / len(lines),
        "no content": sum(not row["content"] for _, row in rows) / len(rows),
        "no title": sum(not row["title"] for _, row in rows) / len(rows),
        "entities": sum("&amp;" in t or "&quot;" in t or "&#39;" in t for t in texts) / len(rows),
        "twice escaped": sum("&amp;amp;" in t or "&amp;#39;" in t or "&amp;quot;" in t for t in texts) / len(rows),
        "tags": sum("<" in t for t in texts) / len(rows),
        "not ASCII": sum(not t.isascii() for t in texts) / len(rows),
    }
    expected = {
        "broken": (0.0002, 0.001),
        "repeated": (0.02, 0.04),
        "no content": (0.23, 0.27),
        "no title": (0.002, 0.007),
        "entities": (0.3, 0.5),
        "twice escaped": (0.01, 0.04),
        "tags": (0.12, 0.2),
        "not ASCII": (0.05, 0.2),
    }
    assert {k: v for k, v in share.items() if not expected[k][0] <= v <= expected[k][1]} == {}
    everything = "".join(texts)
    for odd in ("<p>", "<br/>", "<b>", "<a href=", "&eacute;", "\u200b", "\ufeff", "\u00a0", "\u0301", "É", "☕", "’"):
        assert odd in everything
    for script in (r"[\u4e00-\u9fff]", r"[\u0400-\u04ff]", r"[\u0900-\u097f]"):  # CJK, Cyrillic, Devanagari
        assert re.search(script, everything)


def test_every_kind_of_broken_line():
    kinds = Counter()
    for line in catalogue_lines(20_000):
        try:
            text = line.decode()
            json.loads(text)
        except UnicodeDecodeError:
            kinds["latin-1"] += 1
        except json.JSONDecodeError as error:
            kinds["blank" if text == "\n" else "glued" if error.msg == "Extra data" else "cut"] += 1
    assert set(kinds) == {"latin-1", "blank", "glued", "cut"}


def test_title_gives_its_attributes_back_through_the_dirt(rows):
    for index, row in rows:
        if row["title"]:
            assert parse_title(row["title"]) == product_at(index, 7)


def test_description_says_what_the_title_says(rows):
    for index, row in rows:
        if not (row["title"] and row["content"]):
            continue
        product, said = product_at(index, 7), parse_title(row["content"])
        assert [getattr(said, a) for a in ATTRIBUTES] == [getattr(product, a) for a in ATTRIBUTES]
        plain = html.unescape(html.unescape(row["content"])).replace("\u00a0", " ").replace("\u200b", "")
        assert product.category in plain and product.department in plain


def _products():
    entries = [(d, c, e) for d, cs in LEXICON["en"]["departments"].items() for c, e in cs.items()]

    def build(entry):
        department, category, spec = entry
        return st.builds(
            Product,
            brand=st.sampled_from(synthetic._tables().brands),
            item=st.sampled_from(spec["items"]),
            category=st.just(category),
            department=st.just(department),
            color=st.sampled_from(LEXICON["en"]["colors"]),
            material=st.sampled_from(spec["materials"]),
            size=st.sampled_from(LEXICON["en"]["sizes"][spec["size"]]),
            series=st.sampled_from(synthetic._tables().series),
        )

    return st.sampled_from(entries).flatmap(build)


@settings(max_examples=200, deadline=None)
@given(_products(), st.integers(0, len(LEXICON["en"]["title_layouts"]) - 1))
def test_parse_title_inverts_every_layout(product, layout):
    slots = LEXICON["en"]["title_layouts"][layout][1]
    hidden = {
        name: ""
        for name, slot in zip(("color", "material", "size", "series"), "cmse", strict=True)
        if slot not in slots
    }
    assert parse_title(clean_title(product, layout)) == product._replace(**hidden)


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_parse_title_takes_any_text(text):
    found = parse_title(text)
    assert found is None or found.item


def test_categories_can_be_learned_from_labels(rows):
    seen = defaultdict(Counter)
    for index, row in rows[:10_000]:
        for label in row["target_ind"]:
            seen[label][product_at(index, 7).category] += 1
    right = 0
    for index, row in rows[10_000:]:
        votes = sum((seen[label] for label in row["target_ind"] if label in seen), Counter())
        right += votes.most_common(1)[0][0] == product_at(index, 7).category
    assert right / len(rows[10_000:]) > 0.99


def test_uids_are_unique_but_for_repeated_lines(lines, rows):
    assert len({row["uid"] for _, row in rows}) == len({lines[index] for index, _ in rows})


def test_files_are_whole_reproducible_and_equal(tmp_path):
    plain = synthetic.write_catalogue(tmp_path / "a" / "trn.json", 500, seed=3)
    packed = synthetic.write_catalogue(tmp_path / "trn.json.gz", 500, seed=3)
    again = synthetic.write_catalogue(tmp_path / "other.json.gz", 500, seed=3)
    assert plain.read_bytes() == gzip.decompress(packed.read_bytes()) == b"".join(catalogue_lines(500, 3))
    assert packed.read_bytes() == again.read_bytes()  # neither the name nor the hour is in the header
    assert not list(tmp_path.rglob("*.partial"))


def test_write_errors_are_one_clear_sentence(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CourseError, match="não consegui gravar"):
        synthetic.write_catalogue(tmp_path / "file" / "trn.json", 5)
    for n in (0, -1):
        with pytest.raises(CourseError, match="a partir de 1"):
            synthetic.write_catalogue(tmp_path / "trn.json", n)


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def stop_after_two(n, seed, start):
        yield from catalogue_lines(2, seed, start)
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "catalogue_lines", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        synthetic.write_catalogue(tmp_path / "trn.json.gz", 10)
    assert list(tmp_path.iterdir()) == []


def test_command(tmp_path, capsys):
    out = tmp_path / "trn.json"
    assert main(["synthetic", str(out), "--lines", "50", "--seed", "9"]) == 0
    assert out.read_bytes() == b"".join(catalogue_lines(50, 9))
    assert "50 linhas" in capsys.readouterr().out
    assert main(["synthetic"]) == 2  # without a file to write
