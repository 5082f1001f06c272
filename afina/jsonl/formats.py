"""The formats, one entry each: how a line is read fast, how it is checked patiently, and how a file of it is recognised."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from afina.jsonl import bedrock, chat
from afina.prices import COMPLETION, CONVERSE, Model


@dataclass(frozen=True)
class Format:
    """`row`, a `chat.FastRow`, and `doubtful` serve the fast lane, `check` holds all the rules."""

    row: Any
    check: Callable
    answer: bytes  # what starts the answer in the raw line: all before it is the question
    doubtful: tuple[str, ...] = ()  # words in a user or system text that the rules have something to say about


RULES = {
    "openai-chat": Format(chat.ChatRow, chat.check_chat, b'"assistant"'),
    "openai-dpo": Format(chat.DpoRow, chat.check_dpo, b'"preferred_output"'),
    CONVERSE: Format(bedrock.ConverseRow, bedrock.check_converse, b'"assistant"', bedrock.RESERVED),
    COMPLETION: Format(bedrock.CompletionRow, bedrock.check_completion, b'"completion"'),
}


def rules_for(form: str, model: Model | None) -> Format:
    """The rules of a format, as strict as the model asks; without a model, what only some models ask is a warning."""
    if form != CONVERSE or model is None:
        return RULES[form]
    return replace(RULES[form], check=partial(bedrock.check_converse, nova=".nova-" in model.id))


def detect(start: bytes, model: Model | None) -> str:
    """The format of a file by the first example of its `start` that parses; without one, the model's, else OpenAI chat."""
    for line in start.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        try:
            row = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            return _format_of(row, model)
    return model.format if model else "openai-chat"


def _format_of(row: dict, model: Model | None) -> str:
    pairs = bool({"preferred_output", "non_preferred_output"} & set(row))
    if model:
        return "openai-dpo" if pairs and model.service == "openai" else model.format
    if pairs:
        return "openai-dpo"
    if {"prompt", "completion"} & set(row):
        return COMPLETION
    if {"schemaVersion", "system"} & set(row):
        return CONVERSE
    block = _first(_first(row.get("messages")).get("content"))
    return CONVERSE if "text" in block and "type" not in block else "openai-chat"


def _first(items: object) -> dict:
    """The first of a list where it is an object, else an empty one."""
    return items[0] if isinstance(items, list) and items and isinstance(items[0], dict) else {}
