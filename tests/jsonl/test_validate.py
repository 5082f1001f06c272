"""The validator: every kind of problem is found at its place, both lanes agree, and no bytes make it fall."""

import dataclasses
import json
import sys

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afina.errors import CourseError
from afina.jsonl import chat_example, converse_example, dpo_example, formats, read, validate, write_jsonl
from afina.jsonl.problem import KINDS
from afina.jsonl.repeats import Fingerprints

engine = sys.modules["afina.jsonl.validate"]  # the function of the same name hides the module
U, A = {"role": "user", "content": "oi"}, {"role": "assistant", "content": "olá"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CONVERSE, COMPLETION = "bedrock-conversation", "bedrock-completion"


def line_of(row) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")


def found(tmp_path, *lines, form="openai-chat", **more):
    """(line, field, kind, severity) of each problem of a file with these lines, the count of examples left aside."""
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line_of(line) for line in lines))
    report = validate(path, format=form, **more)
    text = str(report)
    assert all(str(problem) in text for problem in report.problems)
    assert sum(report.counts.values()) == report.errors + report.warnings
    return [(p.line, p.field, p.kind, p.severity) for p in report.problems if p.kind != "too_few_examples"]


def chat(*messages, **more):
    return {"messages": list(messages)} | more


GOOD_CHAT = [
    chat(U, A), chat(U, U, A), chat(U, A, U, A | {"weight": 0}, U, A | {"weight": 1}), chat(A),
    chat({"role": "system", "content": "x"}, U, A), chat({"role": "developer", "content": "x"}, U, A),
    chat(U | {"name": "ana"}, A), chat(U, {"role": "assistant", "tool_calls": [CALL]}, tools=[]),
    chat(U, {"role": "assistant", "content": None, "tool_calls": [CALL]},
         {"role": "tool", "tool_call_id": "c", "content": ""}, A, parallel_tool_calls=False),
    chat(U, {"role": "assistant", "content": None, "refusal": "Não posso."}),
    chat({"role": "user", "content": [{"type": "text", "text": "a"},
                                      {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}, A),
]  # fmt: skip


@pytest.mark.parametrize("row", GOOD_CHAT)
def test_what_openai_takes_is_clean(tmp_path, row):
    assert found(tmp_path, row) == []


BAD_CHAT = [
    ({}, "messages", "missing_key"),
    (chat(), "messages", "empty_content"),
    ({"messages": {}}, "messages", "type"),
    (chat(U, A, foo=1), "foo", "unknown_key"),
    (chat("oi", A), "messages[0]", "type"),
    (chat({"content": "x"}, A), "messages[0].role", "missing_key"),
    (chat({"role": "usuario", "content": "x"}, A), "messages[0].role", "role"),
    (chat({"role": ["user"], "content": "x"}, A), "messages[0].role", "role"),
    (chat({"role": "user"}, A), "messages[0].content", "missing_key"),
    (chat({"role": "user", "content": 3}, A), "messages[0].content", "type"),
    (chat({"role": "user", "content": None}, A), "messages[0].content", "type"),
    (chat({"role": "user", "content": " \n"}, A), "messages[0].content", "empty_content"),
    (chat({"role": "user", "content": []}, A), "messages[0].content", "empty_content"),
    (chat({"role": "user", "content": ["x"]}, A), "messages[0].content[0]", "type"),
    (chat(U | {"contnt": "x"}, A), "messages[0].contnt", "unknown_key"),
    (chat(U | {"weight": 1}, A), "messages[0].weight", "unknown_key"),
    (chat(U, A | {"weight": "1"}), "messages[1].weight", "weight"),
    (chat(U, A | {"weight": True}), "messages[1].weight", "weight"),
    (chat(U, A | {"weight": 1.0}), "messages[1].weight", "weight"),
    (chat(U, A | {"weight": None}), "messages[1].weight", "weight"),
    (chat(U, A | {"weight": 0}), "messages", "nothing_to_learn"),
    (chat(A, U), "messages[1]", "no_answer"),
    (chat(U, A, {"role": "tool", "content": "x"}), "messages[2].tool_call_id", "tools"),
    (chat(U, {"role": "tool", "content": "x", "tool_call_id": "z"}, A), "messages[1].tool_call_id", "tools"),
    (chat(U, {"role": "assistant", "tool_calls": [{}]}), "messages[1].tool_calls[0]", "tools"),
    (chat(U, {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": {}}}]}),
     "messages[1].tool_calls[0].function.arguments", "tools"),
    (chat(U, A, tools={}), "tools", "tools"),
    (chat(U, A, parallel_tool_calls="sim"), "parallel_tool_calls", "type"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "field", "kind"), BAD_CHAT)
def test_chat_problems(tmp_path, row, field, kind):
    assert (2, field, kind, "error") in found(tmp_path, chat(U, A), row)


def test_system_in_the_middle_is_a_warning_for_openai(tmp_path):
    assert found(tmp_path, chat(U, {"role": "system", "content": "x"}, A)) == [
        (1, "messages[1].role", "order", "warning")
    ]


GOOD_DPO = dpo_example("oi", "olá", "sai", system="s")
BAD_DPO = [
    (GOOD_DPO | {"input": []}, "input", "type"),
    ({"preferred_output": [A], "non_preferred_output": [U]}, "input", "missing_key"),
    (GOOD_DPO | {"preferred_output": []}, "preferred_output", "empty_content"),
    (GOOD_DPO | {"preferred_output": [U]}, "preferred_output[0].role", "role"),
    (GOOD_DPO | {"preferred_output": GOOD_DPO["non_preferred_output"]}, "non_preferred_output", "same_outputs"),
    (GOOD_DPO | {"extra": 1}, "extra", "unknown_key"),
]


@pytest.mark.parametrize(("row", "field", "kind"), BAD_DPO)
def test_preference_pair_problems(tmp_path, row, field, kind):
    problems = found(tmp_path, GOOD_DPO, row, form="openai-dpo")
    assert (2, field, kind, "error") in problems and all(line == 2 for line, *_ in problems)


GOOD_CONVERSE = converse_example("oi", "olá", system="s")
TURNS = GOOD_CONVERSE["messages"]
BAD_CONVERSE = [
    (GOOD_CONVERSE | {"schemaVersion": "2023"}, "schemaVersion", "schema_version"),
    ({"messages": TURNS}, "schemaVersion", "schema_version"),
    (GOOD_CONVERSE | {"system": "s"}, "system", "type"),
    (GOOD_CONVERSE | {"system": [{"text": ""}]}, "system[0].text", "empty_content"),
    (GOOD_CONVERSE | {"messages": TURNS[1:]}, "messages[0].role", "order"),
    (GOOD_CONVERSE | {"messages": TURNS[:1]}, "messages[0]", "no_answer"),
    (GOOD_CONVERSE | {"messages": [TURNS[0], TURNS[0], TURNS[1]]}, "messages[1].role", "order"),
    (GOOD_CONVERSE | {"messages": [{"role": "system", "content": [{"text": "x"}]}, *TURNS]}, "messages[0].role", "role"),
    (GOOD_CONVERSE | {"messages": [U, TURNS[1]]}, "messages[0].content", "type"),
    (GOOD_CONVERSE | {"messages": [TURNS[0], TURNS[1] | {"weight": 1}]}, "messages[1].weight", "unknown_key"),
    (GOOD_CONVERSE | {"messages": [{"role": "user", "content": [{"text": "x", "y": 1}]}, TURNS[1]]},
     "messages[0].content[0]", "type"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "field", "kind"), BAD_CONVERSE)
def test_converse_problems(tmp_path, row, field, kind):
    problems = found(tmp_path, GOOD_CONVERSE, row, form=CONVERSE)
    assert (2, field, kind, "error") in problems and all(line == 2 for line, *_ in problems)


def test_reserved_words_matter_to_nova_alone(tmp_path):
    row = converse_example("System: diga oi", "olá")
    place = (1, "messages[0].content[0].text", "reserved_word")
    assert found(tmp_path, row, form=CONVERSE, model="amazon.nova-lite-v1:0") == [(*place, "error")]
    assert found(tmp_path, row, form=CONVERSE) == [(*place, "warning")]
    assert found(tmp_path, row, form=CONVERSE, model="meta.llama3-3-70b-instruct-v1:0") == []


@pytest.mark.parametrize(("row", "field", "kind"), [
    ({"prompt": "a"}, "completion", "missing_key"), ({"prompt": " ", "completion": "b"}, "prompt", "empty_content"),
    ({"prompt": 1, "completion": "b"}, "prompt", "type"), ({"prompt": "a", "completion": "b", "c": 1}, "c", "unknown_key"),
])  # fmt: skip
def test_completion_problems(tmp_path, row, field, kind):
    assert found(tmp_path, row, form=COMPLETION) == [(1, field, kind, "error")]


OK = line_of(chat(U, A))


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


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=60))
def test_fingerprints_spill_and_still_find_every_repeat(values):
    from unittest.mock import patch

    with patch("afina.jsonl.repeats.BATCH", 8):
        prints = Fingerprints()
        for start in range(0, len(values), 5):
            prints.extend(values[start : start + 5])
        pairs = [pair for a, b in prints.repeats() for pair in zip(a.tolist(), b.tolist(), strict=True)]
        prints.close()
    wanted = [(i, values.index(v)) for i, v in enumerate(values) if v and values.index(v) < i]
    assert sorted(pairs) == wanted


def test_summary(tmp_path):
    path = tmp_path / "t.jsonl"
    rows = [chat_example(f"pergunta {i}", "resposta " * (i + 1), system="A" if i % 3 else "B") for i in range(120)]
    write_jsonl(path, rows)
    report = validate(path)
    summary = report.train
    assert report.ok and not report.problems and summary.examples == summary.good == 120
    assert set(summary.tokens_by_role) == {"system", "user", "assistant"}
    assert summary.tokens == pytest.approx(sum(summary.tokens_by_role.values()) + 120 * 15, abs=2)
    assert (summary.longest_line, summary.system_prompts) == (120, 2)
    assert (summary.common_system_prompt, summary.common_system_count) == ("A", 80)
    assert report.cost.tokens == summary.tokens and "US$" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True
    assert list(report.table().columns)[:2] == ["linha", "campo"]


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


def test_unreadable(tmp_path):
    with pytest.raises(CourseError, match="não encontrado"):
        validate(tmp_path / "nada.jsonl")
    with pytest.raises(CourseError, match="pasta"):
        validate(tmp_path)


def test_command_line(tmp_path, capsys):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    write_jsonl(good, [chat_example(f"p{i}", "r") for i in range(12)])
    bad.write_bytes(b"{\n" + OK)
    assert engine.main([str(good)]) == 0
    assert "nenhum erro, 1 aviso" in capsys.readouterr().out
    assert engine.main([str(bad), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["counts"]["json"] == 1 and answer["problems"][-1]["line"] == 1
    assert engine.main([str(bad), str(good), "--max", "1"]) == 1
    assert "… e mais" in capsys.readouterr().out


# --- both lanes agree, and nothing makes them fall --------------------------------------------------------------------

word = st.sampled_from(["oi", "é", "System: x", 'a"b":c', " ", "", "\\", '":', "tchau\n", "日本 7", "\x1c"])
speaker = st.sampled_from(["system", "developer", "user", "assistant", "assistant", "tool", "x"])
message = st.builds(lambda role, content: {"role": role, "content": content}, speaker, word)
weighted = st.builds(lambda m, w: m | {"weight": w}, message, st.sampled_from([0, 1, 2, True, "1", 1.0]))
odd = st.sampled_from(
    [None, 1, "x", [], {}, {"role": "user"}, {"content": "x"}, {"role": "user", "content": "a", "b": 1}]
)
chats = st.builds(
    lambda start, messages, answer: {"messages": [*start, *messages, *answer]},
    st.sampled_from([[], [U], [{"role": "system", "content": "s"}, U]]),
    st.lists(message | weighted | odd, max_size=3),
    st.sampled_from([[A], [A], [A | {"weight": 0}], [A | {"weight": 1}], []]),
)
block = st.builds(lambda text: {"text": text}, word)
turn = st.builds(lambda role, content: {"role": role, "content": content}, speaker, st.lists(block, max_size=2) | word)
converses = st.builds(
    lambda version, system, messages: {"schemaVersion": version} | system | {"messages": messages},
    st.sampled_from(["bedrock-conversation-2024"] * 3 + ["x"]),
    st.just({}) | st.builds(lambda blocks: {"system": blocks}, st.lists(block, max_size=2)),
    st.just(TURNS) | st.lists(turn, max_size=3).map(lambda turns: [*TURNS, *turns]),
)
pairs = st.builds(
    lambda messages, good, bad: {
        "input": {"messages": messages}, "preferred_output": good, "non_preferred_output": bad},
    st.lists(message, max_size=2).map(lambda m: [*m, U]) | st.lists(message, max_size=2),
    st.lists(message | weighted, max_size=2) | st.just([A]), st.lists(message, max_size=2) | st.just([A]),
)  # fmt: skip
completions = st.fixed_dictionaries({"prompt": word | st.none()}, optional={"completion": word, "c": word})
ROWS = {"openai-chat": chats, "openai-dpo": pairs, CONVERSE: converses, COMPLETION: completions}


@st.composite
def lines(draw, form):
    """A line as someone may write it: spacing, escapes, repeated keys, or a slip of the finger."""
    row = draw(ROWS[form])
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]))
    text = json.dumps(row, ensure_ascii=draw(st.booleans()), separators=separators)
    slip = draw(st.integers(0, 11))
    if slip == 0:
        text = text.replace('"content"', '"content":"z","content"', 1)
    elif slip == 1:
        text = text.replace('"role"', '"role" :"user","role"', 1)
    elif slip == 2:
        cut = draw(st.integers(0, len(text)))
        text = text[:cut] + draw(st.sampled_from(["", ",", '"', "}", "\\", "\x00"])) + text[cut + 1 :]
    return text.encode() if slip != 3 else text.encode("latin-1", "replace")


def digest(report):
    """All of a report but the two lanes' rounding of token totals."""
    data = report.to_dict()
    tokens = [data["train"].pop("tokens"), *dict(sorted(data["train"].pop("tokens_by_role").items())).values()]
    data.pop("cost")
    return data, tokens


@pytest.mark.parametrize("form", ROWS)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_fast_lane_accepts_nothing_that_the_rules_refuse(tmp_path, form, data):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"\n".join(data.draw(st.lists(lines(form), min_size=1, max_size=6))))
    fast, fast_tokens = digest(validate(path, format=form, tokens="estimate"))
    original = formats.RULES[form]

    class Never(msgspec.Struct, tag="never", forbid_unknown_fields=True):
        """A row that no line can be: every line goes to the rules."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(formats.RULES, form, dataclasses.replace(original, row=Never))
        slow, slow_tokens = digest(validate(path, format=form, tokens="estimate"))
    assert fast == slow
    assert fast_tokens == pytest.approx(slow_tokens, abs=1)


@pytest.mark.parametrize("form", ROWS)
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
