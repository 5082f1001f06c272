"""The catalogue engine: raw JSON lines to clean, deduplicated, split shards, in bounded memory (`afina prep`).

    file(s) ─▶ blocks of whole lines ─▶ prepare(block) in two processes ─▶ duplicates out ─▶ shards, in order ─▶ manifest

From the blocks to the rows without duplicates leads a road: the local one is here, another can be handed in.
"""

import contextlib
import errno
import glob
import importlib.metadata
import multiprocessing
import os
import signal
import threading
import time
import tomllib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from afina import whole
from afina.data.account import REASONS, Broken, PrepReport, RowBatch, damage_notes
from afina.data.folder import (
    MANIFEST,
    ShardWriter,
    describe,
    is_ready,
    read_manifest,
    report_of,
    to_parquet,
    write_manifest,
)
from afina.data.near import NearDuplicates
from afina.data.reading import Damaged, read_blocks
from afina.data.rows import Table, encode_rows, prepare, sketch_rows
from afina.data.split import SHARES, SPLITS, assign_splits
from afina.errors import CourseError, require
from afina.ptbr import number, plural
from afina.runtime import progress as progress_bar

FORMATS = ("jsonl", "parquet")
BLOCK_BYTES = 1 << 19  # fits a processor's cache: larger blocks are slower
_IN_FLIGHT = 8  # blocks between reader and writer
_SMALL_BYTES = 8 << 20  # below this, starting two processes takes longer than the work
_REFUSED = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["refused"]

# From files to batches in the order of the input: (files, shares, index of near-duplicates, folder for scratch files, notes for the
# report). The scratch files are gone at the end.
Road = Callable[[Sequence[Path], Sequence[float], NearDuplicates | None, Path, list[str]], Iterator[RowBatch]]


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
    road: Road | None = None,
    near_duplicates: float | None = None,
    progress: bool = True,
    force: bool = False,
) -> PrepReport:
    """Clean, deduplicate, split and shard the catalogue `inputs` (files or patterns, plain or gzip) into the folder `out`.

    Writes `<split>-<number>.jsonl` and `.parquet` with uid, title and content, and `manifest.json`. An `out` that an
    equal call completed is reported and left as it is, unless `force`. `workers` is the number of processes (1: this
    one); `ray` the address of a Ray cluster that does the work instead ("auto" finds one), `road` any other way to do it.
    `near_duplicates`, a Jaccard similarity from 0.5 to 1, also drops rows that say almost what an earlier kept row says
    (`afina.data.near`); it costs about 2 KB of memory a row. Broken lines are counted and reported; with `strict` the
    first one raises. Raises CourseError, also where no row at all is kept; `out` is then as it was before.
    """
    started = time.perf_counter()
    out, near = Path(out), None if near_duplicates is None else NearDuplicates(near_duplicates)
    require(shard_rows >= 1, "um fragmento precisa de pelo menos uma linha.", "Use, por exemplo, 100000.", "shard_rows")
    some = workers is None or workers >= 1
    require(some, "é preciso pelo menos um processo.", "Use 1 ou mais, ou deixe o padrão.", "workers")
    known = formats and not isinstance(formats, str) and set(formats) <= set(FORMATS)
    require(known, f"não conheço {formats!r}.", 'Escolha entre "jsonl" e "parquet", ou os dois.', "formats")
    assign_splits((), shares)  # refuses bad shares before anything is touched
    if ray:
        road = partial(_ray_road(), ray)
    settings: dict = {"shard_rows": shard_rows, "formats": sorted(formats), "shares": list(shares)}
    if near:
        settings["near_duplicates"] = near_duplicates
    with _explained(out):
        files = _files(inputs, out)
        head = describe(files, settings)
        interrupted = whole.interrupted(out)
        old = read_manifest(whole.mend(out))  # refuses a folder that is not ours
        if old and not force and is_ready(out, old, head, strict):
            return report_of(out, old)
        report = PrepReport(str(out))
        if interrupted:
            report.notes.append("Uma execução anterior foi interrompida: descartei o que ela deixou e comecei de novo.")
        if near:
            report.dropped["near_duplicate"] = 0
        total = sum(path.stat().st_size for path in files)
        workers = workers or (1 if total < _SMALL_BYTES or road else min(2, os.cpu_count() or 1))
        with whole.new_folder(out, marks=(MANIFEST,)) as made, _worker_pool(workers) as pool:
            batches = (road or partial(_local_road, pool))(files, shares, near, made, report.notes)
            with progress_bar(desc="catálogo", total=total, unit="B", disable=not progress) as bar:
                shards = _write(batches, made, report, shard_rows, strict, bar)
            if not report.kept:
                raise _nothing_kept(report, files)
            report.shards = _in_formats(made, shards, formats, pool)
            report.seconds = time.perf_counter() - started
            write_manifest(made, report, head)
    return report


def _write(
    batches: Iterable[RowBatch], folder: Path, report: PrepReport, shard_rows: int, strict: bool, bar
) -> list[dict]:
    writers = {split: ShardWriter(folder, split, shard_rows) for split in SPLITS}
    started = time.perf_counter()
    with contextlib.ExitStack() as at_the_end:
        for writer in writers.values():
            at_the_end.callback(writer.close)  # also on an error: Windows removes no folder with an open file in it
        for batch in batches:
            if strict and batch.broken:
                file, line, reason = batch.broken[0]
                raise CourseError(f"{reason}.", "Corrija a linha, ou rode sem --strict.", f"{file}, linha {line}")
            report.count(batch)
            for split, rows in batch.rows.items():
                writers[split].add(rows)
            speed = report.read / (time.perf_counter() - started)
            bar.set_postfix_str(f"{number(speed)} linhas/s", refresh=False)
            bar.update(batch.moved)
    return [shard for writer in writers.values() for shard in writer.done]


def _in_formats(
    folder: Path, shards: list[dict], formats: Sequence[str], pool: ProcessPoolExecutor | None
) -> list[dict]:
    if "parquet" not in formats:
        return shards
    twins = list((pool.map if pool else map)(partial(to_parquet, folder), shards))
    if "jsonl" in formats:
        return shards + twins
    for shard in shards:
        (folder / shard["file"]).unlink()
    return twins


def _nothing_kept(report: PrepReport, files: Sequence[Path]) -> CourseError:
    """A run that kept nothing is a failure: how many lines there were, and what was wrong with the first."""
    lost = [f"{number(lines)} {REASONS[reason]}" for reason, lines in report.dropped.items() if lines]
    problem = f"nenhuma linha foi aproveitada, de {plural(report.read, 'lida')}"
    problem += f" ({', '.join(lost)})" * bool(lost)
    problem += "".join(f"; {bad.file}, linha {bad.line}: {bad.reason}" for bad in report.broken[:1])
    problem += "".join(f"; {text.removesuffix('.')}" for text in report.damaged)
    remedy = "Cada linha deve ser um objeto JSON com uid, title e content, em texto."
    return CourseError(f"{problem}.", remedy, files[0])


def _ray_road() -> Callable[..., Iterator[RowBatch]]:
    """Whoever brings the cluster's road registers it as an entry point, so that no module of an extra is named here."""
    found = list(importlib.metadata.entry_points(group="afina.roads", name="ray"))
    remedy = "Instale com `pip install 'afina[cluster]'`."
    require(found, "esta instalação não sabe usar um cluster.", remedy, "--ray")
    return found[0].load()


def _files(inputs: str | Path | Sequence[str | Path], out: Path) -> list[Path]:
    """The input files in order; patterns such as `dados/*.json.gz` are opened here, for shells that do not."""
    found: list[Path] = []
    for item in [inputs] if isinstance(inputs, (str, Path)) else inputs:
        matches = [Path(item)] if Path(item).exists() else [Path(name) for name in sorted(glob.glob(str(item)))]
        found += matches or [Path(item)]  # let the opening say what is wrong with a plain name
    require(found, "nenhum arquivo de entrada.", "Dê pelo menos um arquivo JSON Lines.", "afina prep")
    for path in found:
        whole.refuse_stream(path)
        if Path(os.path.realpath(out)) in Path(os.path.realpath(path)).parents:  # resolve() gives up on a loop of links
            raise CourseError("a entrada está dentro da pasta de saída.", "Escolha outra pasta de saída.", path)
    return found


@contextlib.contextmanager
def _explained(out: Path) -> Iterator[None]:
    """The system's errors as one sentence for a person."""
    try:
        yield
    except OSError as error:
        general = (f"o sistema recusou: {error.strerror or error}.", "Confira o disco e o caminho.")
        problem, remedy = _REFUSED.get(errno.errorcode.get(error.errno or 0), general)
        aside = ".afina-" in str(error.filename)  # the name that the folder has until it is whole is nobody's business
        raise CourseError(problem, remedy, error.filename if error.filename and not aside else out) from error


def _pack(block: bytes, shares: Sequence[float], near: bool) -> tuple[Table, tuple[list, ...]]:
    """What a worker gives back: the account, in a table that keeps no rows, and the columns of those encoded, which is smaller.

    They are key, split, line, sum and sketch; no sketch where near-duplicates may stay.
    """
    table = prepare(block, shares)
    columns = table.key, table.split, *encode_rows(table), sketch_rows(table) if near else [None] * len(table.rows)
    table.rows, table.line = [], []
    return table, columns


def _local_road(
    pool: ProcessPoolExecutor | None,
    files: Sequence[Path],
    shares: Sequence[float],
    near: NearDuplicates | None,
    scratch: Path,
    notes: list[str],
) -> Iterator[RowBatch]:
    seen: set[int] = set()  # hashes, not texts: 100 MB per million rows
    lines_of: Counter[Path] = Counter()
    problems: dict[Path, str] = {}
    pack = partial(_pack, shares=shares, near=near is not None)
    for path, moved, (table, columns) in _packed_in_order(_all_blocks(files, problems), pack, pool):
        batch = RowBatch(read=table.read, dropped=table.dropped, moved=moved)
        batch.broken = [Broken(str(path), lines_of[path] + line, reason) for line, reason in table.broken]
        lines_of[path] += table.read
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
    yield RowBatch(damaged=damage_notes(problems, lines_of))


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
    blocks: Iterable[tuple[Path, int, bytes]], pack: Callable[[bytes], tuple], pool: ProcessPoolExecutor | None
) -> Iterator[tuple[Path, int, tuple]]:
    if pool is None:
        yield from ((path, moved, pack(block)) for path, moved, block in blocks)
        return
    waiting: deque = deque()
    for path, moved, block in blocks:
        waiting.append((path, moved, pool.submit(pack, block)))
        if len(waiting) > _IN_FLIGHT:  # bounded: the reader does not run ahead of the workers
            path, moved, result = waiting.popleft()
            yield path, moved, result.result()
    yield from ((path, moved, result.result()) for path, moved, result in waiting)


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
        remedy = 'Rode de novo com workers=1; em um script seu, chame prep dentro de `if __name__ == "__main__":`.'
        problem = "um dos processos de trabalho terminou de repente (memória cheia, talvez)."
        raise CourseError(problem, remedy, "afina prep") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    parent = multiprocessing.parent_process()

    def leave_with_parent() -> None:  # a killed parent cannot tell us
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
