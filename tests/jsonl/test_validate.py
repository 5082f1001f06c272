"""The verb: limits, repeats and leaks of whole files, bounded problems, refused arguments, and no bytes that make it fall."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonl_base import COMPLETION, CONVERSE, OK

from afina import cli
from afina.errors import CourseError
from afina.jsonl import chat_example, converse_example, validate, write_jsonl
from afina.jsonl.problem import KINDS

FORMS = ("openai-chat", "openai-dpo", CONVERSE, COMPLETION)


def test_limits(tmp_path):
    path = tmp_path / "t.jsonl"

    def kinds(count, **more):
        write_jsonl(path, (chat_example(f"p{i}", "r") for i in range(count)))
        return [(p.kind, p.severity) for p in validate(path, **more).problems]

    assert kinds(9) == [("too_few_examples", "error")]
    assert kinds(10) == [("too_few_examples", "warning")]
    assert kinds(100) == []
    assert kinds(100, model="gpt-4.1-nano") == [("retired_model", "error")]
    write_jsonl(path, (converse_example(f"p{i}", "r") for i in range(100)))
    assert validate(path, model="meta.llama3-3-70b-instruct-v1:0").ok
    assert validate(path, model="amazon.nova-2-lite-v1:0").counts == {"too_few_examples": 1}
    write_jsonl(path, (converse_example(f"p{i}", "r") for i in range(10_001)))
    assert validate(path, model="meta.llama3-3-70b-instruct-v1:0").counts == {"too_many_examples": 1}


def test_long_examples(tmp_path):
    path = tmp_path / "t.jsonl"
    write_jsonl(path, [converse_example("palavra " * 20_000, "r"), converse_example("palavra " * 10_000, "r")])
    report = validate(path, model="meta.llama3-3-70b-instruct-v1:0")
    assert [(p.line, p.severity) for p in report.problems if p.kind == "too_many_tokens"] == [(1, "error")]
    assert report.train.longest_line == 1 and report.train.longest_tokens > 16_000


def test_repeats_and_leaks(tmp_path):
    train, validation = tmp_path / "train.jsonl", tmp_path / "validation.jsonl"
    write_jsonl(train, [chat_example(f"p{i % 11}", "r") for i in range(12)])
    write_jsonl(validation, [chat_example("p3", "r"), chat_example("p4", "outra"), chat_example("nova", "r")])
    report = validate(train, validation)
    by_kind = {p.kind: p for p in report.problems}
    assert (by_kind["duplicate_line"].line, by_kind["duplicate_line"].severity) == (12, "warning")
    assert "linha 1." in by_kind["duplicate_line"].found
    assert (by_kind["leak"].line, by_kind["leak"].severity, by_kind["leak"].file) == (1, "error", str(validation))
    assert "linha 4)" in by_kind["leak"].found
    assert (by_kind["prompt_leak"].line, by_kind["prompt_leak"].severity) == (2, "warning")
    assert (report.leaks, report.prompt_leaks, report.train.repeated) == (1, 1, 1)


def test_a_leak_names_any_file(tmp_path):
    train, validation = tmp_path / "tre{i}no {}.jsonl", tmp_path / "v.jsonl"
    write_jsonl(train, [chat_example(f"p{i}", "r") for i in range(12)])
    write_jsonl(validation, [chat_example("p3", "r"), chat_example("p4", "outra")])
    report = validate(train, validation)
    assert [p.found for p in report.problems if p.file == str(validation)] == [
        f"a linha também está no treino ({train}, linha 4).",
        f"a mesma pergunta está no treino ({train}, linha 5), com outra resposta.",
    ]


def test_problems_are_bounded_but_all_counted(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"{\n" * 5000 + b"[]\n" * 7 + OK)
    report = validate(path, max_problems=10)
    assert report.counts["json"] == 5000 and report.counts["not_object"] == 7
    assert len(report.problems) < 25 and {"json", "not_object"} <= {p.kind for p in report.problems}
    assert "… e mais" in str(report)


@pytest.mark.parametrize("bad", [
    {"format": "xml"}, {"model": "banana"}, {"max_problems": 0}, {"tokens": "talvez"},
    {"format": CONVERSE, "model": "gpt-4.1"}, {"validation": "nada.jsonl"},
])  # fmt: skip
def test_bad_arguments(tmp_path, bad):
    (path := tmp_path / "t.jsonl").write_bytes(OK)
    with pytest.raises(CourseError):
        validate(path, **bad)


def test_command_line(tmp_path, capsys):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    write_jsonl(good, [chat_example(f"p{i}", "r") for i in range(12)])
    bad.write_bytes(b"{\n" + OK)
    assert cli.main(["validate", str(good)]) == 0
    assert "nenhum erro, 1 aviso" in capsys.readouterr().out
    assert cli.main(["validate", str(bad), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["counts"]["json"] == 1 and answer["problems"][-1]["line"] == 1
    assert cli.main(["validate", str(bad), str(good), "--max", "1"]) == 1
    assert "… e mais" in capsys.readouterr().out


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=200) | st.lists(st.sampled_from(
    [b'{"messages":', b"[", b"]", b"{", b"}", b'"role"', b":", b",", b"\n", b"\r", b'"', b"\\", b"\xff", b"1e999", b"null"]
), max_size=40).map(b"".join))  # fmt: skip
def test_no_bytes_make_it_fall(tmp_path, form, raw):
    path = tmp_path / "t.jsonl"
    path.write_bytes(raw)
    report = validate(path, path, format=form)
    assert not report.ok and all(p.kind in KINDS for p in report.problems)
    json.dumps(report.to_dict(), ensure_ascii=False).encode()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_what_can_be_read_only_once_is_refused(tmp_path, capsys):
    """Two looks at a pipe find different lines: the price would be wrong, and nothing would say so."""
    os.mkfifo(tmp_path / "fifo")
    reader, writer = os.pipe()
    with open(reader), open(writer, "wb") as file:
        file.write(b'{"messages": []}\n')
        file.flush()
        for path in (tmp_path / "fifo", f"/dev/fd/{reader}", os.devnull):
            for verb in ("validate", "estimate"):
                assert cli.main([verb, str(path)]) == 2
                assert "isto é um canal, que só se lê uma vez" in capsys.readouterr().err
