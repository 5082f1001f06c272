"""Which lines repeat? Fingerprints of any number of lines, in memory that does not grow with the file.

A line is 8 bytes (xxh3_64), past 256 Ki lines in a temporary file that `repeats` reads back in partitions of about that size. Two
different lines share a fingerprint with probability n²/2⁶⁵: 3 in a million for ten million lines.
"""

import tempfile
from array import array
from collections.abc import Iterable, Iterator

import numpy as np

BATCH = 1 << 18  # fingerprints held in memory: 2 MB
SKIP = 0  # the fingerprint of a line that takes no part, such as a blank one


class Fingerprints:
    """A growing sequence of 64-bit fingerprints; position i belongs to line i of everything added so far."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=8 * BATCH)  # noqa: SIM115 - see close()

    def close(self) -> None:
        self._file.close()

    def extend(self, fingerprints: Iterable[int]) -> None:
        self._file.write(array("Q", fingerprints).tobytes())

    def _batches(self) -> Iterator[tuple[int, np.ndarray]]:
        """(position of the first, fingerprints) of each stretch, in order."""
        self._file.seek(0)
        start = 0
        while data := self._file.read(8 * BATCH):
            yield start, np.frombuffer(data, np.uint64)
            start += len(data) // 8

    def repeats(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(positions, first positions) of the fingerprints that came before, a partition at a time, unordered."""
        count = self._file.tell() // 8
        parts = 1 << (count // BATCH).bit_length()
        for part in range(parts if count else 0):
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
