"""The folder of `afina prep`: a manifest that is true, ready or stale, and nobody else's files."""

import gzip
import hashlib
import json
import os
import subprocess
import sys

import pytest
from catalogue import row, rows_in

from afina import whole
from afina.data.account import PrepReport
from afina.data.folder import describe, is_ready, read_manifest, report_of, write_manifest
from afina.data.prep import prep
from afina.data.split import SPLITS
from afina.errors import CourseError

JSONL = ("jsonl",)


def test_shards_are_exact_and_the_manifest_is_true(tmp_path, source):
    import pyarrow.parquet as pq

    report = prep(source, tmp_path / "out", shard_rows=1_000)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["complete"] is True
    assert manifest["counts"] == {name: getattr(report, name) for name in ("read", "kept", "dropped", "rows")}
    assert manifest["checksum"] == report.checksum
    assert {shard["file"] for shard in manifest["shards"]} | {"manifest.json"} == set(os.listdir(tmp_path / "out"))
    for shard in manifest["shards"]:
        data = (tmp_path / "out" / shard["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard["bytes"], shard["sha256"])
    train = [
        shard["rows"] for shard in manifest["shards"] if shard["file"].startswith("train") and "jsonl" in shard["file"]
    ]
    assert train[:-1] == [1_000] * (len(train) - 1)
    assert sum(train) == report.rows["train"]
    for split in SPLITS:
        tables = [pq.read_table(path) for path in sorted((tmp_path / "out").glob(f"{split}-*.parquet"))]
        assert [product for table in tables for product in table.to_pylist()] == rows_in(tmp_path / "out", split)


def test_a_finished_folder_is_left_alone_until_something_changes(tmp_path, source):
    first = prep(source, tmp_path / "out", formats=JSONL)
    before = (tmp_path / "out" / "train-00000.jsonl").stat()
    again = prep(source, tmp_path / "out", formats=JSONL)
    assert again.ready
    assert "já está pronto" in str(again)
    assert (again.kept, again.dropped, again.checksum) == (first.kept, first.dropped, first.checksum)
    assert (tmp_path / "out" / "train-00000.jsonl").stat() == before

    assert not prep(source, tmp_path / "out", formats=JSONL, force=True).ready
    assert not prep(source, tmp_path / "out", formats=JSONL, shard_rows=1_000).ready
    (tmp_path / "out" / "train-00000.jsonl").unlink()
    assert not prep(source, tmp_path / "out", formats=JSONL, shard_rows=1_000).ready
    source.write_bytes(gzip.compress(row("1", "a", "b")))
    assert prep(source, tmp_path / "out", formats=JSONL, shard_rows=1_000).kept == 1
    assert sorted(os.listdir(tmp_path)) == ["out", source.name]


def test_a_foreign_folder_is_refused_and_kept(tmp_path, source):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tese.txt").write_text("anos de trabalho", encoding="utf-8")
    with pytest.raises(CourseError, match="não foi feito pelo afina prep"):
        prep(source, tmp_path / "out", force=True)
    assert (tmp_path / "out" / "tese.txt").read_text(encoding="utf-8") == "anos de trabalho"


@pytest.mark.parametrize("name", ["out.partial", "out.old"])
def test_what_a_person_keeps_beside_it_survives(tmp_path, source, name):
    """Also a folder that another run of ours has made: a backup is a backup."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "tese.txt").write_text("anos de trabalho", encoding="utf-8")
    backup = prep(source, tmp_path / f"{name}.old", formats=JSONL)
    for rows in (100_000, 1_000):  # the second takes the place of the first
        prep(source, tmp_path / "out", formats=JSONL, shard_rows=rows)
    assert (tmp_path / name / "tese.txt").read_text(encoding="utf-8") == "anos de trabalho"
    assert prep(source, tmp_path / f"{name}.old", formats=JSONL).ready and backup.kept
    assert sorted(os.listdir(tmp_path)) == sorted(["out", name, f"{name}.old", source.name])


def test_a_run_killed_between_two_renames_is_mended(tmp_path, source):
    """Where the system cannot swap names, the old folder steps aside first: the new one was whole by then."""
    kept = prep(source, tmp_path / "out", formats=JSONL).kept
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    (tmp_path / "out").rename(tmp_path / f".afina-{whole._room()}-{int(ended.stdout)}-0123abcd.out")
    (tmp_path / f".afina-{whole._room()}-{int(ended.stdout)}-4567cdef-old.out").mkdir()
    assert whole.interrupted(tmp_path / "out")
    report = prep(source, tmp_path / "out", formats=JSONL)
    assert report.ready and report.kept == kept
    assert sorted(os.listdir(tmp_path)) == ["out", source.name]


def test_a_manifest_gives_its_report_back(tmp_path):
    source = tmp_path / "a.json"
    source.write_bytes(b"")
    head = describe([source], {"near_duplicates": 0.8})
    assert head["inputs"][0]["file"] == "a.json" and "rensa" in head["versions"]
    report = PrepReport(str(tmp_path), read=1)
    report.dropped["broken"] = 1
    (tmp_path / "out").mkdir()
    assert read_manifest(tmp_path / "out") is None
    write_manifest(tmp_path / "out", report, head)
    manifest = read_manifest(tmp_path / "out")
    assert is_ready(tmp_path / "out", manifest, head, strict=False)
    assert not is_ready(
        tmp_path / "out", manifest, head, strict=True
    )  # a strict run would have refused the broken line
    assert not is_ready(tmp_path / "out", manifest, describe([], {}), strict=False)
    again = report_of(tmp_path / "out", manifest)
    assert again.ready and (again.read, again.dropped) == (1, report.dropped)
