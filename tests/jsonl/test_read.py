"""The patient lane: blocks of lines, and why a line is no object."""

import pytest
from jsonl_base import OK, A, U, chat, found, line_of

from afina.errors import CourseError
from afina.jsonl import read, validate


@pytest.mark.parametrize(("line", "kind"), [
    (b"", "blank_line"), (b" \t", "blank_line"), (b"[1]", "not_object"), (b"3", "not_object"), (b"{", "json"),
    (b"{'messages': []}", "json"), (OK + b",", "json"), (b'{"a": NaN}', "json"), (b"[" * 100_000, "json"),
    (b"1" * 5000, "json"), (OK.replace(b"oi", b"\xe9"), "encoding"), (OK.replace(b"oi", b"\\ud83d"), "encoding"),
    (OK.replace(b"oi", b"a\x01"), "json"), (OK.replace(b'"content": "oi"', b'"content": "a", "content": "b"'), "duplicate_key"),
    (OK.replace(b'"content": "oi"', b'"content" : "a", "content": "b"'), "duplicate_key"),
    (OK.replace(b'{"messages"', b'{"messages": [], "messages"'), "duplicate_key"),
])  # fmt: skip
def test_broken_lines(tmp_path, line, kind):
    problems = found(tmp_path, OK.replace(b"oi", b"um"), line, OK)
    assert [(number, what, how) for number, _, what, how in problems] == [(2, kind, "error")]


def test_latin1_json_and_column_are_explained(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(OK.replace(b"oi", b"caf\xe9") + b'\n{"a": 1,}\n')
    latin, broken = [p for p in validate(path).problems if p.line]
    assert f"0xE9 na posição {OK.index(b'oi') + 4}" in latin.found and '"é"' in latin.found and "UTF-8" in latin.remedy
    assert "coluna" in broken.found


def test_bom_crlf_and_utf16(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + OK + b"\r\n" + line_of(chat(U, U, A)) + b"\r\n")
    report = validate(path)
    assert [(p.line, p.kind, p.severity) for p in report.problems if p.line] == [
        (1, "bom", "error"),
        (1, "crlf", "warning"),
    ]
    assert report.train.examples == report.train.good == 2
    path.write_bytes(OK.decode().encode("utf-16"))
    assert [p.kind for p in validate(path).problems] == ["encoding"]


def test_empty_file(tmp_path):
    (path := tmp_path / "t.jsonl").touch()
    report = validate(path)
    assert [p.kind for p in report.problems] == ["empty_file"] and not report.ok


def test_a_line_without_end_is_skipped_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "LONGEST_LINE", 1 << 19)
    for ending in (b"", b"\n" + OK):
        path = tmp_path / "t.jsonl"
        path.write_bytes(OK + b"\n" + b'{"messages": "' + b"x" * (1 << 20) + ending)
        report = validate(path)
        assert [(p.line, p.kind) for p in report.problems if p.line] == [(2, "line_too_long")] + (
            [(3, "duplicate_line")] if ending else []
        )


def test_unreadable(tmp_path):
    with pytest.raises(CourseError, match="não encontrado"):
        validate(tmp_path / "nada.jsonl")
    with pytest.raises(CourseError, match="pasta"):
        validate(tmp_path)
    with pytest.raises(CourseError, match="nome de arquivo"):
        validate("a\0b.jsonl")
