"""The other road of the catalogue engine: the same `prepare`, spread over a Ray cluster by Daft (`afina prep --ray`).

    byte ranges of whole lines ─▶ prepare in every worker ─▶ rows, where they are ───────────────▶ in order to the writer
                                                          └▶ keys, across the network ─▶ first places ─┘

The workers read the input themselves: it must lie in a folder that they share, and `afina[cluster]` must be installed on them.
gzip cannot be read from the middle, so it is packed again beside the output first, a range at a time, in Zstandard. To find
duplicates only keys travel between workers, 24 bytes a row; a row travels once, to the one writer, in order, so the shards are the
local road's, byte for byte. The writer holds 8 bytes a row, the places that stay.
"""

import os
import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from afina.data.account import Broken, RowBatch, damage_notes
from afina.data.near import NearDuplicates
from afina.data.reading import BOM, Damaged, is_gzip, read_blocks
from afina.data.rows import encode_rows, prepare, sketch_rows
from afina.errors import CourseError, require

RANGE_BYTES = 32 << 20  # a task costs a tenth of a second whatever its size, and several times its range in memory
KEY_PARTS = 32  # each sends a piece to each; as many parts as ranges would make that the square of the input
ATTEMPTS = 3
_LINE_BITS = 32  # a row's place in the input: the number of its range, then the line in that range
# What a worker returns: kept rows, and for each range one without a key, whose `row` is the pickled account.
_COLUMNS = {
    "place": pa.int64(),
    "key": pa.large_binary(),
    "split": pa.large_string(),
    "row": pa.large_binary(),
    "sum": pa.uint64(),
    "sketch": pa.large_binary(),  # pickled; only where near-duplicates are asked for
}
# Neither calls home; `afina prep` has a progress bar of its own.
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "DO_NOT_TRACK": "1", "DAFT_PROGRESS_BAR": "0"}


class _Range(NamedTuple):
    """Whole lines of one input, the file `source`: bytes of `path`. `text` is what they hold where they are Zstandard, else 0."""

    source: Path
    path: Path
    start: int
    length: int
    text: int


def ray_road(
    address: str,
    files: Sequence[Path],
    shares: Sequence[float],
    near: NearDuplicates | None,
    scratch: Path,
    notes: list[str],
) -> Iterator[RowBatch]:
    """Batches in file order, as the local road gives them: first the account, then the rows.

    Daft restarts tasks that die, but not the results that a dead node held: then the whole query is asked again, at most
    ATTEMPTS times in all, and `notes` says so. Its order is fixed, so the rows already handed over are skipped.
    """
    ray = _connect(address)
    ranges, problems = _ranges(files, scratch)
    total, handed, account = sum(path.stat().st_size for path in files), 0, None
    try:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                entries, tables = _ask(ranges, shares, near is not None) if ranges else ([], iter(()))
                if account is None:
                    account, kept = _account(entries, ranges, problems)
                    yield account
                behind = handed
                for table in tables:
                    fresh = table.slice(min(behind, table.num_rows))
                    behind -= table.num_rows - fresh.num_rows
                    batch = RowBatch(moved=total * fresh.num_rows // kept)
                    columns = (fresh.column(name).to_pylist() for name in ("split", "row", "sum", "sketch"))
                    for split, row, checksum, sketch in zip(*columns, strict=True):
                        if near and near.repeats(pickle.loads(sketch)):
                            batch.dropped["near_duplicate"] += 1
                        else:
                            batch.add(split, row, checksum)
                    handed += fresh.num_rows
                    yield batch
                yield RowBatch(dropped=Counter(duplicate=kept - handed))
                return
            except ray.exceptions.RayError as error:
                problem = f"o cluster falhou {ATTEMPTS} vezes ({type(error).__name__})."
                require(attempt < ATTEMPTS, problem, "Confira os nós com `ray status`, ou rode sem --ray.", address)
                notes.append(f"O cluster perdeu um trabalhador ({type(error).__name__}): refiz a consulta inteira.")
    finally:
        for path in scratch.glob("ranges-*.zst"):
            path.unlink()


def _connect(address: str) -> ModuleType:
    """Ray, connected, with Daft on top of it. CourseError where the extra or the cluster is missing."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)  # Daft reads its own when it is imported
    try:
        import daft
        import ray
    except ImportError as error:
        remedy = "Instale com `pip install 'afina[cluster]'`."
        raise CourseError(f"falta {error.name} para usar um cluster.", remedy, "--ray") from error
    try:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level="error")
    except ConnectionError as error:
        remedy = "Inicie um com `ray start --head`, ou rode sem --ray."
        raise CourseError("não encontrei um cluster Ray aqui.", remedy, address) from error
    daft.set_runner_ray(noop_if_initialized=True)
    return ray


def _ranges(files: Sequence[Path], scratch: Path) -> tuple[list[_Range], dict[Path, str]]:
    """Every file cut at line ends, and what is wrong with those that could not be unpacked to their end."""
    ranges, problems = [], {}
    for number, source in enumerate(files):
        if is_gzip(source):
            path = scratch.resolve() / f"ranges-{number}.zst"
            with path.open("wb") as packed:
                try:
                    for block, _ in read_blocks(source, RANGE_BYTES):
                        start = packed.tell()
                        packed.write(pa.compress(block, codec="zstd", asbytes=True))
                        ranges.append(_Range(source, path, start, packed.tell() - start, len(block)))
                except Damaged as error:
                    problems[source] = str(error)
            continue
        with source.open("rb") as lines:
            start = len(BOM) if lines.read(len(BOM)) == BOM else 0
            size = source.stat().st_size
            while start < size:
                lines.seek(start + RANGE_BYTES)
                lines.readline()
                end = min(lines.tell(), size)
                ranges.append(_Range(source, source.resolve(), start, end - start, 0))
                start = end
    return ranges, problems


def _ask(ranges: list[_Range], shares: Sequence[float], near: bool) -> tuple[list[dict], Iterator[pa.RecordBatch]]:
    """The whole query: the account of every range, and the rows without duplicates in the order of the input."""
    import daft
    from daft import col

    frame = daft.from_pydict({"range": [pickle.dumps(each) for each in enumerate(ranges)]}).into_partitions(len(ranges))
    found = frame.select(_prepare_on_worker(shares, near)(col("range")).alias("found")).explode("found")
    lines = found.select(*(col("found")[name].alias(name) for name in _COLUMNS)).collect()
    entries = lines.where(col("key").is_null()).select("place", "row").to_pylist()
    entries.sort(key=lambda entry: entry["place"])
    rows = lines.where(col("key").not_null())
    keys = rows.select("key", "place").into_partitions(min(KEY_PARTS, len(ranges)))
    firsts = keys.groupby("key").agg(col("place").min()).select("place").to_arrow()
    places = np.sort(firsts.column("place").to_numpy())
    return entries, _first_rows(rows.select("place", "split", "row", "sum", "sketch").to_arrow_iter(), places)


def _first_rows(tables: Iterator[pa.RecordBatch], places: np.ndarray) -> Iterator[pa.RecordBatch]:
    """Of rows in the order of the input, those at `places` (sorted)."""
    behind = -1
    for table in tables:
        mine = table.column("place").to_numpy()
        if len(mine):
            if mine[0] <= behind or (np.diff(mine) <= 0).any():
                raise RuntimeError("Daft gave the rows in another order than that of the input")
            behind = mine[-1]
            start, end = np.searchsorted(places, mine[0]), np.searchsorted(places, behind, side="right")
            yield table.filter(pa.array(np.isin(mine, places[start:end], assume_unique=True)))


def _prepare_on_worker(shares: Sequence[float], near: bool):
    import daft
    from daft import DataType

    schema = {name: DataType.from_arrow_type(kind) for name, kind in _COLUMNS.items()}

    @daft.func.batch(return_dtype=DataType.list(DataType.struct(schema)), batch_size=1)
    def clean_ranges(pickled):
        structs = [_clean_range(*pickle.loads(each), shares=shares, near=near) for each in pickled.to_pylist()]
        offsets = pa.array(accumulate(map(len, structs), initial=0), pa.int64())
        return pa.LargeListArray.from_arrays(offsets, pa.concat_arrays(structs))

    return clean_ranges


def _clean_range(number: int, piece: _Range, shares: Sequence[float], near: bool) -> pa.StructArray:
    with piece.path.open("rb") as file:
        file.seek(piece.start)
        block = file.read(piece.length)
    if piece.text:
        block = pa.decompress(block, decompressed_size=piece.text, codec="zstd", asbytes=True)
    table = prepare(block, shares)
    base = number << _LINE_BITS
    keys = [key.to_bytes(16, "big") for key in table.key]
    sketches = [pickle.dumps(sketch) for sketch in sketch_rows(table)] if near else [None] * len(keys)
    columns = ([base + line for line in table.line], keys, table.split, *encode_rows(table), sketches)
    account = pickle.dumps((table.read, len(keys), table.dropped, table.broken))
    ends = (base, None, None, account, None, None)
    values = zip(columns, ends, _COLUMNS.values(), strict=True)
    return pa.StructArray.from_arrays([pa.array([*rows, end], kind) for rows, end, kind in values], list(_COLUMNS))


def _account(entries: list[dict], ranges: list[_Range], problems: dict[Path, str]) -> tuple[RowBatch, int]:
    """The account of all ranges as one batch without rows, with line numbers counted from the start of each file."""
    batch, kept = RowBatch(), 0
    lines: Counter[Path] = Counter()
    for entry in entries:  # sorted by place
        source = ranges[entry["place"] >> _LINE_BITS].source
        read, kept_here, dropped, broken = pickle.loads(entry["row"])
        batch.broken += [Broken(str(source), lines[source] + line, why) for line, why in broken]
        batch.dropped.update(dropped)
        batch.read, kept = batch.read + read, kept + kept_here
        lines[source] += read
    batch.damaged = damage_notes(problems, lines)
    return batch, kept
