"""The runtime's three operations over a voice that says what it is told; its real one is met in test_bedrock."""

import json
import time

import pytest
from botocore.eventstream import EventStreamBuffer

from afina.chat.turn import Refused
from afina.cloud.converse import BedrockRuntime
from afina.cloud.shapes import AwsError

ASK = [{"role": "user", "content": [{"text": "mouse"}, {"text": "3"}]}]


class Voice:
    """Says three pieces and remembers the turn."""

    def __init__(self, error=None, reason="stop", stopped_by=None):
        self.error, self.reason, self.stopped_by = error, reason, stopped_by

    def __call__(self, turn):
        self.turn = turn
        if self.error:
            raise self.error
        turn.prompt_tokens, turn.answer_tokens, turn.finish_reason, turn.stopped_by = 4, 3, self.reason, self.stopped_by
        yield from ("a", "b", "c")


def runtime(voice):
    return BedrockRuntime(voice, lambda id, region: (("layer",), "meta.x" if "llama" in id else "amazon.x"))


def test_a_conversation_becomes_a_turn_and_its_answer_an_answer():
    voice = Voice()
    settings = {"maxTokens": 5, "stopSequences": ["."], "topP": None}
    asked = {"modelId": "m", "messages": ASK, "system": [{"text": "be brief"}], "inferenceConfig": settings}
    answer = runtime(voice).do_Converse(asked, "us-east-1")
    assert answer["output"]["message"] == {"role": "assistant", "content": [{"text": "abc"}]}
    assert answer["stopReason"] == "end_turn" and answer["metrics"]["latencyMs"] >= 0
    assert answer["usage"] == {"inputTokens": 4, "outputTokens": 3, "totalTokens": 7}
    turn = voice.turn
    assert turn.messages == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "mouse\n3"}]
    assert (turn.layers, turn.max_tokens, turn.temperature, turn.top_p, turn.stop) == (("layer",), 5, 0.7, 0.9, (".",))


@pytest.mark.parametrize(("reason", "by", "told"), [("length", None, "max_tokens"), ("stop", ".", "stop_sequence")])
def test_why_an_answer_ended(reason, by, told):
    said = runtime(Voice(reason=reason, stopped_by=by))
    assert said.do_Converse({"modelId": "m", "messages": ASK}, "us-east-1")["stopReason"] == told


def test_the_stream_is_one_that_botocore_reads():
    response = runtime(Voice()).do_ConverseStream({"modelId": "m", "messages": ASK}, "us-east-1")
    assert response.mimetype == "application/vnd.amazon.eventstream"
    buffer = EventStreamBuffer()
    for chunk in response.response:
        buffer.add_data(chunk)  # it checks both sums
    events = [(event.headers[":event-type"], json.loads(event.payload)) for event in buffer]
    kinds = ["messageStart", *["contentBlockDelta"] * 3, "contentBlockStop", "messageStop", "metadata"]
    assert [kind for kind, _ in events] == kinds
    assert "".join(body["delta"]["text"] for kind, body in events if kind == "contentBlockDelta") == "abc"
    assert events[-1][1]["usage"]["totalTokens"] == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"messages": []}, "must end with a user message"),
        ({"messages": ASK * 2}, "alternate"),
        ({"messages": [*ASK, {"role": "assistant", "content": [{"text": "x"}]}]}, "must end with a user"),
        ({"messages": [{"role": "user", "content": [{"image": {}}]}]}, "text blocks only"),
        ({"messages": [{"role": "user", "content": []}]}, "text blocks only"),
        ({"toolConfig": {"tools": []}}, "does not take toolConfig"),
    ],
)
def test_what_a_conversation_must_be(change, words):
    for call in (runtime(Voice()).do_Converse, runtime(Voice()).do_ConverseStream):
        with pytest.raises(AwsError, match=words):
            call({"modelId": "m", "messages": ASK} | change, "us-east-1")


def test_a_refusal_comes_before_the_first_byte():
    deaf = runtime(Voice(error=Refused("too long", "context_length_exceeded")))
    for call in (deaf.do_Converse, deaf.do_ConverseStream):
        with pytest.raises(AwsError, match="too long") as error:
            call({"modelId": "m", "messages": ASK}, "us-east-1")
        assert error.value.code == "ValidationException"


def invoke(voice, model, body):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return json.loads(runtime(voice).do_InvokeModel({"modelId": model, "body": body}, "us-east-1").data)


def test_novas_own_body():
    voice = Voice()
    body = {"messages": ASK, "system": [{"text": "s"}], "inferenceConfig": {"max_new_tokens": 9, "topP": 0.5}}
    assert invoke(voice, "nova", body)["output"]["message"]["content"] == [{"text": "abc"}]
    assert (voice.turn.max_tokens, voice.turn.top_p, len(voice.turn.messages)) == (9, 0.5, 2)
    invoke(voice, "nova", {"messages": ASK, "inferenceConfig": {"max_new_tokens": 9, "maxTokens": 2}})
    assert voice.turn.max_tokens == 2


def test_llamas_own_body():
    voice = Voice(reason="length")
    answer = invoke(voice, "llama", {"prompt": "x", "max_gen_len": 3, "temperature": 0})
    assert answer == {
        "generation": "abc", "prompt_token_count": 4, "generation_token_count": 3, "stop_reason": "length",
    }  # fmt: skip
    assert (voice.turn.max_tokens, voice.turn.temperature, voice.turn.top_p) == (3, 0, 0.9)


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        ("nova", b"\xff", "not a JSON object"), ("nova", {"prompt": "x"}, r"\[messages\]"), ("llama", {"messages": []}, r"\[prompt\]"),
        ("nova", {"messages": 3}, "be a list"), ("nova", {"messages": ASK, "inferenceConfig": [1]}, "be an object"),
        ("llama", {"prompt": "x", "temperature": 7}, "temperature"), ("llama", {"prompt": 3}, r"\[prompt\]"),
    ],
)  # fmt: skip
def test_bodies_that_are_neither(model, body, words):
    with pytest.raises(AwsError, match=words):
        invoke(Voice(), model, body)


def test_the_latency_is_that_of_the_answer():
    def slow(turn):
        yield "x"
        time.sleep(0.03)

    answer = runtime(slow).do_Converse({"modelId": "m", "messages": ASK}, "us-east-1")
    assert 30 <= answer["metrics"]["latencyMs"] < 5000
