"""The writer: one object a line, all of them or nothing."""

import json

import pytest

from afina.errors import CourseError
from afina.jsonl import chat_rows, write_jsonl


def test_writer(tmp_path):
    path = tmp_path / "novo" / "t.jsonl"
    assert write_jsonl(path, [{"a": "maçã\n"}, {"b": 1}]) == 2
    assert path.read_bytes() == '{"a":"maçã\\n"}\n{"b":1}\n'.encode()
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [{"a": "maçã\n"}, {"b": 1}]


def test_writer_is_all_or_nothing(tmp_path):
    path = tmp_path / "t.jsonl"
    write_jsonl(path, [{"a": 1}])
    with pytest.raises(CourseError, match="exemplo 2"):
        write_jsonl(path, [{"a": 2}, {"a": object()}])
    with pytest.raises(CourseError, match="exemplo 2"):
        write_jsonl(path, chat_rows([("a", "b"), ("", "")]))
    assert path.read_text("utf-8") == '{"a":1}\n' and list(tmp_path.iterdir()) == [path]
    with pytest.raises(CourseError, match="gravar"):
        write_jsonl(tmp_path, [{"a": 1}])
