"""One block of lines of a catalogue to cleaned rows: the whole pipeline, the same at home and on a cluster."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import xxhash

from afina.data.clean import clean_texts
from afina.data.near import sketches
from afina.data.split import SHARES, SPLITS, assign_splits


class Row(msgspec.Struct, gc=False):
    """A product as it is read and as it is written; other fields of the input are skipped unparsed."""

    uid: str
    title: str
    content: str


@dataclass
class Table:
    """What one block became. Four columns of one length (kept rows) and the account of all `read` lines.

    `key` is the 128-bit hash of title and content, `line` the place in the block, from 1. `broken` holds (line, reason).
    """

    read: int
    rows: list[Row] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    key: list[int] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[int, str]] = field(default_factory=list)


decode_row = msgspec.json.Decoder(Row).decode
_encode = msgspec.json.Encoder().encode


def prepare(block: bytes, shares: Sequence[float] = SHARES) -> Table:
    """Lines to a cleaned table: decode, clean, drop the empty, hash, split. Never raises on what a line holds."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    table, rows, numbers = Table(len(lines)), [], []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(decode_row(line))
            numbers.append(number)
        except (ValueError, RecursionError) as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
            if line.strip():
                table.broken.append((number, _in_portuguese(error)))
            else:
                table.dropped["blank"] += 1
    table.dropped["broken"] = len(table.broken)

    texts = clean_texts([row.title for row in rows] + [row.content for row in rows])
    digest = xxhash.xxh3_128_intdigest
    for row, number, title, content in zip(rows, numbers, texts, texts[len(rows) :], strict=False):
        if title and content:
            row.title, row.content = title, content
            table.rows.append(row)
            table.key.append(digest(f"{title}\n{content}".encode()))
            table.line.append(number)
        else:
            table.dropped["empty_content" if title else "empty_title"] += 1
    table.split = assign_splits([row.title for row in table.rows], shares)
    return table


def encode_rows(table: Table) -> tuple[list[bytes], list[int]]:
    """Each kept row as a JSON line (no newline), and its 64-bit sum. Sums add up to the same total in any order."""
    lines = [_encode(row) for row in table.rows]
    seeds = {split: seed for seed, split in enumerate(SPLITS)}
    digest = xxhash.xxh3_64_intdigest
    return lines, [digest(line, seeds[split]) for line, split in zip(lines, table.split, strict=True)]


def sketch_rows(table: Table) -> list:
    """The MinHash sketch of each kept row: title and content."""
    return sketches([f"{row.title} {row.content}" for row in table.rows])


def _in_portuguese(error: Exception) -> str:
    text = str(error)
    if missing := re.search(r"missing required field `(\w+)`", text):
        return f'falta o campo "{missing[1]}"'
    if wrong := re.search(r"Expected `(\w+)`, got `(\w+)`(?: - at `\$\.(\w+)`)?", text):
        place = f'o campo "{wrong[3]}"' if wrong[3] else "a linha"
        kinds = {"str": "texto", "object": "objeto", "array": "lista", "int": "número", "float": "número"}
        return f"{place} deveria ser {kinds.get(wrong[1], wrong[1])}, e é {kinds.get(wrong[2], wrong[2])}"
    if isinstance(error, UnicodeDecodeError):
        return "há bytes que não são UTF-8"
    if isinstance(error, RecursionError):
        return "JSON aninhado demais"
    if "truncated" in text:
        return "JSON cortado antes do fim"
    where = re.search(r"byte (\d+)", text)
    return f"JSON inválido perto do byte {where[1]}" if where else "JSON inválido"
