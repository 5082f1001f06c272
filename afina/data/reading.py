"""A file of lines, plain or gzip, as blocks of whole lines; what is damaged is told, and what is readable before it is given."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from isal import isal_zlib

BOM = b"\xef\xbb\xbf"
_READ_BYTES = 1 << 16


class Damaged(Exception):
    """A compressed file that cannot be read to its end; the text says why, in Portuguese."""


def is_gzip(path: Path) -> bool:
    """Told by the first bytes: names lie."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def digest_of(path: Path, method: Any = "sha256") -> str:
    """The hash of a file, in hexadecimal, by a name or a maker of `hashlib`'s form."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, method).hexdigest()


def read_blocks(path: Path, size: int) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole lines of about `size` bytes, plain or from gzip, each with the bytes of the file read so far.

    A file without a last newline ends in a line all the same. Raises Damaged after the last whole line that is readable.
    """
    parts: list[bytes] = []
    held, at_start = 0, True
    problem: Damaged | None = None
    with path.open("rb") as raw:
        chunks = _gunzip(raw) if is_gzip(path) else iter(partial(raw.read, _READ_BYTES * 4), b"")
        try:
            for chunk in chunks:
                parts.append(chunk.removeprefix(BOM) if at_start else chunk)
                chunk, at_start = parts[-1], False
                held += len(chunk)
                if held >= size and (cut := chunk.rfind(b"\n") + 1):
                    parts[-1] = chunk[:cut]
                    yield b"".join(parts), raw.tell()
                    parts = [chunk[cut:]]
                    held = len(parts[0])
        except Damaged as error:
            problem = error
        rest = b"".join(parts)
        if problem:
            rest = rest[: rest.rfind(b"\n") + 1]
        if rest:
            yield rest, raw.tell()
        if problem:
            raise problem


def _gunzip(raw: BinaryIO) -> Iterator[bytes]:
    """The text of one or more gzip members. Gives everything that can be had before it raises Damaged.

    The last 8 bytes read are always held back: they may be the checksum, which takes the data beside it down with it.
    """
    inflate, inside, held = isal_zlib.decompressobj(wbits=31), False, b""
    at_end = False
    while not at_end:
        chunk = raw.read(_READ_BYTES)
        at_end = not chunk
        data = held + chunk
        data, held = (data, b"") if at_end else (data[:-8], data[-8:])
        while data:
            inside = True
            try:
                text = inflate.decompress(data)
            except isal_zlib.IsalError as error:  # type: ignore[misc]  # isal's stub declares the class as an instance
                if "checksum" in str(error):
                    raise Damaged("a soma de verificação (CRC) do gzip não confere: há linhas alteradas") from error
                raise Damaged("há dados corrompidos no gzip, e as últimas linhas podem estar alteradas") from error
            if text:
                yield text
            if not inflate.eof:
                break
            data = inflate.unused_data.lstrip(b"\x00")  # some tools pad with zeros
            inflate, inside = isal_zlib.decompressobj(wbits=31), False
    if inside:
        raise Damaged("o gzip foi cortado antes do fim")
