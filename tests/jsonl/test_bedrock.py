"""Bedrock's two formats: builders, and each problem at its place."""

import pytest
from jsonl_base import COMPLETION, CONVERSE, GOOD_CONVERSE, TURNS, U, found

from afina.jsonl import chat_example, completion_rows, converse_example, converse_messages


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
