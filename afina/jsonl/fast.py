"""The fast lane: lines of the usual shapes, decoded by msgspec into typed structs, which is most of the checking.

A few counts over a block of lines do the rest. Any line that this lane refuses or doubts, and any with tools or pictures,
goes to the patient lane: the rules of `chat.py` and `bedrock.py`, on the line as `read.py` parses it, ten times slower. The
lanes agree: a property test gives both the same lines and compares the reports.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from afina.jsonl.formats import Format

_BEFORE_COLON = [int.from_bytes(pair, "little") for pair in (b'":', b" :", b"\t:", b"\r:")]
_SPACED_COLON = re.compile(rb'"\s+:')


@dataclass(slots=True)
class Group:
    """The lines of a block that have one shape: what is good of them, a column a speaker's turn."""

    roles: tuple[str, ...]
    keys: int  # of JSON, in each line
    places: list[int] = field(default_factory=list)
    texts: list[Sequence[str]] = field(default_factory=list)  # a row a line
    rows: list = field(default_factory=list)
    columns: list[Sequence[str]] = field(default_factory=list)


class FastLane:
    """Sorts the lines of a block into those that are good and those that the rules must look at."""

    def __init__(self, form: Format):
        self.form = form
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(form.row).decode
        self.keys_of = lru_cache(4096)(form.row.keys)  # conversations of ever other lengths: forget rather than grow

    def sort(self, lines: list[bytes]) -> tuple[list[Group], set[int]]:
        """(good lines by shape, places of the others)."""
        groups, patient = self._decode(lines)
        patient += self._keys_doubted(lines, groups, len(patient))
        doubted = set(patient)
        for group in groups:
            doubted |= self._doubt_texts(group, doubted)
        return [group for group in groups if group.places], doubted

    def _decode(self, lines: list[bytes]) -> tuple[list[Group], list[int]]:
        patient: list[int] = []
        found: dict[tuple[str, ...], Group] = {}
        decode = self.decode
        for place, line in enumerate(lines):
            try:
                row = decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                patient.append(place)
                continue
            roles, texts = row.shape()
            group = found.get(roles)
            if group is None:
                group = found[roles] = Group(roles, self.keys_of(roles))
            group.places.append(place)
            group.texts.append(texts)
            group.rows.append(row)
        for group in found.values():
            if not group.keys:
                patient += group.places
        return [group for group in found.values() if group.keys], patient

    def _keys_doubted(self, lines: list[bytes], groups: list[Group], refused: int) -> list[int]:
        """Places of lines that may repeat a key, or that have weights: another number of keys than their shape has.

        A key ends in `":`; inside a text a quote is escaped, so there it reads `\\":`. One count over the whole block
        clears it when it is as expected; a blank before a colon, or a refused line in the block, costs a closer look.
        """
        if not refused:
            text = b"\n".join(lines)
            # Pairs of bytes as 16-bit numbers, from the first byte and from the second: a search for two bytes at once.
            views = [np.frombuffer(text, "<u2", (len(text) - start) // 2, start) for start in (0, 1)]
            found, *spaced = (sum(np.count_nonzero(view == pair) for view in views) for pair in _BEFORE_COLON)
            if found == sum(group.keys * len(group.places) for group in groups) and not any(spaced):
                return []
        doubts = []
        for group in groups:
            for place, row in zip(group.places, group.rows, strict=True):
                line = lines[place]
                keys = line.count(b'":') - line.count(b'\\":')
                if keys != group.keys + row.extra() or _SPACED_COLON.search(line):
                    doubts.append(place)
        return doubts

    def _doubt_texts(self, group: Group, doubted: set[int]) -> set[int]:
        """Fill the columns of a group without its doubtful lines; return the places of those with a doubtful text."""
        words = self.form.doubtful
        found: set[int] = set()
        group.columns = list(zip(*group.texts, strict=True))
        for role, column in zip(group.roles, group.columns, strict=True):
            if any(map(str.isspace, column)):
                found.update(place for place, text in zip(group.places, column, strict=True) if text.isspace())
            if words and role != "assistant" and any(map("\n".join(column).__contains__, words)):
                pairs = zip(group.places, column, strict=True)
                found.update(place for place, text in pairs if any(word in text for word in words))
        if found or not doubted.isdisjoint(group.places):
            rows = zip(group.places, group.texts, strict=True)
            good = [(place, texts) for place, texts in rows if place not in doubted and place not in found]
            group.places, group.texts = [place for place, _ in good], [texts for _, texts in good]
            group.columns = list(zip(*group.texts, strict=True))
        return found
