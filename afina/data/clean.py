"""The cleaning rules of the course, once: four small functions from text to text.

    unescape_entities -> strip_tags -> keep_wanted -> fold_space

`clean` is all four in a row, on one text; `clean_texts` does the same to many at the cost of a few passes in C: every rule but the
last also works on many texts joined with NUL, which no rule makes, crosses or removes.
"""

import html
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

NUL = "\x00"
_ENTITY = re.compile(r"&(?:amp;)*(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[A-Za-z][A-Za-z0-9]{1,31};?)")
# "<" before a letter, "/", "!" or "?" opens a tag; in "5 < 6" it is arithmetic. Stopping at the next "<" keeps it linear.
_TAG = re.compile(r"<[A-Za-z/!?][^<>\x00]*>")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_ASCII_SPACE = bytes(i for i in range(128) if chr(i).isspace())
_TO_SPACE = bytes(0x20 if i in _ASCII_SPACE else i for i in range(256))
_UNWANTED = bytes(i for i in range(1, 128) if not (chr(i).isalnum() or chr(i) in ",." or i in _ASCII_SPACE))


class _Wanted(dict):
    """A table for `str.translate` that decides on a character when it first meets it."""

    def __missing__(self, code: int) -> int | None:
        char = chr(code)
        wanted = unicodedata.category(char)[0] in "LMN"
        self[code] = code if wanted else 0x20 if char.isspace() else None
        return self[code]


_WANTED = _Wanted()


def unescape_entities(text: str) -> str:
    """HTML entities to characters; one that was escaped more than once (`&amp;quot;`) is one character too."""
    parts = _ENTITY.split(text)  # text, name, text, name, …: quicker than a function call for every match
    parts[1::2] = map(_character, parts[1::2])
    return "".join(parts)


@lru_cache(4096)
def _character(name: str) -> str:
    if len(name) > 40:  # no character has such a number, and int() refuses thousands of digits
        return "\ufffd"
    return html.unescape(f"&{name}")


def strip_tags(text: str) -> str:
    """HTML tags out; each leaves a space, so that `azul<br>claro` does not become one word."""
    return _TAG.sub(" ", text)


def keep_wanted(text: str) -> str:
    """Keep letters, combining marks and numbers of any script (Unicode L, M, N), white space, commas and periods.

    Everything else vanishes without a trace (`don't` becomes `dont`), the underscore too. White space becomes plain spaces.
    The result is in Unicode form NFC, so that é is one character whichever way it was typed.
    """
    plain = text.encode("utf-8", "ignore").translate(_TO_SPACE, _UNWANTED).decode()  # "ignore": lone surrogates
    if plain.isascii():
        return plain
    kept = _NOT_ASCII.sub(lambda run: run[0].translate(_WANTED), plain)
    return NUL.join([unicodedata.normalize("NFC", piece) for piece in kept.split(NUL)])  # most are found in form: quick


def fold_space(text: str) -> str:
    """Runs of white space become one space; none is left at the ends."""
    return " ".join(text.split())


RULES = (unescape_entities, strip_tags, keep_wanted, fold_space)


def clean(text: str) -> str:
    """All rules in order, on one text. `clean(clean(text)) == clean(text)`."""
    text = text.replace(NUL, "")
    for rule in RULES:
        text = rule(text)
    return text


def clean_texts(texts: Sequence[str]) -> list[str]:
    """`[clean(text) for text in texts]`, in less time: each rule runs once over all texts joined with NUL."""
    if not texts:
        return []
    pieces = strip_tags(unescape_entities(NUL.join(texts))).split(NUL)
    if len(pieces) > len(texts):  # a text brought a NUL of its own
        return clean_texts([text.replace(NUL, "") for text in texts])
    # One accent would send the whole block down the slower road for all alphabets: part the two kinds first.
    is_ascii = [piece.isascii() for piece in pieces]
    fast = iter(_keep_and_fold([piece for piece, plain in zip(pieces, is_ascii, strict=True) if plain]))
    slow = iter(_keep_and_fold([piece for piece, plain in zip(pieces, is_ascii, strict=True) if not plain]))
    return [next(fast if plain else slow) for plain in is_ascii]


def _keep_and_fold(pieces: list[str]) -> list[str]:
    kept = keep_wanted(NUL.join(pieces))
    # Only plain spaces are left. Parting at pairs leaves at most one beside each part, and pairs are far fewer than words.
    folded = " ".join([part for pair in kept.split("  ") if (part := pair.strip(" "))])
    return [piece.strip(" ") for piece in folded.split(NUL)]
