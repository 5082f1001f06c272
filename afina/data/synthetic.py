"""A look-alike of AmazonTitles-1.3MM's `trn.json`, of any size. All brands are invented.

Each line is a pure function of (seed, line number): sixteen 32-bit draws from one BLAKE2b digest. A description says again what its
title says: `product_at` gives the attributes of a line, `parse_title` reads them from a title, and so a model can be judged.
"""

import contextlib
import functools
import gzip
import hashlib
import html
import re
import struct
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from afina.data.lexicon import LEXICON
from afina.errors import CourseError, require
from afina.runtime import SEED, progress
from afina.whole import new_file

_WORDS = LEXICON["en"]
_LAYOUTS, _COLORS = _WORDS["title_layouts"], _WORDS["colors"]
REAL_LINES = 2_248_619  # data points of the training split, Extreme Classification Repository
SAMPLE_LINES = 20_000

# Shares per 10,000 lines. Public summaries of the real file give no exact figures: these are ours, in its spirit.
_EMPTY_CONTENT, _EMPTY_TITLE, _DUPLICATE, _BROKEN = 2_500, 40, 300, 5
_LABELS = 1_305_265  # labels of the real data set
_LABEL_LISTS = 64  # different label lists of one item


class Product(NamedTuple):
    """What a title says. An attribute that its layout leaves out is ""."""

    brand: str
    item: str
    category: str
    department: str
    color: str = ""
    material: str = ""
    size: str = ""
    series: str = ""


class _Item(NamedTuple):
    name: str
    category: str
    department: str
    materials: list[str]
    sizes: list[str]
    uses: list[str]
    places: list[str]
    labels: list[bytes]


def _label_lists(item: int, category: int) -> list[bytes]:
    """The JSON of `target_ind` and `target_rel`: some labels of the item and some that its whole category shares."""
    lists = []
    for k in range(_LABEL_LISTS):
        own = [(item * 6_151 + j * 389 + 17) % _LABELS for j in range(k % 16, k % 16 + 3 + k // 4)]
        shared = [(category * 48_611 + j * 1_009 + 5) % _LABELS for j in range(k % 7, k % 7 + 3 + k % 11)]
        labels = sorted({*own, *shared})
        lists.append(b'%b, "target_rel": %b' % (str(labels).encode(), str([1.0] * len(labels)).encode()))
    return lists


class _Tables(NamedTuple):
    """Everything that a line can be made of, expanded once so that a line costs look-ups and joins."""

    brands: list[str]
    series: list[str]
    items: list[_Item]
    lines: dict[str, dict[str, list[str]]]  # kind of sentence -> attribute value -> its wordings


@functools.cache
def _tables() -> _Tables:
    made_up = [head + tail for head in _WORDS["brand_heads"] for tail in _WORDS["brand_tails"]]
    items: list[_Item] = []
    every = [(shelf, *entry) for shelf, categories in _WORDS["departments"].items() for entry in categories.items()]
    for number, (department, category, entry) in enumerate(every, 1):
        for name in entry["items"]:
            places = [t.format(department=department, category=category, item=name) for t in _WORDS["place_lines"]]
            labels = _label_lists(len(items), number)
            row = (entry["materials"], _WORDS["sizes"][entry["size"]], entry["uses"], places, labels)
            items.append(_Item(name, category, department, *row))
    series = _WORDS["series"] + [f"{code}-{n}" for code in _WORDS["series_code"] for n in range(104, 1000, 37)]
    materials = sorted({material for item in items for material in item.materials})
    sizes = sorted({size for item in items for size in item.sizes})
    values = {"color": _COLORS, "material": materials, "size": sizes, "series": series}
    lines = {
        kind: {v: [_capital(t.format(v)) for t in _WORDS[f"{kind}_lines"]] for v in values[kind]} for kind in values
    }
    lines["care"] = {v: [t.format(v) for t in _WORDS["care_lines"]] for v in materials}
    return _Tables(made_up + _WORDS["brands"] * 2, series, items, lines)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


_pack = struct.Struct("<QQ").pack
_unpack = struct.Struct("<16I").unpack
_ORDERS = ("cmsepu", "pumcse", "spcmeu", "mcuspe", "ucmsep")  # order of the sentences after the first


def _draws(seed: int, index: int) -> tuple[int, ...]:
    return _unpack(hashlib.blake2b(_pack(seed, index)).digest())


def _is_broken(r: tuple[int, ...]) -> bool:
    return r[15] % 10_000 < _BROKEN


def _source(seed: int, index: int, r: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """The line that `index` shows, with its draws: itself, or an earlier one where it is a duplicate."""
    while index and r[14] % 10_000 < _DUPLICATE and not _is_broken(r):
        earlier = r[13] % index
        draws = _draws(seed, earlier)
        if _is_broken(draws):
            break
        index, r = earlier, draws
    return index, r


def _product(r: tuple[int, ...]) -> tuple[Product, int, _Item]:
    """What a line shows: the product, its layout and its item."""
    t, layout = _tables(), r[2] % len(_LAYOUTS)
    item, slots = t.items[r[0] % len(t.items)], _LAYOUTS[layout][1]
    color = _COLORS[r[3] % len(_COLORS)] if "c" in slots else ""
    material = item.materials[r[4] % len(item.materials)] if "m" in slots else ""
    size = item.sizes[r[5] % len(item.sizes)] if "s" in slots else ""
    series = t.series[r[6] % len(t.series)] if "e" in slots else ""
    brand = t.brands[r[1] % len(t.brands)]
    product = Product(brand, item.name, item.category, item.department, color, material, size, series)
    return product, layout, item


def product_at(index: int, seed: int = SEED) -> Product:
    """The attributes behind line `index` (0-based) of the catalogue; for a duplicate, those of the line it repeats."""
    seed %= 2**64
    return _product(_source(seed, index, _draws(seed, index))[1])[0]


def clean_title(product: Product, layout: int) -> str:
    """The product's title in layout 0 to 9, before any dirt. The layout must use no attribute that is missing."""
    p, template = product, _LAYOUTS[layout][0]
    item, color, material, size = p.item.title(), p.color.title(), p.material.title(), p.size.capitalize()
    return template.format(brand=p.brand, series=p.series, Item=item, Color=color, Material=material, Size=size)


def _sentences(p: Product, item: _Item, r: tuple[int, ...]) -> list[str]:
    """The description, sentence by sentence. Its length is one of four steps; attributes of the title always come."""
    lines, intros, closings, n = _tables().lines, _WORDS["intros"], _WORDS["closings"], r[8]
    what = " ".join(filter(None, (p.size, p.color, p.material, p.item)))
    a_item = ("an " if p.item[0] in "aeio" else "a ") + p.item
    intro = intros[r[7] % len(intros)]
    out = [intro.format(brand=p.brand, what=what, item=p.item, a_item=a_item, A_item=_capital(a_item))]
    length = n % 4
    parts = {
        "c": [lines["color"][p.color][n // 4 % 4]] if p.color else [],
        "m": [lines["material"][p.material][n // 16 % 4]] if p.material else [],
        "s": [lines["size"][p.size][n // 64 % 4]] if p.size else [],
        "e": [lines["series"][p.series][n // 256 % 2]] if p.series else [],
        "p": [item.places[n // 512 % 4]],
        "u": [item.uses[(n // 2_048 + k) % 4] for k in range(length + 1)],
    }
    for key in _ORDERS[n // 8_192 % len(_ORDERS)]:
        out += parts[key]
    if length > 1 and p.material:
        out.append(lines["care"][p.material][n // 65_536 % 3])
    for k in range((0, 1, 2, 4)[length]):
        out.append(closings[(n // 262_144 + k) % len(closings)].format(brand=p.brand))
    return out


# The dirt of the real file
_EMOJI = (" ☕", " ✨", " 👍🏽", " ❤️", " ™", " ®")
_NAMED = {"é": "&eacute;", "É": "&Eacute;", "ñ": "&ntilde;", "ü": "&uuml;", "ø": "&oslash;", "á": "&aacute;"}.items()


def _escape(text: str) -> str:
    text = text.replace("&", "&amp;").replace('"', "&quot;").replace("'", "&#39;")
    if not text.isascii():
        for letter, entity in _NAMED:
            text = text.replace(letter, entity)
    return text


def _tagged(sentences: list[str], n: int) -> str:
    escaped, kind = [_escape(s) for s in sentences], n % 4
    if kind == 0:
        return "<p>" + "</p><p>".join(escaped) + "</p>"
    if kind == 1:
        return "<br/>".join(escaped)
    if kind == 2:
        return f"<b>{escaped[0]}</b> " + " ".join(escaped[1:])
    return f'<a href="https://shop.example/p?id={n % 9_973}&amp;ref=1">{escaped[0]}</a><br />' + " ".join(escaped[1:])


def _odd(text: str, n: int) -> str:
    kind = n % 5
    if kind == 0:
        return text.replace("'", "’").replace(' "', " “").replace('" ', "” ").replace(" - ", " — ")
    if kind == 1:
        return text.replace(" ", "\u00a0", 2)  # no-break spaces
    if kind == 2:
        return text.replace(" ", " \u200b", 1) + "\ufeff"  # zero-width characters
    if kind == 3:
        return text + _EMOJI[n // 5 % len(_EMOJI)]
    return unicodedata.normalize("NFD", text)  # é becomes e + accent


def _dirty(title: str, sentences: list[str], n: int) -> tuple[str, str]:
    """Title and content with the dirt that `n` picks: none, entities, twice-escaped entities, tags, odd Unicode."""
    kind, n = n % 100, n // 100
    if kind < 40:
        return title, " ".join(sentences)
    if kind < 70:
        return _escape(title), _escape(" ".join(sentences))
    if kind < 73:
        return _escape(_escape(title)), _escape(_escape(" ".join(sentences)))
    if kind < 94:
        return _escape(title), _tagged(sentences, n)
    return _odd(title, n), _odd(" ".join(sentences), n)


def _broken(line: bytes, other: bytes, n: int) -> bytes:
    kind = n % 4
    if kind == 0:
        return line[: 40 + n % (len(line) - 60)].rstrip(b"\n") + b"\n"  # cut in the middle
    if kind == 1:
        return line.rstrip(b"\n") + other  # two objects on one line
    if kind == 2:
        return line.replace(b'"title": "', b'"title": "Caf\xe9 ', 1)  # a Latin-1 byte in UTF-8
    return b"\n"


def _line(seed: int, index: int, r: tuple[int, ...]) -> bytes:
    index, r = _source(seed, index, r)
    product, layout, item = _product(r)
    empty = r[11] % 10_000 < _EMPTY_CONTENT
    title, content = _dirty(clean_title(product, layout), [""] if empty else _sentences(product, item, r), r[9])
    if r[12] % 10_000 < _EMPTY_TITLE:
        title = ""
    return b'{"uid": "B0%08X", "title": %b, "content": %b, "target_ind": %b}\n' % (
        (index * 2_654_435_761 + seed) % 2**32,  # an odd factor: no two indices share a uid
        orjson.dumps(title),
        orjson.dumps("" if empty else content),
        item.labels[r[10] % _LABEL_LISTS],
    )


def catalogue_lines(n: int, seed: int = SEED, start: int = 0) -> Iterator[bytes]:
    """`n` lines of the catalogue of `seed` from line `start` on, as JSON Lines bytes that end in a newline.

    About 780 bytes each. Of 10,000 lines about 2,500 have an empty content, 40 an empty title, 300 repeat an earlier
    line byte by byte and 5 are broken: cut JSON, two objects glued, a Latin-1 byte, nothing at all.
    """
    seed %= 2**64
    for index in range(start, start + n):
        r = _draws(seed, index)
        line = _line(seed, index, r)
        if _is_broken(r):
            line = _broken(line, _line(seed, index + 1, _draws(seed, index + 1)), r[13])
        yield line


def _plain(text: str) -> str:
    """Lower case, no entities or tags, only letters, digits and single spaces: equal before and after cleaning."""
    text = html.unescape(html.unescape(text))
    text = unicodedata.normalize("NFKC", re.sub(r"<[^>]*>", " ", text)).lower()
    return " ".join("".join(c for c in text if c.isalnum() or c.isspace()).split())


@functools.cache
def _patterns() -> dict[str, tuple[re.Pattern, dict[str, str]]]:
    t = _tables()
    values = {"brand": set(t.brands), "item": {item.name for item in t.items}}
    values |= {kind: set(t.lines[kind]) for kind in ("color", "material", "size", "series")}
    patterns = {}
    for kind, words in values.items():
        plain = {_plain(word): word for word in words}
        longest_first = sorted(plain, key=lambda word: (-len(word), word))
        patterns[kind] = (re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)"), plain)
    return patterns


def parse_title(title: str) -> Product | None:
    """The attributes that a title of the catalogue says, clean or dirty; None where no item is recognised.

    Works on any text of the grammar, so `parse_title(description)` tells what a generated description says.
    """
    text, found = _plain(title), {}
    for kind, (pattern, plain) in _patterns().items():
        match = pattern.search(text)
        found[kind] = plain[match.group()] if match else ""
    if not found["item"]:
        return None
    item = next(item for item in _tables().items if item.name == found["item"])
    return Product(category=item.category, department=item.department, **found)


def write_lines(path: Path, lines: Iterable[bytes]) -> Path:
    """Write a file, whole or not at all; gzip without name or date where it ends in .gz. CourseError where it cannot."""
    try:
        with new_file(path, "wb") as file:
            zipped = path.suffix == ".gz"
            with gzip.GzipFile("", "wb", 6, file, mtime=0) if zipped else contextlib.nullcontext(file) as lines_out:
                lines_out.writelines(lines)
    except OSError as error:
        remedy = "Confira o espaço em disco e a permissão da pasta, ou escolha outro destino."
        raise CourseError(f"não consegui gravar ({error.strerror or error}).", remedy, path) from error
    return path


def write_catalogue(path: str | Path, n: int = REAL_LINES, seed: int = SEED, start: int = 0) -> Path:
    """Write `n` lines from line `start` on to `path`, compressed where it ends in .gz. CourseError where it cannot."""
    require(n >= 1, f"não dá para gerar {n} linhas.", "Use um número a partir de 1.", "--lines")
    path = Path(path)
    return write_lines(path, progress(catalogue_lines(n, seed, start), desc=path.name, total=n, unit=" linhas"))
