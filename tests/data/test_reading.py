"""Blocks of whole lines from plain and gzip files, and what can be had of a damaged one."""

import gzip
import json

import pytest
from catalogue import joined
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.cli import main
from afina.data.reading import Damaged, is_gzip, read_blocks
from afina.ptbr import number


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

    assert main(["prep", str(path), "--out", str(tmp_path / "out"), "--formats", "jsonl"]) == 1
    said = capsys.readouterr().out
    assert f"parou depois da linha {number(got.count(bytes([10])))}" in said
    assert json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["complete"] is False
    assert main(["prep", str(path), "--out", str(tmp_path / "out"), "--formats", "jsonl"]) == 1  # never taken for done
    assert "já está pronto" not in capsys.readouterr().out


def test_a_byte_order_mark_is_no_text_and_names_lie(tmp_path):
    path = tmp_path / "plain.gz"
    path.write_bytes(b"\xef\xbb\xbfa\nb")
    assert not is_gzip(path)
    assert list(read_blocks(path, 100)) == [(b"a\nb", 6)]
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert is_gzip(path)
    assert [block for block, _ in read_blocks(path, 100)] == [b"a\nb"]
