"""Examples of the training formats, right ones and wrong ones, and what the validator finds in a file of them."""

import json

from afina.jsonl import converse_example, dpo_example, validate

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


GOOD_DPO = dpo_example("oi", "olá", "sai", system="s")
GOOD_CONVERSE = converse_example("oi", "olá", system="s")
TURNS = GOOD_CONVERSE["messages"]
OK = line_of(chat(U, A))
