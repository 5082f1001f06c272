"""The catalogue engine: right rows on every road, and a clean folder whatever goes wrong."""

import dataclasses
import gzip
import importlib.metadata
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from catalogue import joined, row, rows_in, shard_bytes

from afina.cli import main
from afina.data import folder
from afina.data import prep as engine
from afina.data.account import RowBatch
from afina.data.clean import RULES
from afina.data.prep import prep
from afina.data.rows import prepare
from afina.data.split import SPLITS, assign_splits
from afina.errors import CourseError

JSONL = ("jsonl",)


# --- the rows --------------------------------------------------------------------------------------------------------


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
    monkeypatch.setattr(engine, "BLOCK_BYTES", 50_000)
    two = prep(source, tmp_path / "two", workers=2, shard_rows=500)
    monkeypatch.setattr(engine, "BLOCK_BYTES", 70_001)
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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"a\.json: nenhuma linha foi aproveitada, de 0 lidas\."),
        (b"\n{\n" * 1_000, r"de 2\.000 lidas \(1\.000 em branco, 1\.000 quebradas\); .*a\.json, linha 2: JSON cortado"),
        (gzip.compress(b"x" * 99)[:-9], r"de 0 lidas; .*o gzip foi cortado antes do fim"),
    ],
    ids=["empty", "broken", "cut"],
)
def test_a_run_that_kept_nothing_is_a_failure_and_says_why(tmp_path, content, said):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CourseError, match=said):
        prep(tmp_path / "a.json", tmp_path / "out")
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.skipif(os.name != "posix", reason="a link to itself")
def test_a_loop_of_links_gets_one_clear_sentence(tmp_path):
    (tmp_path / "a.json").symlink_to(tmp_path / "a.json")
    with pytest.raises(CourseError, match="o sistema recusou"):
        prep(tmp_path / "a.json", tmp_path / "out")


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


# --- formats and roads -----------------------------------------------------------------------------------------------


def test_parquet_alone_leaves_no_jsonl(tmp_path, source):
    report = prep(source, tmp_path / "out", formats=("parquet",))
    assert [shard["file"] for shard in report.shards] == [f"{split}-00000.parquet" for split in SPLITS]
    assert not list((tmp_path / "out").glob("*.jsonl"))


def test_the_jsonl_road_imports_nothing_heavy(tmp_path, source):
    code = (
        "import sys; from afina.data.prep import prep; prep(sys.argv[1], sys.argv[2], formats=('jsonl',));"
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


def test_another_road_can_be_handed_in_and_none_is_imported(tmp_path, source, monkeypatch):
    """What [cluster] brings comes by its entry point; here a road that was never installed stands in for it."""

    def road(files, shares, near, scratch, notes):
        assert (files, near) == ([source], None) and scratch.parent == tmp_path
        batch = RowBatch(read=2)
        batch.add("test", b'{"uid": "1"}', 7)
        batch.dropped["blank"] = 1
        notes.append("por outro caminho")
        yield batch

    report = prep(source, tmp_path / "one", formats=JSONL, road=road)
    assert (report.read, report.kept, report.checksum) == (2, 1, f"{7:016x}")
    assert "por outro caminho" in str(report)

    class Entry:
        def load(self):
            return lambda address, *arguments: road(*arguments) if address == "auto" else None

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group, name: [Entry()] * (name == "ray"))
    assert prep(source, tmp_path / "two", formats=JSONL, ray="auto").kept == 1


def test_a_cluster_that_nobody_brought_is_one_clear_sentence(tmp_path, source, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    with pytest.raises(CourseError, match=r"não sabe usar um cluster.*afina\[cluster\]"):
        prep(source, tmp_path / "out", ray="auto")
    assert os.listdir(tmp_path) == [source.name]


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

    monkeypatch.setattr(folder.ShardWriter, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prep(source, tmp_path / "out", workers=workers)
    assert os.listdir(tmp_path) == [source.name]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_run_is_discarded_and_done_again(tmp_path, source):
    import psutil

    code = (
        "import sys, time; from afina.data import folder, prep; write = folder.ShardWriter.add\n"
        "def slow(self, rows): write(self, rows); time.sleep(5)\n"
        "folder.ShardWriter.add = slow; prep.prep(sys.argv[1], sys.argv[2], workers=2)"
    )
    run = subprocess.Popen([sys.executable, "-c", code, source, tmp_path / "out"])
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".afina-*.out/*.jsonl")):
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
        with pytest.raises(CourseError, match=words), engine._explained(tmp_path):
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
    command = ["prep", str(source), "--out", str(tmp_path / "out"), "--formats", "jsonl", "--shard-rows", "1000"]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["read"] == report["kept"] + sum(report["dropped"].values())
    assert report["complete"] is True
    assert set(report["broken"][0]) == {"file", "line", "reason"}
    assert main(command) == 0
    assert "linhas lidas" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_an_input_that_can_be_read_only_once_is_refused(tmp_path, source):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", os.devnull):
        with pytest.raises(CourseError, match="isto é um canal"):
            prep([source, path], tmp_path / "out")
    assert not (tmp_path / "out").exists()
