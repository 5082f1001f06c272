"""The cleaning rules: what each does, and that the fast road over many texts is the plain one."""

import html
import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from afina.data.clean import RULES, clean, clean_texts, fold_space, keep_wanted, strip_tags, unescape_entities

# Pieces that make trouble where they meet: halves of entities and tags, every kind of space, marks without a letter.
AWKWARD = [
    "&",
    "&amp",
    "&amp;",
    "amp;",
    "&lt;b&gt;",
    "&#60;",
    "&#x3c;",
    "&#0;",
    "&#10;",
    "&nbsp",
    "&eacute;",
    "&notit;",
    "lt;",
]
AWKWARD += [
    "<",
    ">",
    "<br>",
    "</",
    "<!",
    "a<b",
    "< 3",
    "\x00",
    "\x01",
    "\x1c",
    "\x1f",
    "\x85",
    "\xa0",
    "\u2028",
    "\u200b",
]
AWKWARD += [
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "_",
    "'",
    ".",
    ",",
    "é",
    "e\u0301",
    "\u0301",
    "ñ",
    "हिन्दी",
    "日本",
    "٣",
    "½",
    "²",
    "™",
    "😀",
]
AWKWARD += ["\ud800", "\udfff", "&#xD800;", "&#99999999;", "K", "\u212b", "ﬁ", "ß", "İ", "abc", "X", "7"]
awkward_text = st.lists(st.sampled_from(AWKWARD), max_size=12).map("".join)
any_text = awkward_text | st.text(st.characters(), max_size=30)


def plainly(text: str) -> str:
    """The rules again, written from their description, a character at a time."""
    text = text.replace("\x00", "")
    while (once := re.sub(r"&amp;(?=amp;|#[0-9]|#[xX][0-9a-fA-F]|[A-Za-z][A-Za-z0-9])", "&", text)) != text:
        text = once
    text = html.unescape(text)
    text = re.sub(r"<[A-Za-z/!?][^<>]*>", " ", text)
    kept = [c for c in text if c.isspace() or c in ",." or unicodedata.category(c)[0] in "LMN"]
    return " ".join(unicodedata.normalize("NFC", "".join(kept)).split())


@pytest.mark.parametrize(
    ("rule", "dirty", "cleaned"),
    [
        (unescape_entities, "Caf&eacute; &amp; &quot;Bar&quot; &#39;x&#x27;", "Café & \"Bar\" 'x'"),
        (unescape_entities, "&amp;quot; &amp;amp;amp;lt; AT&T R & B", '" < AT&T R & B'),
        (strip_tags, "azul<br>claro <a href='x'>y</a> 5 < 6 > 4 <", "azul claro  y  5 < 6 > 4 <"),
        (keep_wanted, "don't_stop! 3.99, ok\t日本™ हिन्दी — e\u0301", "dontstop 3.99, ok 日本 हिन्दी  é"),
        (fold_space, " a \n b\u2028\xa0c ", "a b c"),
        (clean, "&lt;b&gt;Caf&eacute;&lt;/b&gt;&nbsp; do   <i>João</i> &amp; cia.", "Café do João cia."),
        (clean, "  <br> &nbsp; !!! ", ""),
    ],
)
def test_rule(rule, dirty, cleaned):
    assert rule(dirty) == cleaned


def test_every_character_is_kept_by_its_unicode_category():
    for code in range(0x110000):
        char = chr(code)
        kept = keep_wanted(f"a{char}a") if char != "\x00" else "aa"
        if char.isspace():
            assert kept == "a a", hex(code)
        elif char in ",." or unicodedata.category(char)[0] in "LMN":
            assert kept == unicodedata.normalize("NFC", f"a{char}a"), hex(code)
        else:
            assert kept == "aa", hex(code)


@settings(max_examples=300, deadline=None)
@given(st.lists(any_text, max_size=8))
@example([])
@example(["", ""])
@example(["&am", "p;lt;", "<b", ">", "e", "\u0301"])
def test_many_texts_at_once_equal_one_at_a_time_equal_the_plain_reading(texts):
    assert clean_texts(texts) == [clean(text) for text in texts] == [plainly(text) for text in texts]


@settings(max_examples=300, deadline=None)
@given(any_text)
def test_clean_text_stays_as_it_is(text):
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert cleaned == fold_space(cleaned) == keep_wanted(cleaned)


def test_entities_that_are_not_nested_are_read_as_html_reads_them():
    for text in AWKWARD:
        assert unescape_entities(text) == html.unescape(text)


@pytest.mark.parametrize(
    "text",
    [
        "&" + "amp;" * 200_000 + "lt;",
        "<" * 300_000,
        "<a" * 200_000,
        "&#" + "9" * 10_000 + ";",
        "&#x" + "f" * 10_000,
        "&" * 300_000,
        "e" + "\u0301" * 100_000,
        " " * 500_000 + "x",
        "a&#0" + "0" * 9_000 + "65;b",
    ],
)
def test_hostile_text_is_clean_in_no_time(text):
    assert clean_texts([text, "x"]) == [clean(text), "x"]


def test_rules_are_in_order():
    assert [rule.__name__ for rule in RULES] == ["unescape_entities", "strip_tags", "keep_wanted", "fold_space"]
