"""Which lines repeat? Fingerprints of any number of lines, in memory that does not grow with the file.

A line is kept as 8 bytes (xxh3_64). They gather in an array and go to an unnamed temporary file after each 256 Ki, so the
disk grows by 8 bytes a line (about 2 % of the input) and memory stays at a few MB; `repeats` reads them back in
partitions of about that size. Two different lines share a fingerprint with probability n²/2⁶⁵: 3 in a million for ten
million lines.
"""

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from typing import IO

import numpy as np

BATCH = 1 << 18  # fingerprints held in memory: 2 MB
SKIP = 0  # the fingerprint of a line that takes no part, such as a blank one


class Fingerprints:
    """A growing sequence of 64-bit fingerprints; position i belongs to line i of everything added so far."""

    def __init__(self) -> None:
        self._tail = array("Q")
        self._file: IO[bytes] | None = None
        self._filed = 0

    def extend(self, fingerprints: Iterable[int]) -> None:
        self._tail.extend(fingerprints)
        if len(self._tail) >= BATCH:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object; see close()
            self._tail.tofile(self._file)
            self._filed += len(self._tail)
            self._tail = array("Q")

    def _batches(self) -> Iterator[tuple[int, np.ndarray]]:
        """(position of the first, fingerprints) of each stretch, in order."""
        if self._file is not None:
            self._file.seek(0)
            start = 0
            while data := self._file.read(8 * BATCH):
                batch = np.frombuffer(data, np.uint64)
                yield start, batch
                start += len(batch)
            self._file.seek(0, 2)
        yield self._filed, np.frombuffer(self._tail, np.uint64)

    def repeats(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(positions, first positions) of the fingerprints that came before, a partition at a time, unordered."""
        parts = 1 << ((self._filed + len(self._tail)) // BATCH).bit_length()
        for part in range(parts):
            found: list[np.ndarray] = []
            places: list[np.ndarray] = []
            for start, batch in self._batches():
                mine = np.flatnonzero(((batch & np.uint64(parts - 1)) == part) & (batch != SKIP))
                found.append(batch[mine])
                places.append(mine + start)
            values, positions = np.concatenate(found), np.concatenate(places)
            ordered = np.sort(values)
            twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
            if not len(twice):
                continue
            mine = np.isin(values, twice)  # only what repeats needs the slower sort that keeps the order of the lines
            values, positions = values[mine], positions[mine]
            order = np.argsort(values, kind="stable")
            values, positions = values[order], positions[order]
            starts = np.concatenate(([True], values[1:] != values[:-1]))
            firsts = positions[starts][np.cumsum(starts) - 1]
            yield positions[~starts], firsts[~starts]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
