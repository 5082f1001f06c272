"""Builders and writer: what they make, the validator accepts; what is wrong is refused at once."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.errors import CourseError
from afina.jsonl import (
    chat_example,
    chat_messages,
    chat_rows,
    completion_rows,
    converse_messages,
    converse_rows,
    dpo_example,
    validate,
    write_jsonl,
)

TOOLS = [{"type": "function", "function": {"name": "tempo", "parameters": {"type": "object"}}}]
CALL = {"id": "c1", "type": "function", "function": {"name": "tempo", "arguments": '{"cidade": "Recife"}'}}
WITH_TOOLS = [
    {"role": "user", "content": "Chove?"},
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "sim"},
    {"role": "assistant", "content": "Chove."},
]
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)


def test_chat_example():
    row = chat_example("oi", "olá", system="Seja breve.", weight=1)
    assert row["messages"] == [
        {"role": "system", "content": "Seja breve."},
        {"role": "user", "content": "oi"},
        {"role": "assistant", "content": "olá", "weight": 1},
    ]
    assert chat_example("a", "b", tools=TOOLS, parallel_tool_calls=False).keys() == {
        "messages", "tools", "parallel_tool_calls",
    }  # fmt: skip


def test_converse_and_completion():
    messages = chat_example("oi", "olá", system="Seja breve.")["messages"]
    row = converse_messages(messages)
    assert row == {
        "schemaVersion": "bedrock-conversation-2024",
        "system": [{"text": "Seja breve."}],
        "messages": [
            {"role": "user", "content": [{"text": "oi"}]},
            {"role": "assistant", "content": [{"text": "olá"}]},
        ],
    }
    assert messages[1]["content"] == "oi"  # the input is left as it was
    (row,) = completion_rows([("oi", "olá")], system="Seja breve.")
    assert row == {"prompt": "Seja breve.\n\noi", "completion": "olá"}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=10, max_size=14), st.none() | texts)
def test_what_is_built_is_accepted(tmp_path_factory, pairs, system):
    folder = tmp_path_factory.mktemp("built")
    made = {
        "openai-chat": chat_rows(pairs, system=system),
        "openai-dpo": (dpo_example(q, a, a + " não", system=system) for q, a in pairs),
        "bedrock-conversation": converse_rows(pairs, system=system),
        "bedrock-completion": completion_rows(pairs, system=system),
    }
    for form, rows in made.items():
        path = folder / f"{form}.jsonl"
        assert write_jsonl(path, rows) == len(pairs)
        report = validate(path, format=form)
        wrong = [p for p in report.problems if p.kind not in ("duplicate_line", "too_few_examples", "reserved_word")]
        assert not wrong
        assert report.train.good == len(pairs)
        assert validate(path).format == form  # and the format is recognised


@pytest.mark.parametrize("build", [
    lambda: chat_example("", "b"), lambda: chat_example("a", None), lambda: chat_example("a", "b", system=" "),
    lambda: chat_example("a", "b", weight=2), lambda: chat_example("a", "b", weight=True),
    lambda: chat_example("a", "b", weight=0), lambda: chat_example("a", "b", tools=[{"name": "x"}]),
    lambda: chat_messages([]), lambda: chat_messages([{"role": "user", "content": "a"}]),
    lambda: dpo_example("a", "igual", "igual"), lambda: converse_messages([{"role": "assistant", "content": "a"}]),
    lambda: list(chat_rows([{"user": "a"}])), lambda: list(chat_rows([{"user": "a", "assistant": "b", "x": 1}])),
    lambda: list(converse_rows(["ab"])), lambda: list(completion_rows([("a", float("nan"))])),
])  # fmt: skip
def test_bad_arguments_are_refused_at_once(build):
    with pytest.raises(CourseError):
        build()


def test_the_row_that_is_wrong_is_named():
    with pytest.raises(CourseError, match="exemplo 2"):
        list(chat_rows([("a", "b"), ("c", "")]))


def test_tool_conversations():
    assert chat_messages(WITH_TOOLS, tools=TOOLS)["messages"] == WITH_TOOLS


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
