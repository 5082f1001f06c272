"""The catalogue engine: raw JSON lines to clean, deduplicated, split shards, in bounded memory (`afina prep`).

    file(s) ─▶ blocks of whole lines ─▶ prepare(block) in two processes ─▶ duplicates out ─▶ shards, in order ─▶ manifest

`prepare` is the whole pipeline for one block, and the only part that a cluster runs too (`afina.data.cluster`).
Everything is written into OUT.partial, which takes its final name when nothing is left to do: OUT is whole or absent.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import glob
import hashlib
import json
import multiprocessing
import os
import platform
import re
import shutil
import sys
import threading
import time
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import msgspec
import xxhash
from isal import isal_zlib

from afina import __version__
from afina.data.clean import clean_texts
from afina.data.split import SHARES, SPLITS, assign_splits
from afina.errors import CourseError
from afina.runtime import progress as progress_bar
from afina.runtime import versions_of

if TYPE_CHECKING:
    from afina.data.near import NearDuplicates

FORMATS = ("jsonl", "parquet")
REASONS = {
    "blank": "em branco",
    "broken": "quebradas",
    "empty_title": "título vazio",
    "empty_content": "conteúdo vazio",
    "duplicate": "repetidas",
    "near_duplicate": "quase iguais",  # only where it is asked for
}
BLOCK_BYTES = 1 << 19  # fits a processor's cache: larger blocks are slower
READ_BYTES = 1 << 16
BOM = b"\xef\xbb\xbf"
EXAMPLES_KEPT = 20
_ROW_GROUP_BYTES = 16 << 20
_IN_FLIGHT = 8  # blocks between reader and writer
_SMALL_BYTES = 8 << 20  # below this, starting two processes takes longer than the work
_MANIFEST = "manifest.json"
_MAKER = "afina prep"
_NO_SPACE = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


# --- one block of lines: the same function at home and on a cluster --------------------------------------------------


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

    rows: list[Row]
    split: list[str]
    key: list[int]
    line: list[int]
    read: int
    dropped: Counter[str]
    broken: list[tuple[int, str]]


_decode = msgspec.json.Decoder(Row).decode
_encode = msgspec.json.Encoder().encode


def prepare(block: bytes, shares: Sequence[float] = SHARES) -> Table:
    """Lines to a cleaned table: decode, clean, drop the empty, hash, split. Never raises on what a line holds."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    rows, numbers, broken, dropped = [], [], [], Counter()
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_decode(line))
            numbers.append(number)
        except (ValueError, RecursionError) as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
            if line.strip():
                broken.append((number, _in_portuguese(error)))
            else:
                dropped["blank"] += 1
    dropped["broken"] = len(broken)

    texts = clean_texts([row.title for row in rows] + [row.content for row in rows])
    kept, keys, places = [], [], []
    digest = xxhash.xxh3_128_intdigest
    for row, number, title, content in zip(rows, numbers, texts, texts[len(rows) :], strict=False):
        if title and content:
            row.title, row.content = title, content
            kept.append(row)
            keys.append(digest(f"{title}\n{content}".encode()))
            places.append(number)
        else:
            dropped["empty_content" if title else "empty_title"] += 1
    return Table(kept, assign_splits([row.title for row in kept], shares), keys, places, len(lines), dropped, broken)


def encode_rows(table: Table) -> tuple[list[bytes], list[int]]:
    """Each kept row as a JSON line (no newline), and its 64-bit sum. Sums add up to the same total in any order."""
    lines = [_encode(row) for row in table.rows]
    seeds = {split: seed for seed, split in enumerate(SPLITS)}
    digest = xxhash.xxh3_64_intdigest
    return lines, [digest(line, seeds[split]) for line, split in zip(lines, table.split, strict=True)]


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


# --- reading ---------------------------------------------------------------------------------------------------------


class Damaged(Exception):
    """A compressed file that cannot be read to its end; the text says why, in Portuguese."""


def is_gzip(path: Path) -> bool:
    """Told by the first bytes: names lie."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def read_blocks(path: Path, size: int) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole lines of about `size` bytes, plain or from gzip, each with the bytes of the file read so far.

    A file without a last newline ends in a line all the same. Raises Damaged after the last whole line that is readable.
    """
    parts, held, problem = [], 0, None
    with path.open("rb") as raw:
        chunks = _gunzip(raw) if is_gzip(path) else iter(partial(raw.read, READ_BYTES * 4), b"")
        try:
            for chunk in _without_bom(chunks):
                parts.append(chunk)
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


def _without_bom(chunks: Iterable[bytes]) -> Iterator[bytes]:
    first = True
    for chunk in chunks:
        yield chunk.removeprefix(BOM) if first else chunk
        first = False


def _gunzip(raw: BinaryIO) -> Iterator[bytes]:
    """The text of one or more gzip members. Gives everything that can be had before it raises Damaged.

    The last 8 bytes read are always held back: they may be the checksum, which takes the data beside it down with it.
    """
    inflate, inside, held = isal_zlib.decompressobj(wbits=31), False, b""
    at_end = False
    while not at_end:
        chunk = raw.read(READ_BYTES)
        at_end = not chunk
        data = held + chunk
        data, held = (data, b"") if at_end else (data[:-8], data[-8:])
        while data:
            inside = True
            try:
                text = inflate.decompress(data)
            except isal_zlib.IsalError as error:
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


# --- the local road: reader, two workers, duplicates out, all in file order ------------------------------------------


class Broken(NamedTuple):
    """One line that could not be used."""

    file: str
    line: int
    reason: str


@dataclass
class Batch:
    """What a road hands to the writer, in file order: encoded rows by split without duplicates, and the account of them."""

    rows: dict[str, list[bytes]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    checksum: int = 0
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    broken: list[Broken] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    moved: int = 0  # bytes of input behind us since the last batch

    def add(self, split: str, row: bytes, checksum: int) -> None:
        self.rows[split].append(row)
        self.checksum += checksum


class _Packed(NamedTuple):
    """A Table made small for the way between processes. `sketches` is empty where near-duplicates may stay."""

    rows: list[bytes]
    sums: list[int]
    split: list[str]
    key: list[int]
    read: int
    dropped: Counter[str]
    broken: list[tuple[int, str]]
    sketches: list


def _pack(block: bytes, shares: Sequence[float], near: bool) -> _Packed:
    table = prepare(block, shares)
    sketches = sketch_rows(table) if near else []
    return _Packed(*encode_rows(table), table.split, table.key, table.read, table.dropped, table.broken, sketches)


def sketch_rows(table: Table) -> list:
    """The MinHash sketch of each kept row: title and content."""
    from afina.data.near import sketches

    return sketches([f"{row.title} {row.content}" for row in table.rows])


def _local_road(
    files: Sequence[Path], shares: Sequence[float], pool: ProcessPoolExecutor | None, near: NearDuplicates | None
) -> Iterator[Batch]:
    seen: set[int] = set()  # hashes, not texts: 100 MB per million rows
    lines_of: Counter[Path] = Counter()
    problems: dict[Path, str] = {}
    for path, moved, packed in _packed_in_order(
        _all_blocks(files, problems), partial(_pack, shares=shares, near=near is not None), pool
    ):
        batch = Batch(read=packed.read, dropped=packed.dropped, moved=moved)
        batch.broken = [Broken(str(path), lines_of[path] + line, reason) for line, reason in packed.broken]
        lines_of[path] += packed.read
        columns = (packed.key, packed.split, packed.rows, packed.sums, packed.sketches or repeat(None, len(packed.key)))
        for key, split, row, checksum, sketch in zip(*columns, strict=True):
            if key in seen:
                batch.dropped["duplicate"] += 1
                continue
            seen.add(key)
            if near and near.repeats(sketch):
                batch.dropped["near_duplicate"] += 1
            else:
                batch.add(split, row, checksum)
        yield batch
    yield Batch(damaged=[damage_note(path, why, lines_of[path]) for path, why in problems.items()])


def damage_note(path: Path, why: str, lines: int) -> str:
    return f"{path}: {why}; a leitura parou depois da linha {_number(lines)}, e o que veio antes foi aproveitado."


def _all_blocks(files: Sequence[Path], problems: dict[Path, str]) -> Iterator[tuple[Path, int, bytes]]:
    for path in files:
        before = 0
        try:
            for block, position in read_blocks(path, BLOCK_BYTES):
                yield path, position - before, block
                before = position
        except Damaged as error:
            problems[path] = str(error)


def _packed_in_order(
    blocks: Iterable[tuple[Path, int, bytes]], pack: Callable[[bytes], _Packed], pool: ProcessPoolExecutor | None
) -> Iterator[tuple[Path, int, _Packed]]:
    if pool is None:
        for path, moved, block in blocks:
            yield path, moved, pack(block)
        return
    waiting: deque = deque()
    for path, moved, block in blocks:
        waiting.append((path, moved, pool.submit(pack, block)))
        if len(waiting) > _IN_FLIGHT:  # bounded: the reader does not run ahead of the workers
            path, moved, result = waiting.popleft()
            yield path, moved, result.result()
    for path, moved, result in waiting:
        yield path, moved, result.result()


@contextlib.contextmanager
def _worker_pool(workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """`spawn` on every system: the same everywhere, and safe beside the threads of a notebook. One worker is no pool."""
    if workers == 1:
        yield None
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise CourseError(
            "um dos processos de trabalho terminou de repente (memória cheia, talvez).",
            'Rode de novo com workers=1; em um script seu, chame prep dentro de `if __name__ == "__main__":`.',
            where="afina prep",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    parent = multiprocessing.parent_process()

    def leave_with_parent() -> None:  # a killed parent cannot tell us
        parent.join()
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


# --- writing ---------------------------------------------------------------------------------------------------------


class _ShardWriter:
    """The shards of one split, one open at a time, of exactly `shard_rows` rows but for the last."""

    def __init__(self, folder: Path, split: str, shard_rows: int):
        self.folder, self.split, self.shard_rows = folder, split, shard_rows
        self.done: list[dict] = []
        self._file: BinaryIO | None = None
        self._rows = 0

    def add(self, rows: list[bytes]) -> None:
        start = 0
        while start < len(rows):
            if self._file is None:
                self._path = self.folder / f"{self.split}-{len(self.done):05d}.jsonl"
                self._file, self._sha256, self._rows = self._path.open("xb"), hashlib.sha256(), 0
            part = rows[start : start + self.shard_rows - self._rows]
            data = b"\n".join(part) + b"\n"
            self._file.write(data)
            self._sha256.update(data)
            self._rows += len(part)
            start += len(part)
            if self._rows == self.shard_rows:
                self.close()

    def close(self) -> None:
        if self._file is not None:
            self.let_go()
            self._file = None
            self.done.append(_shard(self._path, self.split, self._rows, self._sha256.hexdigest()))

    def let_go(self) -> None:
        """Only close the file: Windows removes no folder with an open file in it."""
        if self._file is not None:
            self._file.close()


def _shard(path: Path, split: str, rows: int, sha256: str) -> dict:
    return {"file": path.name, "split": split, "rows": rows, "bytes": path.stat().st_size, "sha256": sha256}


def _to_parquet(folder: Path, shard: dict) -> dict:
    """The Parquet twin of a finished JSONL shard, a few thousand rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = folder / shard["file"]
    target = source.with_suffix(".parquet")
    names = Row.__struct_fields__
    schema = pa.schema([(name, pa.string()) for name in names])
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for block, _ in read_blocks(source, _ROW_GROUP_BYTES):
            rows = [_decode(line) for line in block.splitlines()]
            columns = [pa.array([getattr(row, name) for row in rows], pa.string()) for name in names]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    with target.open("rb") as file:
        return _shard(target, shard["split"], shard["rows"], hashlib.file_digest(file, "sha256").hexdigest())


# --- the report ------------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What was read, kept and dropped. `read == kept + sum(dropped.values())`; `str(report)` is a table to read.

    `checksum` covers every kept row with its split, in any order: two roads that agree on it wrote the same rows.
    `complete` is False when an input could not be read to its end (see `damaged`).
    """

    out: str
    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(
        default_factory=lambda: {reason: 0 for reason in REASONS if reason != "near_duplicate"}
    )
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    checksum: str = f"{0:016x}"
    broken: list[Broken] = field(default_factory=list)  # the first few; all are counted in `dropped`
    damaged: list[str] = field(default_factory=list)
    shards: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    ready: bool = False  # found done by an earlier run, not made now

    @property
    def complete(self) -> bool:
        return not self.damaged

    def count(self, batch: Batch) -> None:
        self.read += batch.read
        for reason, lines in batch.dropped.items():
            self.dropped[reason] += lines
        for split, rows in batch.rows.items():
            self.rows[split] += len(rows)
            self.kept += len(rows)
        self.checksum = f"{(int(self.checksum, 16) + batch.checksum) % 2**64:016x}"
        self.broken += batch.broken[: EXAMPLES_KEPT - len(self.broken)]
        self.damaged += batch.damaged

    def __str__(self) -> str:
        def line(name: str, rows: int) -> str:
            return f"  {name:<18}{_number(rows):>12}{_percent(rows, self.read):>10}"

        names = {"train": "treino", "validation": "validação", "test": "teste"}
        parts = [f"Catálogo em {self.out}", line("linhas lidas", self.read), line("aproveitadas", self.kept)]
        parts += [line(f"  {names[split]}", rows) for split, rows in self.rows.items()]
        parts += [line("descartadas", sum(self.dropped.values()))]
        parts += [line(f"  {REASONS[reason]}", rows) for reason, rows in self.dropped.items()]
        parts.append(f"  fragmentos        {len(self.shards):>12}   soma {self.checksum}")
        if not self.ready:
            speed = _number(round(self.read / self.seconds)) if self.seconds else "-"
            parts.append(f"  tempo             {self.seconds:>10.1f} s   {speed} linhas/s".replace(".", ",", 1))
        if self.broken:
            parts.append("Linhas quebradas:")
            parts += [f"  {broken.file}, linha {broken.line}: {broken.reason}." for broken in self.broken]
            if (more := self.dropped["broken"] - len(self.broken)) > 0:
                parts.append(f"  … e mais {_number(more)}.")
        parts += [f"Atenção: {text}" for text in self.damaged]
        return "\n".join(parts + self.notes)


def _number(value: int) -> str:
    return f"{value:,}".replace(",", ".")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %".replace(".", ",") if whole else ""


# --- the whole run ---------------------------------------------------------------------------------------------------


def prep(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    shard_rows: int = 100_000,
    formats: Sequence[str] = FORMATS,
    shares: Sequence[float] = SHARES,
    strict: bool = False,
    workers: int | None = None,
    ray: str | None = None,
    near_duplicates: float | None = None,
    progress: bool = True,
    force: bool = False,
) -> Report:
    """Clean, deduplicate, split and shard the catalogue `inputs` (files or patterns, plain or gzip) into the folder `out`.

    Writes `<split>-<number>.jsonl` and `.parquet` with uid, title and content, and `manifest.json`. An `out` that an
    equal call completed is reported and left as it is, unless `force`. `workers` is the number of processes (1: this
    one); `ray` the address of a Ray cluster that does the work instead ("auto" finds one). `near_duplicates`, a Jaccard
    similarity from 0.5 to 1, also drops rows that say almost what an earlier kept row says (`afina.data.near`); it costs
    about 2 KB of memory a row. Broken lines are counted and reported; with `strict` the first one raises. Raises
    CourseError; `out` is then as it was before.
    """
    started = time.perf_counter()
    out = Path(out)
    partial_folder = out.with_name(f"{out.name}.partial")
    _check(shard_rows, formats, workers, near_duplicates)
    assign_splits((), shares)  # refuses bad shares before anything is touched
    with _explained(out):
        files = _files(inputs, out)
        manifest = {
            "made_by": _MAKER,
            "inputs": [_fingerprint(path) for path in files],
            "settings": {"shard_rows": shard_rows, "formats": sorted(formats), "shares": list(shares)},
            "versions": {
                "afina": __version__,
                "python": platform.python_version(),
                "unicode": unicodedata.unidata_version,
            }
            | dict(versions_of(("msgspec", "xxhash", "isal"))),
        }
        if near_duplicates is not None:
            manifest["settings"]["near_duplicates"] = near_duplicates
            manifest["versions"] |= dict(versions_of(("rensa",)))
        old = _manifest_of(out)  # refuses a folder that is not ours
        if old and not force and _is_ready(out, old, manifest, strict):
            return _report_of(out, old)
        report, near = Report(str(out)), None
        if near_duplicates is not None:
            from afina.data.near import NearDuplicates

            near = NearDuplicates(near_duplicates)
            report.dropped["near_duplicate"] = 0
        _clear_stale(partial_folder, report)
        partial_folder.mkdir(parents=True)
        try:
            (partial_folder / _MANIFEST).write_text(
                json.dumps({"made_by": _MAKER, "complete": False}), encoding="utf-8"
            )
            total = sum(path.stat().st_size for path in files)
            workers = workers or (1 if total < _SMALL_BYTES or ray else min(2, os.cpu_count() or 1))
            with _worker_pool(workers) as pool:
                batches = (
                    _ray_road()(files, shares, ray, partial_folder, report.notes, near)
                    if ray
                    else _local_road(files, shares, pool, near)
                )
                shards = _write(batches, partial_folder, report, shard_rows, strict, total if progress else None)
                report.shards = _in_formats(partial_folder, shards, formats, pool)
            report.seconds = time.perf_counter() - started
            _write_manifest(partial_folder, report, manifest)
            _take_place(partial_folder, out)
        except BaseException:
            shutil.rmtree(partial_folder, ignore_errors=True)
            raise
    return report


def _write(
    batches: Iterable[Batch], folder: Path, report: Report, shard_rows: int, strict: bool, total: int | None
) -> list[dict]:
    writers = {split: _ShardWriter(folder, split, shard_rows) for split in SPLITS}
    bar = progress_bar(desc="catálogo", total=total, unit="B") if total is not None else None
    started = time.perf_counter()
    try:
        for batch in batches:
            if strict and batch.broken:
                bad = batch.broken[0]
                raise CourseError(
                    f"{bad.reason}.", "Corrija a linha, ou rode sem --strict.", f"{bad.file}, linha {bad.line}"
                )
            report.count(batch)
            for split, rows in batch.rows.items():
                writers[split].add(rows)
            if bar is not None:
                bar.set_postfix_str(
                    f"{_number(round(report.read / (time.perf_counter() - started)))} linhas/s", refresh=False
                )
                bar.update(batch.moved)
        for writer in writers.values():
            writer.close()
    finally:
        for writer in writers.values():
            writer.let_go()
        if bar is not None:
            bar.close()
    return [shard for writer in writers.values() for shard in writer.done]


def _in_formats(
    folder: Path, shards: list[dict], formats: Sequence[str], pool: ProcessPoolExecutor | None
) -> list[dict]:
    if "parquet" not in formats:
        return shards
    twins = list((pool.map if pool else map)(partial(_to_parquet, folder), shards))
    if "jsonl" in formats:
        return shards + twins
    for shard in shards:
        (folder / shard["file"]).unlink()
    return twins


def _ray_road():
    try:
        from afina.data.cluster import ray_road
    except ImportError as error:
        raise CourseError(
            f"falta {error.name} para usar um cluster.", "Instale com `pip install 'afina[cluster]'`.", "--ray"
        ) from error
    return ray_road


def _check(shard_rows: int, formats: Sequence[str], workers: int | None, near_duplicates: float | None) -> None:
    if near_duplicates is not None and not 0.5 <= near_duplicates <= 1:
        raise CourseError(
            f"{near_duplicates:g} não serve como limiar de quase iguais.",
            "Use de 0.5 (metade dos trechos em comum) a 1 (todos); 0.8 é um bom começo.",
            "near_duplicates",
        )
    if shard_rows < 1:
        raise CourseError("um fragmento precisa de pelo menos uma linha.", "Use, por exemplo, 100000.", "shard_rows")
    if workers is not None and workers < 1:
        raise CourseError("é preciso pelo menos um processo.", "Use 1 ou mais, ou deixe o padrão.", "workers")
    if not formats or isinstance(formats, str) or set(formats) - set(FORMATS):
        raise CourseError(f"não conheço {formats!r}.", 'Escolha entre "jsonl" e "parquet", ou os dois.', "formats")


def _files(inputs: str | Path | Sequence[str | Path], out: Path) -> list[Path]:
    """The input files in order; patterns such as `dados/*.json.gz` are opened here, for shells that do not."""
    found = []
    for item in [inputs] if isinstance(inputs, (str, Path)) else inputs:
        matches = [Path(item)] if Path(item).exists() else [Path(name) for name in sorted(glob.glob(str(item)))]
        found += matches or [Path(item)]  # let the opening say what is wrong with a plain name
    if not found:
        raise CourseError("nenhum arquivo de entrada.", "Dê pelo menos um arquivo JSON Lines.", "afina prep")
    for path in found:
        if out.resolve() in path.resolve().parents:
            raise CourseError("a entrada está dentro da pasta de saída.", "Escolha outra pasta de saída.", path)
    return found


def _fingerprint(path: Path) -> dict:
    """Name, size and hash. A second look at the file, but it stays in the system's cache: 2 % of the time."""
    digest, size = xxhash.xxh3_128(), 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return {"file": path.name, "bytes": size, "xxh3_128": digest.hexdigest()}


@contextlib.contextmanager
def _explained(out: Path) -> Iterator[None]:
    """The system's errors as one sentence for a person."""
    try:
        yield
    except OSError as error:
        where = error.filename or out
        if error.errno in _NO_SPACE:
            problem, remedy, where = "acabou o espaço em disco.", "Libere espaço ou escolha outra pasta com --out.", out
        elif isinstance(error, FileNotFoundError):
            problem, remedy = "não encontrei este arquivo.", "Confira o nome e a pasta."
        elif isinstance(error, PermissionError):
            problem, remedy = "sem permissão para ler ou gravar aqui.", "Mude as permissões ou escolha outra pasta."
        elif isinstance(error, (IsADirectoryError, NotADirectoryError)):
            problem, remedy = "esperava um arquivo e achei uma pasta, ou o contrário.", "Confira o caminho."
        else:
            problem, remedy = f"o sistema recusou: {error.strerror or error}.", "Confira o disco e o caminho."
        raise CourseError(problem, remedy, where) from error


# --- the output folder: ours or not, done or stale -------------------------------------------------------------------


def _manifest_of(folder: Path) -> dict | None:
    """The manifest of a folder that this engine made; None where there is nothing. Refuses anybody else's files."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    with contextlib.suppress(OSError, ValueError):
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if isinstance(manifest, dict) and manifest.get("made_by") == _MAKER:
            return manifest
    raise CourseError(
        "já existe e não foi feito pelo afina prep; não vou apagar nada.", "Escolha outra pasta de saída.", folder
    )


def _clear_stale(folder: Path, report: Report) -> None:
    if _manifest_of(folder) is not None:
        report.notes.append(f"Uma execução anterior foi interrompida: descartei {folder} e comecei de novo.")
    if folder.exists():
        shutil.rmtree(folder)


def _is_ready(out: Path, old: dict, new: dict, strict: bool) -> bool:
    """Made from the same inputs with the same settings, to the end, and still whole."""
    if not old.get("complete") or any(old.get(name) != value for name, value in new.items()):
        return False
    if strict and old["counts"]["dropped"]["broken"]:
        return False
    files = [(out / shard["file"], shard["bytes"]) for shard in old["shards"]]
    return all(path.is_file() and path.stat().st_size == size for path, size in files)


def _report_of(out: Path, manifest: dict) -> Report:
    account = manifest["counts"]
    note = f"{out} já está pronto, com as mesmas entradas e opções: nada a fazer (use --force para refazer)."
    return Report(
        str(out),
        **{name: account[name] for name in ("read", "kept", "dropped", "rows")},
        checksum=manifest["checksum"],
        broken=[Broken(**example) for example in manifest["broken"]],
        shards=manifest["shards"],
        notes=[note],
        ready=True,
    )


def _write_manifest(folder: Path, report: Report, head: dict) -> None:
    manifest = head | {
        "complete": report.complete,
        "damaged": report.damaged,
        "counts": {name: getattr(report, name) for name in ("read", "kept", "dropped", "rows")},
        "checksum": report.checksum,
        "broken": [broken._asdict() for broken in report.broken],
        "shards": report.shards,
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=2) + "\n"
    (folder / _MANIFEST).write_text(text, encoding="utf-8", newline="\n")


def _take_place(made: Path, out: Path) -> None:
    """The finished folder under its final name; an older one of ours steps aside first and then goes."""
    if not out.exists():
        os.replace(made, out)
    elif not any(out.iterdir()):
        out.rmdir()
        os.replace(made, out)
    else:
        old = out.with_name(f"{out.name}.old")
        if _manifest_of(old) is not None:
            shutil.rmtree(old)
        os.replace(out, old)
        os.replace(made, out)
        shutil.rmtree(old)


# --- the command -----------------------------------------------------------------------------------------------------


def main(argv: list[str]) -> int:
    """`afina prep`. Exit code 0 done, 1 an input could not be read to its end, 2 (CourseError) nothing done."""
    parser = argparse.ArgumentParser(prog="afina prep", description="Limpa, deduplica, divide e fragmenta um catálogo.")
    parser.add_argument(
        "inputs", nargs="+", metavar="ENTRADA", help="arquivo JSON Lines, puro ou gzip; aceita padrões (*)"
    )
    parser.add_argument("--out", required=True, metavar="PASTA", help="pasta de saída; só aparece quando tudo terminou")
    parser.add_argument(
        "--shard-rows", type=int, default=100_000, metavar="N", help="linhas por fragmento (padrão: 100000)"
    )
    parser.add_argument("--formats", default=",".join(FORMATS), metavar="LISTA", help="jsonl, parquet ou jsonl,parquet")
    parser.add_argument("--strict", action="store_true", help="para na primeira linha quebrada")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processos de trabalho (padrão: 2; 1 para arquivos pequenos)"
    )
    parser.add_argument(
        "--ray", metavar="ENDEREÇO", help='usa um cluster Ray ("auto" encontra um); pede o extra [cluster]'
    )
    parser.add_argument(
        "--near-duplicates",
        type=float,
        metavar="J",
        help="tira também as quase iguais: semelhança de Jaccard de pelo menos J (0.5 a 1) com uma linha anterior",
    )
    parser.add_argument("--force", action="store_true", help="refaz mesmo que a saída já esteja pronta")
    parser.add_argument("--json", action="store_true", help="relatório em JSON, para máquinas")
    options = vars(parser.parse_args(argv))
    as_json = options.pop("json")
    options["formats"] = tuple(options["formats"].split(","))
    report = prep(options.pop("inputs"), options.pop("out"), **options)
    if as_json:
        broken = [example._asdict() for example in report.broken]
        print(json.dumps(asdict(report) | {"broken": broken, "complete": report.complete}, ensure_ascii=False))
    else:
        print(report)
    return 0 if report.complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
