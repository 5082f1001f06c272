"""The fast lane: both lanes agree on any line that somebody may write."""

import dataclasses
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonl_base import COMPLETION, CONVERSE, TURNS, A, U

from afina.jsonl import formats, validate

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

    class Never(original.row, tag="never"):
        """A row that no line can be: every line goes to the rules."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(formats.RULES, form, dataclasses.replace(original, row=Never))
        slow, slow_tokens = digest(validate(path, format=form, tokens="estimate"))
    assert fast == slow
    assert fast_tokens == pytest.approx(slow_tokens, abs=1)
