"""Bedrock's runtime in the twin: Converse, its stream, and InvokeModel in the native forms of Nova and Llama."""

import itertools
import json
import time
from collections.abc import Callable, Iterator

from moto.core.eventstream import EventStreamEncoder
from werkzeug.wrappers import Response

from afina.chat.turn import Refused, Turn
from afina.cloud.intake import parse_json
from afina.cloud.shapes import AwsError, fit_request, must, service_model

Say = Callable[[Turn], Iterator[str]]  # answers a turn, in pieces; Refused: the model cannot take it
NOT_TAKEN = ("toolConfig", "guardrailConfig", "promptVariables", "additionalModelRequestFields", "outputConfig")


class BedrockRuntime:
    """`find_model(id, region)` gives the adapters and the base model that answer. AwsError: none does."""

    def __init__(self, say: Say, find_model: Callable[[str, str], tuple[tuple[str, ...], str]]):
        self.say, self.find_model = say, find_model

    def _begin(self, asked: dict, region: str) -> tuple[Turn, Iterator[str]]:
        """A question and its answer, whose first piece is there already: a refusal must come before the 200."""
        layers, _ = self.find_model(asked["modelId"], region)
        for field in NOT_TAKEN:
            must(not asked.get(field), f"This local twin does not take {field}.")
        settings = {key: value for key, value in asked.get("inferenceConfig", {}).items() if value is not None}
        turn = Turn(
            layers, _messages(asked), settings.get("maxTokens"), settings.get("temperature", 0.7),
            settings.get("topP", 0.9), tuple(settings.get("stopSequences", [])),
        )  # fmt: skip
        stream = self.say(turn)
        try:
            return turn, itertools.chain([next(stream, "")], stream)
        except Refused as error:
            raise AwsError(str(error)) from error

    def do_Converse(self, asked: dict, region: str) -> dict:
        began = time.perf_counter()
        turn, stream = self._begin(asked, region)
        return _answer(turn, "".join(stream)) | {"metrics": _latency(began)}

    def do_ConverseStream(self, asked: dict, region: str) -> Response:
        began = time.perf_counter()
        turn, stream = self._begin(asked, region)

        def events() -> Iterator[bytes]:
            yield _event("messageStart", {"role": "assistant"})
            for piece in stream:
                yield _event("contentBlockDelta", {"delta": {"text": piece}, "contentBlockIndex": 0})
            yield _event("contentBlockStop", {"contentBlockIndex": 0})
            yield _event("messageStop", {"stopReason": _reason(turn)})
            yield _event("metadata", {"usage": _usage(turn), "metrics": _latency(began)})

        return Response(events(), mimetype="application/vnd.amazon.eventstream")

    def do_InvokeModel(self, asked: dict, region: str) -> Response:
        """Nova's native body (the shape of Converse) or Llama's ({"prompt", "max_gen_len", …})."""
        _, base = self.find_model(asked["modelId"], region)
        llama = base.startswith("meta.")
        body = parse_json(asked.get("body", b""), AwsError("Malformed input request: the body is not a JSON object."))
        converse = {"modelId": asked["modelId"], **(_of_llama(body) if llama else _of_nova(body))}
        shape = service_model("bedrock-runtime").operation_model("Converse").input_shape
        turn, stream = self._begin(fit_request(shape, converse), region)
        answer = (_llama_answer if llama else _answer)(turn, "".join(stream))
        return Response(json.dumps(answer), mimetype="application/json")


def _messages(asked: dict) -> list[dict]:
    messages = [{"role": "system", "content": _text([part])} for part in asked.get("system", [])]
    last = "assistant"
    for message in asked.get("messages", []):
        right = message["role"] in {"user", "assistant"} - {last}
        must(right, "A conversation must start with a user message and alternate between user and assistant.")
        last = message["role"]
        messages.append({"role": last, "content": _text(message["content"])})
    must(last == "user", "A conversation must end with a user message.")
    return messages


def _text(blocks: list[dict]) -> str:
    right = blocks and all(set(block) == {"text"} and isinstance(block["text"], str) for block in blocks)
    must(right, "This local twin takes text blocks only.")
    return "\n".join(block["text"] for block in blocks)


def _of_llama(body: dict) -> dict:
    must(isinstance(body.get("prompt"), str), "Malformed input request: required key [prompt] not found.")
    names = {"maxTokens": "max_gen_len", "temperature": "temperature", "topP": "top_p"}
    return {
        "messages": [{"role": "user", "content": [{"text": body["prompt"]}]}],
        "inferenceConfig": {name: body.get(key) for name, key in names.items()},
    }


def _of_nova(body: dict) -> dict:
    must("messages" in body, "Malformed input request: required key [messages] not found.")
    settings = body.get("inferenceConfig") or {}
    if isinstance(settings, dict) and "max_new_tokens" in settings:  # Nova's name of it
        settings = {"maxTokens": settings["max_new_tokens"], **settings}
    system = {"system": body["system"]} if body.get("system") else {}
    return {"messages": body["messages"], "inferenceConfig": settings, **system}


def _answer(turn: Turn, text: str) -> dict:
    message = {"role": "assistant", "content": [{"text": text}]}
    return {"output": {"message": message}, "stopReason": _reason(turn), "usage": _usage(turn)}


def _llama_answer(turn: Turn, text: str) -> dict:
    counts = {"prompt_token_count": turn.prompt_tokens, "generation_token_count": turn.answer_tokens}
    return {"generation": text, **counts, "stop_reason": turn.finish_reason}


def _reason(turn: Turn) -> str:
    return "max_tokens" if turn.finish_reason == "length" else "stop_sequence" if turn.stopped_by else "end_turn"


def _usage(turn: Turn) -> dict:
    total = turn.prompt_tokens + turn.answer_tokens
    return {"inputTokens": turn.prompt_tokens, "outputTokens": turn.answer_tokens, "totalTokens": total}


def _latency(began: float) -> dict:
    return {"latencyMs": round(1000 * (time.perf_counter() - began))}


def _event(name: str, payload: dict) -> bytes:
    """One message of AWS's event stream."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return EventStreamEncoder().encode_message(headers, json.dumps(payload).encode())
