"""The folder that `afina prep` makes: its shards, its manifest, and whether an earlier run left it ready."""

import contextlib
import json
import platform
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import xxhash

from afina import __version__
from afina.data.account import Broken, PrepReport
from afina.data.reading import digest_of, read_blocks
from afina.data.rows import Row, decode_row
from afina.errors import CourseError, require
from afina.runtime import versions_of

MANIFEST = "manifest.json"
_MAKER = "afina prep"
_ROW_GROUP_BYTES = 16 << 20
_COUNTS = ("read", "kept", "dropped", "rows")


class ShardWriter:
    """The shards of one split, one open at a time, of exactly `shard_rows` rows but for the last."""

    def __init__(self, folder: Path, split: str, shard_rows: int):
        self.folder, self.split, self.shard_rows = folder, split, shard_rows
        self.done: list[dict] = []
        self._file: BinaryIO | None = None
        self._rows = 0

    def add(self, rows: list[bytes]) -> None:
        while rows:
            if self._file is None:
                self._path = self.folder / f"{self.split}-{len(self.done):05d}.jsonl"
                self._file, self._rows = self._path.open("xb"), 0
            room = self.shard_rows - self._rows
            part, rows = rows[:room], rows[room:]
            self._file.write(b"\n".join(part) + b"\n")
            self._rows += len(part)
            if self._rows == self.shard_rows:
                self.close()

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()
            self.done.append(_shard(self._path, self.split, self._rows))


def to_parquet(folder: Path, shard: dict) -> dict:
    """The Parquet twin of a finished JSONL shard, a few thousand rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = folder / shard["file"]
    target = source.with_suffix(".parquet")
    names = Row.__struct_fields__
    schema = pa.schema([(name, pa.string()) for name in names])
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for block, _ in read_blocks(source, _ROW_GROUP_BYTES):
            rows = [decode_row(line) for line in block.splitlines()]
            columns = [pa.array([getattr(row, name) for row in rows], pa.string()) for name in names]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return _shard(target, shard["split"], shard["rows"])


def _shard(path: Path, split: str, rows: int) -> dict:
    size, sha256 = path.stat().st_size, digest_of(path)
    return {"file": path.name, "split": split, "rows": rows, "bytes": size, "sha256": sha256}


def describe(files: Sequence[Path], settings: dict) -> dict:
    """The head of a manifest: what decides the rows. Equal heads are equal catalogues, on every machine."""
    libraries = ("msgspec", "xxhash", "isal") + (("rensa",) if "near_duplicates" in settings else ())
    python = {"afina": __version__, "python": platform.python_version(), "unicode": unicodedata.unidata_version}
    return {
        "made_by": _MAKER,
        "inputs": [_fingerprint(path) for path in files],
        "settings": settings,
        "versions": python | dict(versions_of(libraries)),
    }


def _fingerprint(path: Path) -> dict:
    """Name, size and hash. A second look at the file, but it stays in the system's cache: 2 % of the time."""
    return {"file": path.name, "bytes": path.stat().st_size, "xxh3_128": digest_of(path, xxhash.xxh3_128)}


def read_manifest(folder: Path) -> dict | None:
    """The manifest of a folder that this engine made; None where there is nothing. Refuses anybody else's files."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    with contextlib.suppress(OSError, ValueError):
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if isinstance(manifest, dict) and manifest.get("made_by") == _MAKER:
            ours = {MANIFEST, *(Path(shard["file"]).parts[0] for shard in manifest.get("shards", ()))}
            others = sorted({one.name for one in folder.iterdir()} - ours)
            problem = f"há aqui o que o afina prep não fez ({', '.join(others[:3])}), e não vou apagar nada."
            require(not others, problem, "Tire-o daqui, ou escolha outra pasta de saída.", folder)
            return manifest
    problem = "já existe e não foi feito pelo afina prep; não vou apagar nada."
    raise CourseError(problem, "Escolha outra pasta de saída.", folder)


def write_manifest(folder: Path, report: PrepReport, head: dict) -> None:
    manifest = head | {
        "complete": report.complete,
        "damaged": report.damaged,
        "counts": {name: getattr(report, name) for name in _COUNTS},
        "checksum": report.checksum,
        "broken": [broken._asdict() for broken in report.broken],
        "shards": report.shards,
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")


def is_ready(out: Path, manifest: dict, head: dict, strict: bool) -> bool:
    """Made from the same inputs with the same settings, to the end, and still whole."""
    if not manifest.get("complete") or any(manifest.get(name) != value for name, value in head.items()):
        return False
    if strict and manifest["counts"]["dropped"]["broken"]:
        return False
    files = [(out / shard["file"], shard["bytes"]) for shard in manifest["shards"]]
    return all(path.is_file() and path.stat().st_size == size for path, size in files)


def report_of(out: Path, manifest: dict) -> PrepReport:
    """The report of the run that made the folder."""
    note = f"{out} já está pronto, com as mesmas entradas e opções: nada a fazer (use --force para refazer)."
    return PrepReport(
        str(out),
        **{name: manifest["counts"][name] for name in _COUNTS},
        checksum=manifest["checksum"],
        broken=[Broken(**example) for example in manifest["broken"]],
        shards=manifest["shards"],
        notes=[note],
        ready=True,
    )
