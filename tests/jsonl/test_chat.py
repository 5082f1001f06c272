"""OpenAI's two formats: what is built is accepted, what is wrong is refused at once or found at its place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonl_base import CALL, GOOD_DPO, A, U, chat, found

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
WEATHER = {"id": "c1", "type": "function", "function": {"name": "tempo", "arguments": '{"cidade": "Recife"}'}}
WITH_TOOLS = [
    {"role": "user", "content": "Chove?"},
    {"role": "assistant", "tool_calls": [WEATHER]},
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
