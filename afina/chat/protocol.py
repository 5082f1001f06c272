"""OpenAI's chat: the request checked once, the answer as JSON and as server-sent events, usage, and the body of an error.

Two servers speak it, each with a `Dialect`: its language and what it takes. Source: OpenAI's API reference, "Chat".
"""

import json
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afina.chat.turn import Turn

# what is read, and what changes no answer
TAKEN = frozenset({
    "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "stop", "seed", "stream",
    "stream_options", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "modalities",
})  # fmt: skip
# what would change the answer and is not done here, with the values that ask for nothing: others are refused
NOT_DONE = {
    "tools": (None, []), "functions": (None, []), "logprobs": (None, False), "top_logprobs": (None, 0),
    "presence_penalty": (None, 0), "frequency_penalty": (None, 0), "logit_bias": (None, {}),
    "response_format": (None, {"type": "text"}),
}  # fmt: skip
MOST_TOKENS, MOST_SEED = 1 << 31, (1 << 63) - 1
DONE = b"data: [DONE]\n\n"


class ApiError(Exception):
    """An answer of the 400s or 500s in OpenAI's form."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None):
        super().__init__(message)
        self.status, self.code, self.param = status, code, param

    @property
    def body(self) -> dict:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    @property
    def event(self) -> bytes:
        return event(self.body)


def demand(
    condition: object, message: str, code: str | None = None, param: str | None = None, status: int = 400
) -> None:
    """ApiError unless `condition` holds."""
    if not condition:
        raise ApiError(status, message, code, param)


def has_key(header: str, key: str) -> bool:
    """Whether an Authorization header brings the key, compared in constant time."""
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), key.encode())


@dataclass(frozen=True)
class Dialect:
    """How one server takes a chat request, and tells what is wrong with it.

    `words`: for each fault a sentence, with {name} and the facts that `check` is given, and its code. `strict`: options that
    it does not know are refused. `empty`: a conversation may have no word in it.
    """

    words: Mapping[str, Sequence[str]]
    roles: Sequence[str] = ("system", "developer", "user", "assistant")
    strict: bool = False
    empty: bool = False
    most_answers: int = 8

    def check(self, condition: object, word: str, name: str, **facts) -> None:
        """ApiError in this dialect unless `condition` holds."""
        if not condition:
            sentence, code = self.words[word]
            raise ApiError(400, sentence.format(name=name, **facts), code or None, name)


def read_dialect(server: str) -> Dialect:
    """The dialect of one server, from dialects.toml."""
    return Dialect(**tomllib.loads(Path(__file__).with_name("dialects.toml").read_text(encoding="utf-8"))[server])


@dataclass
class ChatRequest:
    """What was asked: one turn an answer, whether the pieces are wanted as they come, and the usage after them."""

    turns: list[Turn]
    stream: bool
    with_usage: bool


def read_chat(body: Mapping, dialect: Dialect) -> ChatRequest:
    """The request of a body, "model" aside. ApiError (400): the first thing in it that cannot be done."""
    for name, value in body.items():
        known = not dialect.strict or name in {*TAKEN, *NOT_DONE}
        dialect.check(known and value in NOT_DONE.get(name, (value,)), "unsupported", name[:60])
    stream, extras = body.get("stream") or False, body.get("stream_options") or {}
    for name, value, kind, word in (("stream", stream, bool, "boolean"), ("stream_options", extras, dict, "object")):
        dialect.check(isinstance(value, kind), word, name)

    def number(name: str, default, least, most, kind="number"):
        value = body.get(name)
        if value is None:
            return default
        fits = isinstance(value, int if kind == "integer" else (int, float)) and not isinstance(value, bool)
        dialect.check(fits and least <= value <= most, kind, name, least=least, most=most)
        return value

    messages = _messages(body.get("messages"), dialect)
    stop = _stops(body.get("stop") or [], dialect)
    room = number("max_tokens", None, 1, MOST_TOKENS, "integer")
    room = number("max_completion_tokens", room, 1, MOST_TOKENS, "integer")
    temperature, top_p = number("temperature", 1.0, 0, 2), number("top_p", 1.0, 0, 1)
    seed = number("seed", None, -MOST_SEED - 1, MOST_SEED, "integer")
    count = number("n", 1, 1, dialect.most_answers, "integer")
    seeds = [None if seed is None else seed + place for place in range(count)]
    turns = [Turn((), messages, room, temperature, top_p, stop, one) for one in seeds]
    return ChatRequest(turns, stream, bool(extras.get("include_usage")))


def _stops(given: Any, dialect: Dialect) -> tuple[str, ...]:
    given = [given] if isinstance(given, str) else given
    fits = isinstance(given, list) and len(given) <= 4 and all(isinstance(one, str) and one for one in given)
    dialect.check(fits, "stop", "stop")
    return tuple(given)


def _messages(given: Any, dialect: Dialect) -> list[dict]:
    dialect.check(isinstance(given, list) and given, "messages", "messages")
    found = []
    for place, message in enumerate(given):
        known = isinstance(message, dict) and message.get("role") in dialect.roles
        dialect.check(known, "role", f"messages[{place}].role", roles=", ".join(dialect.roles))
        text = plain_text(message.get("content"), f"messages[{place}].content", dialect)
        found.append({"role": message["role"], "content": text})
    dialect.check(dialect.empty or any(message["content"].strip() for message in found), "empty", "messages")
    return found


def plain_text(content: Any, name: str, dialect: Dialect) -> str:
    """The text of a content: itself, or its parts of kind "text", a line each. ApiError: pictures, sounds, anything else."""
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content
    ):
        content = "\n".join(part["text"] for part in content)
    dialect.check(isinstance(content, str), "text", name)
    return content.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text


def usage(turns: Sequence[Turn]) -> dict:
    prompt, answer = turns[0].prompt_tokens, sum(turn.answer_tokens for turn in turns)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def completion(head: Mapping, turns: Sequence[Turn], texts: Sequence[str]) -> dict:
    """The whole answer; `head` has id, created and model."""
    choices = [
        _choice(index, turn.finish_reason, message={"role": "assistant", "content": text, "refusal": None})
        for index, (turn, text) in enumerate(zip(turns, texts, strict=True))
    ]
    return {**head, "object": "chat.completion", "choices": choices, "usage": usage(turns)}


class ChunkWriter:
    """The events of a streamed answer: for each choice `start`, every `piece`, `end`; then `last`."""

    def __init__(self, head: Mapping, request: ChatRequest):
        self.head, self.request = {**head, "object": "chat.completion.chunk"}, request

    def start(self, index: int) -> bytes:
        return self._chunk(index, {"role": "assistant", "content": "", "refusal": None})

    def piece(self, index: int, text: str) -> bytes:
        return self._chunk(index, {"content": text})

    def end(self, index: int) -> bytes:
        return self._chunk(index, {}, self.request.turns[index].finish_reason)

    def last(self) -> bytes:
        told = self.head | {"choices": [], "usage": usage(self.request.turns)}
        return (event(told) if self.request.with_usage else b"") + DONE

    def _chunk(self, index: int, delta: dict, reason: str | None = None) -> bytes:
        choices = [_choice(index, reason, delta=delta)]
        return event(self.head | {"choices": choices} | ({"usage": None} if self.request.with_usage else {}))


def _choice(index: int, reason: str | None, **said: dict) -> dict:
    return {"index": index, **said, "logprobs": None, "finish_reason": reason}


def event(value: Mapping) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
