"""The catalogue engine: right rows, right account, and a clean folder whatever goes wrong."""

import dataclasses
import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.data import catalog
from afina.data.catalog import Damaged, main, prep, prepare, read_blocks
from afina.data.clean import RULES
from afina.data.split import SPLITS, assign_splits
from afina.data.synthetic import catalogue_lines
from afina.errors import CourseError

JSONL = ("jsonl",)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("AFINA_PROGRESS", "0")


@pytest.fixture(scope="module")
def lines():
    return list(catalogue_lines(4_000, seed=7))


@pytest.fixture
def source(tmp_path, lines):
    path = tmp_path / "trn.json.gz"
    path.write_bytes(gzip.compress(joined(lines), 1))
    return path


def joined(lines):
    return b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines)


def row(uid, title, content, **more):
    return json.dumps({"uid": uid, "title": title, "content": content, **more}).encode()


def rows_in(folder, split):
    shards = sorted(Path(folder).glob(f"{split}-*.jsonl"))
    return [json.loads(line) for shard in shards for line in shard.read_text(encoding="utf-8").splitlines()]


def shard_bytes(folder):
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.jsonl")}


# --- the rows and their account --------------------------------------------------------------------------------------


def test_every_kind_of_line_is_accounted_for(tmp_path):
    good = row("1", "Caf&eacute; &amp; <b>Bar</b>", "  um\n dois ", target_ind=[1, 2], target_rel=[1.0, 1.0])
    content = [
        b"\xef\xbb\xbf" + good + b"\r",
        b"",
        row("2", "Café Bar", "um dois") + b"\r",  # the same text once it is clean
        b'{"uid": "3", "title": "cortada", "content": "no me',
        row("4", "", "x"),
        row("5", "<br>", "!!!"),
        row("6", "x", "&nbsp;"),
        b'{"uid": "7", "title": null, "content": "x"}',
        b'{"uid": "8", "title": "sem conte\xc3\xbado"}',
        b'["uid", "title"]',
        '{"uid": "9", "title": "latino é", "content": "x"}'.encode("latin-1"),
        b'{"uid": "10", "title": "\\ud800", "content": "x"}',
        b"   ",
        b'{"uid": "11", "title": "x", "content": "y", "deep": ' + b"[" * 100_000,
        row("12", "CAFÉ BAR", "um dois"),
    ]
    path = tmp_path / "a.json"
    path.write_bytes(b"\n".join(content))  # and no newline at the end
    report = prep(path, tmp_path / "out", formats=JSONL)

    assert (report.read, report.kept) == (15, 2)
    assert report.dropped == {"blank": 2, "broken": 7, "empty_title": 2, "empty_content": 1, "duplicate": 1}
    kept = [product for split in SPLITS for product in rows_in(tmp_path / "out", split)]
    assert sorted(product["uid"] for product in kept) == ["1", "12"]
    assert {"uid": "1", "title": "Café Bar", "content": "um dois"} in kept
    reasons = {broken.line: broken.reason for broken in report.broken}
    assert list(reasons) == [4, 8, 9, 10, 11, 12, 14]
    assert reasons[4] == "JSON cortado antes do fim"
    assert reasons[8] == 'o campo "title" deveria ser texto, e é null'
    assert reasons[9] == 'falta o campo "content"'
    assert reasons[10] == "a linha deveria ser objeto, e é lista"
    assert reasons[11] == "há bytes que não são UTF-8"
    assert "a.json, linha 4: JSON cortado" in str(report)


def test_the_engine_and_pandas_give_the_same_rows(tmp_path, source, lines):
    import pandas as pd

    good = []
    for line in lines:
        try:
            product = json.loads(line)
            good.append({name: product[name] for name in ("uid", "title", "content")})
        except (ValueError, KeyError, TypeError):
            continue
    frame = pd.DataFrame(good)
    frame = frame[frame.map(lambda value: isinstance(value, str)).all(axis=1)]
    for rule in RULES:
        frame["title"], frame["content"] = frame["title"].map(rule), frame["content"].map(rule)
    frame = frame[(frame["title"] != "") & (frame["content"] != "")].drop_duplicates(["title", "content"])
    frame["split"] = assign_splits(frame["title"])

    report = prep(source, tmp_path / "out", formats=JSONL)
    assert report.read == len(lines)
    assert report.read == report.kept + sum(report.dropped.values())
    assert min(report.dropped["broken"], report.dropped["duplicate"], report.dropped["empty_content"]) > 0
    for split in SPLITS:
        expected = frame[frame["split"] == split].drop(columns="split").to_dict("records")
        assert rows_in(tmp_path / "out", split) == expected
        assert report.rows[split] == len(expected) > 0


def test_two_processes_write_what_one_writes(tmp_path, source, monkeypatch):
    monkeypatch.setattr(catalog, "BLOCK_BYTES", 50_000)
    two = prep(source, tmp_path / "two", workers=2, shard_rows=500)
    monkeypatch.setattr(catalog, "BLOCK_BYTES", 70_001)
    one = prep(source, tmp_path / "one", workers=1, shard_rows=500)
    assert shard_bytes(tmp_path / "one") == shard_bytes(tmp_path / "two")
    assert dataclasses.replace(one, out="", seconds=0) == dataclasses.replace(two, out="", seconds=0)


def test_several_files_and_patterns_keep_order_and_line_numbers(tmp_path):
    (tmp_path / "b.json").write_bytes(row("3", "a", "b") + b"\nquebrada\n")
    (tmp_path / "a.json").write_bytes(b"\n".join([row("1", "a", "b"), b"{", row("2", "c", "d")]))
    report = prep(str(tmp_path / "?.json"), tmp_path / "out", formats=JSONL)
    uids = {product["uid"] for split in SPLITS for product in rows_in(tmp_path / "out", split)}
    assert uids == {"1", "2"}
    assert [(Path(broken.file).name, broken.line) for broken in report.broken] == [("a.json", 2), ("b.json", 2)]


def test_many_broken_lines_are_counted_and_few_shown(tmp_path):
    (tmp_path / "a.json").write_bytes(b"{\n" * 1_000)
    report = prep(tmp_path / "a.json", tmp_path / "out", formats=JSONL)
    assert report.dropped["broken"] == 1_000
    assert len(report.broken) == 20
    assert "e mais 980" in str(report)


def test_empty_input_is_an_empty_catalogue(tmp_path):
    (tmp_path / "a.json").write_bytes(b"")
    report = prep(tmp_path / "a.json", tmp_path / "out")
    assert (report.read, report.kept, report.shards, report.complete) == (0, 0, [], True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=30) | st.sampled_from([row("1", "a", "b"), b"", b"{}", b'{"title": 1e999}', b"\r"])))
def test_no_line_crashes_the_engine(lines):
    table = prepare(b"\n".join(lines))
    assert table.read == len(table.rows) + sum(table.dropped.values())


# --- splits ----------------------------------------------------------------------------------------------------------


def test_splits_follow_the_title_alone():
    titles = [f"Produto {i}" for i in range(20_000)]
    splits = assign_splits(titles)
    assert assign_splits(reversed([title.upper() for title in titles])) == splits[::-1]
    shares = {split: splits.count(split) / len(splits) for split in SPLITS}
    assert shares == pytest.approx({"train": 0.90, "validation": 0.05, "test": 0.05}, abs=0.01)
    assert assign_splits(["Café", "produto 1", ""]) == ["train", "train", "train"]  # fixed for ever, on every machine


def test_shares_can_be_chosen():
    titles = [str(i) for i in range(500)]
    assert set(assign_splits(titles, (0, 0, 1))) == {"test"}
    assert set(assign_splits(titles, (1, 0, 0))) == {"train"}
    assert set(assign_splits(titles, (0, 1, 0))) == {"validation"}
    for bad in [(0.5, 0.5), (0.9, 0.2, -0.1), (0.5, 0.2, 0.2)]:
        with pytest.raises(CourseError, match="somem 1"):
            assign_splits(titles, bad)


def test_adding_lines_moves_no_row_and_order_does_not_change_the_sum(tmp_path, lines):
    unique = {}
    for line in lines:
        for product in prepare(line).rows:
            unique.setdefault((product.title, product.content), line)
    lines = list(unique.values())
    for name, some in {"half": lines[::2], "all": lines, "mixed": random.Random(1).sample(lines, len(lines))}.items():
        (tmp_path / f"{name}.json").write_bytes(joined(some))
    reports = {
        name: prep(tmp_path / f"{name}.json", tmp_path / name, formats=JSONL) for name in ("half", "all", "mixed")
    }
    for split in SPLITS:
        uids = [{product["uid"] for product in rows_in(tmp_path / name, split)} for name in ("half", "all")]
        assert uids[0] < uids[1]
    assert reports["all"].checksum == reports["mixed"].checksum != reports["half"].checksum


# --- shards and manifest ---------------------------------------------------------------------------------------------


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


def test_parquet_alone_leaves_no_jsonl(tmp_path, source):
    report = prep(source, tmp_path / "out", formats=("parquet",))
    assert [shard["file"] for shard in report.shards] == [f"{split}-00000.parquet" for split in SPLITS]
    assert not list((tmp_path / "out").glob("*.jsonl"))


def test_the_jsonl_road_imports_nothing_heavy(tmp_path, source):
    code = (
        "import sys; from afina.data.catalog import prep; prep(sys.argv[1], sys.argv[2], formats=('jsonl',));"
        "print({'pyarrow', 'pandas', 'numpy', 'torch', 'daft', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, source, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert done.stdout.strip() == "set()"


# --- reading ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40)), st.integers(1, 200), st.booleans())
def test_blocks_are_whole_lines_and_lose_nothing(tmp_path_factory, parts, size, zipped):
    path = tmp_path_factory.mktemp("blocks") / "x"
    data = b"x" + b"\n".join(parts)
    path.write_bytes(gzip.compress(data[:20]) + gzip.compress(data[20:]) + bytes(7) if zipped else data)
    blocks = [block for block, _ in read_blocks(path, size)]
    assert b"".join(blocks) == data
    assert all(block.endswith(b"\n") for block in blocks[:-1])


@pytest.mark.parametrize(
    ("harm", "message", "kept"),
    [
        (lambda data: data[: len(data) // 2], "cortado antes do fim", "some"),
        (lambda data: data[:-1], "cortado antes do fim", "all"),
        (lambda data: data[:-8] + b"\0\0\0\0" + data[-4:], "CRC", "all"),
        (lambda data: data + b"lixo", "corrompidos|cortado", "all"),
        (lambda data: data[:-6_000] + bytes(range(256)) + data[-5_744:], "corrompidos|CRC", "some"),
        (lambda data: data + data[: len(data) // 2], "cortado antes do fim", "more"),
    ],
)
def test_a_damaged_gzip_keeps_what_was_readable(tmp_path, lines, capsys, harm, message, kept):
    text = joined(lines)
    path = tmp_path / "a.gz"
    path.write_bytes(harm(gzip.compress(text)))
    got = b""
    with pytest.raises(Damaged, match=message):
        for block, _ in read_blocks(path, 100_000):
            got += block
    if kept == "all":
        assert got == text
    else:  # what follows damaged bytes may decode to something else before anybody can know
        sure = len(text) if kept == "more" else len(text) // 3
        assert got[:sure] == text[:sure]
    assert got.endswith(b"\n")

    assert main([str(path), "--out", str(tmp_path / "out"), "--formats", "jsonl"]) == 1
    said = capsys.readouterr().out
    number = f"{got.count(bytes([10])):,}".replace(",", ".")
    assert f"parou depois da linha {number}" in said
    assert json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["complete"] is False
    assert main([str(path), "--out", str(tmp_path / "out"), "--formats", "jsonl"]) == 1  # never taken for done
    assert "já está pronto" not in capsys.readouterr().out


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_strict_names_file_and_line_and_leaves_nothing(tmp_path):
    (tmp_path / "a.json").write_bytes(row("1", "a", "b") + b"\n{\n")
    with pytest.raises(CourseError, match=r"a\.json, linha 2: JSON cortado"):
        prep(tmp_path / "a.json", tmp_path / "out", strict=True)
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interruption_leaves_nothing(tmp_path, source, monkeypatch, workers):
    def interrupted(self, rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog._ShardWriter, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prep(source, tmp_path / "out", workers=workers)
    assert os.listdir(tmp_path) == [source.name]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_run_is_discarded_and_done_again(tmp_path, source):
    import psutil

    code = (
        "import sys, time; from afina.data import catalog; write = catalog._ShardWriter.add\n"
        "def slow(self, rows): write(self, rows); time.sleep(5)\n"
        "catalog._ShardWriter.add = slow; catalog.prep(sys.argv[1], sys.argv[2], workers=2)"
    )
    run = subprocess.Popen([sys.executable, "-c", code, source, tmp_path / "out"])
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("out.partial/*.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    family = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.wait()
    assert psutil.wait_procs(family, timeout=10)[1] == []  # no orphans
    assert not (tmp_path / "out").exists()

    report = prep(source, tmp_path / "out", formats=JSONL)
    assert "foi interrompida" in str(report)
    assert sorted(os.listdir(tmp_path)) == ["out", source.name]
    assert report.checksum == prep(source, tmp_path / "again", formats=JSONL).checksum


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


@pytest.mark.parametrize("name", ["out", "out.partial"])
def test_a_foreign_folder_is_refused_and_kept(tmp_path, source, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "tese.txt").write_text("anos de trabalho", encoding="utf-8")
    with pytest.raises(CourseError, match="não foi feito pelo afina prep"):
        prep(source, tmp_path / "out", force=True)
    assert (tmp_path / name / "tese.txt").read_text(encoding="utf-8") == "anos de trabalho"


def test_an_input_inside_the_output_is_refused(tmp_path, source):
    prep(source, tmp_path / "out", formats=JSONL)
    with pytest.raises(CourseError, match="dentro da pasta de saída"):
        prep(tmp_path / "out" / "train-00000.jsonl", tmp_path / "out")


@pytest.mark.skipif(os.name != "posix", reason="a file size limit stands in for a full disk")
@pytest.mark.parametrize("formats", ["jsonl", "jsonl,parquet"])
def test_a_full_disk_gets_one_clear_sentence(tmp_path, source, formats):
    code = (
        "import resource, sys; from afina.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "prep", source, "--out", tmp_path / "out", "--formats", formats]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "acabou o espaço em disco" in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == [source.name]


def test_a_missing_file_gets_one_clear_sentence(tmp_path):
    with pytest.raises(CourseError, match=r"nada\.json: não encontrei este arquivo"):
        prep(tmp_path / "nada.json", tmp_path / "out")
    with pytest.raises(CourseError, match="não encontrei este arquivo"):
        prep(str(tmp_path / "*.json"), tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_forbidden_folder_gets_one_clear_sentence(tmp_path, source):
    (tmp_path / "fechada").mkdir(mode=0o500)
    with pytest.raises(CourseError, match="sem permissão"):
        prep(source, tmp_path / "fechada" / "out")


def test_the_errors_of_the_system_are_told_apart(tmp_path):
    for error, words in [
        (PermissionError(13, "Permission denied", "x"), "sem permissão"),
        (OSError(28, "No space left on device"), "acabou o espaço"),
        (IsADirectoryError(21, "Is a directory", "x"), "uma pasta"),
        (OSError(5, "Input/output error", "x"), "o sistema recusou: Input/output error"),
    ]:
        with pytest.raises(CourseError, match=words), catalog._explained(tmp_path):
            raise error


@pytest.mark.parametrize(
    ("options", "where"),
    [({"shard_rows": 0}, "shard_rows"), ({"formats": ("csv",)}, "formats"), ({"workers": 0}, "workers")],
)
def test_bad_options_are_named(tmp_path, source, options, where):
    with pytest.raises(CourseError) as caught:
        prep(source, tmp_path / "out", **options)
    assert caught.value.where == where
    assert os.listdir(tmp_path) == [source.name]


def test_the_command_line(tmp_path, source, capsys):
    command = [str(source), "--out", str(tmp_path / "out"), "--formats", "jsonl", "--shard-rows", "1000"]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["read"] == report["kept"] + sum(report["dropped"].values())
    assert report["complete"] is True
    assert set(report["broken"][0]) == {"file", "line", "reason"}
    assert main(command) == 0
    assert "linhas lidas" in capsys.readouterr().out
