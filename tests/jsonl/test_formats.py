"""The table of formats: one entry a format, and a file's format from its first example."""

import json

import pytest
from jsonl_base import COMPLETION, CONVERSE, GOOD_CONVERSE, GOOD_DPO, A, U, chat

from afina.jsonl.formats import RULES, detect, rules_for
from afina.prices import FORMATS, find_model


def test_each_format_has_its_rules():
    assert tuple(RULES) == FORMATS


@pytest.mark.parametrize(("row", "form"), [
    (chat(U, A), "openai-chat"), (GOOD_DPO, "openai-dpo"), (GOOD_CONVERSE, CONVERSE), ({"prompt": "a"}, COMPLETION),
    ({"messages": GOOD_CONVERSE["messages"]}, CONVERSE), ({}, "openai-chat"), ({"messages": 3}, "openai-chat"),
    (chat({"role": "user", "content": [{"type": "text", "text": "a"}]}, A), "openai-chat"),
])  # fmt: skip
def test_the_first_example_that_parses_decides(row, form):
    lines = [b"\xef\xbb\xbf", b"{", b"3", json.dumps(row).encode(), json.dumps(chat(U, A)).encode()]
    assert detect(b"\n".join(lines), None) == form


def test_a_model_decides_where_it_takes_one_format_only():
    start = json.dumps(GOOD_DPO).encode()
    assert detect(start, find_model("gpt-4.1")) == "openai-dpo"
    assert detect(start, find_model("amazon.nova-micro-v1:0")) == CONVERSE
    assert detect(b"", find_model("meta.llama3-1-8b-instruct-v1:0")) == COMPLETION
    assert detect(b"", None) == "openai-chat"


def test_a_model_makes_the_rules_as_strict_as_it_is():
    def severity(model):
        said = []
        row = {"schemaVersion": "outra", "messages": GOOD_CONVERSE["messages"]}
        rules_for(CONVERSE, model).check(row, lambda *words, warning=False: said.append(warning))
        return said

    assert severity(find_model("amazon.nova-micro-v1:0")) == [True]
    assert severity(find_model("meta.llama3-3-70b-instruct-v1:0")) == severity(None) == [False]
