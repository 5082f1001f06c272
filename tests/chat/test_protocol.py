"""A chat request is checked once, for every server in its own words; answers and events are OpenAI's."""

import dataclasses
import json

import pytest
from chat_base import user
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from afina.chat.protocol import ApiError, ChatRequest, ChunkWriter, Dialect, completion, has_key, plain_text, read_chat
from afina.chat.turn import Turn
from afina.cloud.openai import DIALECT as ENGLISH
from afina.cloud.openai import validator
from afina.serve.server import DIALECT as PORTUGUESE

SIDES = pytest.mark.parametrize("dialect", [ENGLISH, PORTUGUESE], ids=["twin", "serve"])
HEAD = {"id": "chatcmpl-1", "created": 7, "model": "m"}


@SIDES
def test_a_request_becomes_turns(dialect: Dialect):
    asked = read_chat({"messages": user("olá")}, dialect)
    (turn,) = asked.turns
    assert (turn.messages, turn.max_tokens, turn.temperature, turn.top_p) == (user("olá"), None, 1.0, 1.0)
    assert (turn.stop, turn.seed, asked.stream, asked.with_usage) == ((), None, False, False)
    body = {
        "messages": [{"role": "developer", "content": [{"type": "text", "text": t} for t in "ab"]}, *user("c")],
        "max_tokens": 3, "max_completion_tokens": 4, "temperature": 0, "top_p": 0.5, "stop": "x", "seed": -5, "n": 3,
        "stream": True, "stream_options": {"include_usage": True}, "user": "me", "tools": [], "logprobs": False,
    }  # fmt: skip
    asked = read_chat(body, dialect)
    assert [turn.seed for turn in asked.turns] == [-5, -4, -3] and asked.stream and asked.with_usage
    turn = asked.turns[0]
    assert turn.messages == [{"role": "developer", "content": "a\nb"}, *user("c")]
    assert (turn.max_tokens, turn.temperature, turn.top_p, turn.stop) == (4, 0, 0.5, ("x",))


FAULTS = [
    ({"messages": []}, "messages"),
    ({"messages": "x"}, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [*user("x"), "y"]}, "messages[1].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages[0].content"),
    ({"temperature": 3}, "temperature"),
    ({"temperature": float("nan")}, "temperature"),
    ({"top_p": "1"}, "top_p"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": True}, "max_completion_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"seed": 1 << 64}, "seed"),
    ({"n": 9}, "n"),
    ({"n": 0}, "n"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"stop": [""]}, "stop"),
    ({"stream": "no"}, "stream"),
    ({"stream_options": [1]}, "stream_options"),
    ({"tools": [{}]}, "tools"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
]


@SIDES
@pytest.mark.parametrize(("body", "name"), FAULTS, ids=[f"{name}-{n}" for n, (_, name) in enumerate(FAULTS)])
def test_what_cannot_be_done_is_named(body, name, dialect: Dialect):
    with pytest.raises(ApiError) as error:
        read_chat({"messages": user("x"), **body}, dialect)
    assert (error.value.status, error.value.param) == (400, name)
    validator("ErrorResponse").validate(error.value.body)
    assert name in str(error.value) and error.value.body["error"]["type"] == "invalid_request_error"


def test_each_side_has_its_own_words_and_limits():
    with pytest.raises(ApiError, match="does not take 'made_up'") as error:
        read_chat({"messages": user("x"), "made_up": 1}, ENGLISH)
    assert error.value.code == "unsupported_parameter"
    assert read_chat({"messages": user("x"), "made_up": 1}, PORTUGUESE).turns  # other servers' options do no harm
    with pytest.raises(ApiError, match="vazias"):
        read_chat({"messages": user(" ")}, PORTUGUESE)
    assert read_chat({"messages": user("")}, ENGLISH).turns
    tool = [{"role": "tool", "content": "x"}]
    assert read_chat({"messages": tool}, ENGLISH).turns
    with pytest.raises(ApiError, match="system, developer, user, assistant"):
        read_chat({"messages": tool}, PORTUGUESE)
    with pytest.raises(ApiError, match="de 1 a 2"):
        read_chat({"messages": user("x"), "n": 3}, dataclasses.replace(PORTUGUESE, most_answers=2))
    assert ApiError(503, "x").body["error"]["type"] == "server_error"


def test_both_sides_have_words_for_every_fault():
    assert set(PORTUGUESE.words) == {*ENGLISH.words, "empty"}  # the twin takes a conversation without a word


@pytest.mark.parametrize(
    ("header", "right"),
    [
        ("Bearer açaí", True),
        ("bearer  açaí ", True),
        ("Bearer acai", False),
        ("Basic açaí", False),
        ("açaí", False),
        ("", False),
    ],
)
def test_a_key_comes_as_a_bearer(header, right):
    assert has_key(header, "açaí") == right


def test_half_a_surrogate_pair_is_no_text():
    assert plain_text("a\ud800", "x", PORTUGUESE) == "a?"


@pytest.fixture
def turns():
    ends = ((2, "stop"), (3, "length"))
    return [Turn((), user("x"), finish_reason=end, prompt_tokens=5, answer_tokens=n) for n, end in ends]


def test_a_whole_answer_is_openais(turns):
    body = completion(HEAD | {"system_fingerprint": "f"}, turns, ["a", "b"])
    validator("CreateChatCompletionResponse").validate(body)
    read = ChatCompletion.model_validate(body)
    assert [(c.index, c.message.content, c.finish_reason) for c in read.choices] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]
    assert body["usage"] == {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}


@pytest.mark.parametrize("with_usage", [True, False])
def test_a_streamed_answer_is_openais(turns, with_usage):
    writer = ChunkWriter(HEAD, ChatRequest(turns, True, with_usage))
    events = [writer.start(1), writer.piece(1, "é"), writer.end(1), writer.last()]
    lines = b"".join(events).decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    bodies = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    for body in bodies:
        validator("CreateChatCompletionStreamResponse").validate(body)
        ChatCompletionChunk.model_validate(body)
    assert [body["choices"][0]["delta"].get("content") for body in bodies[:3]] == ["", "é", None]
    assert bodies[2]["choices"][0]["finish_reason"] == "length" and "é" in events[1].decode()
    assert len(bodies) == 3 + with_usage and all(("usage" in body) == with_usage for body in bodies)
    if with_usage:
        assert bodies[0]["usage"] is None and bodies[-1]["choices"] == [] and bodies[-1]["usage"]["total_tokens"] == 10
