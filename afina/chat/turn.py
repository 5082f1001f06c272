"""A conversation on its way through a model: the question and its settings, the prompt as ids, the answer as text.

No torch here: whoever only asks loads none.
"""

import queue
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tokenizers.decoders import DecodeStream

if TYPE_CHECKING:
    from afina.chat.batch import BatchRow

END = object()
TOO_LONG = (
    "O pedido tem {tokens} tokens, e este modelo lê até {context}, com a resposta. Encurte o texto, ou comece uma nova "
    "conversa."
)


class Refused(Exception):
    """The model cannot take this question."""

    def __init__(self, message: str, code: str):
        super().__init__(message)
        self.code = code


@dataclass(eq=False)
class Turn:
    """One question and, while it is answered, its state. `layers` are the adapter folders over the base model.

    `pieces` has a `put` for the pieces of text, then END, or for the Exception that came in their place.
    """

    layers: tuple[str, ...]
    messages: list[dict]
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    finish_reason: str = "stop"
    stopped_by: str | None = None
    prompt_tokens: int = 0
    answer_tokens: int = 0
    pieces: Any = field(default_factory=queue.SimpleQueue)


def prompt_text(tokenizer, messages: Sequence[dict]) -> str:
    """The messages in the model's own chat template, ready for its answer."""
    plain = [{"role": "system" if m["role"] == "developer" else m["role"], "content": m["content"]} for m in messages]
    return tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)


class PromptBuilder:
    """Turns conversations into the ids that a model continues; `context` is what it reads, in tokens, the answer included."""

    def __init__(self, tokenizer, context: int):
        self.tokenizer, self.context = tokenizer, context
        self._specials = sorted(filter(None, tokenizer.all_special_tokens), key=len, reverse=True)
        self._longest = max(map(len, tokenizer.get_vocab()))

    def ids(self, messages: Sequence[dict], too_long: str = TOO_LONG) -> list[int]:
        """The messages in the model's chat form, or one after the other where it has none.

        A special token that somebody typed ("</s>") gets a space inside: nobody closes a turn from within a message.
        Refused (code "context_length_exceeded") where nothing would be left of the context for an answer; `too_long` says so.
        """
        plain = [{**message, "content": self._tame(message["content"])} for message in messages]
        size = sum(len(message["content"]) for message in plain)
        if size > self.context * self._longest:  # sure to be too long: it is not read to the end to say so
            raise Refused(too_long.format(tokens=f"{self.context}+", context=self.context), "context_length_exceeded")
        begin = self.tokenizer.bos_token or ""
        if self.tokenizer.chat_template:
            text = prompt_text(self.tokenizer, plain)
        else:
            text = begin + "\n".join(message["content"] for message in plain)
        begun = bool(begin) and text.startswith(begin)
        ids = self.tokenizer(text, add_special_tokens=not begun, verbose=False)["input_ids"]
        if len(ids) >= self.context:
            raise Refused(too_long.format(tokens=len(ids), context=self.context), "context_length_exceeded")
        return ids

    def _tame(self, text: str) -> str:
        for special in self._specials:
            text = text.replace(special, f"{special[0]} {special[1:]}")
        return text


class Line:
    """What a row of the batch writes, as text: sends the pieces of a turn, and ends the row at one of its stop texts."""

    def __init__(self, tokenizer, turn: Turn):
        self.tokenizer, self.turn = tokenizer, turn
        self.text = ""  # of the whole characters so far
        self.sent = 0  # characters
        self.stream = DecodeStream(skip_special_tokens=True)
        # this many characters may be the beginning of a stop text
        self.held = max((len(stop) - 1 for stop in turn.stop), default=0)

    def heard(self, row: "BatchRow") -> None:
        """The row has one more token, or is over."""
        turn = self.turn
        if row.end != "stop":
            turn.answer_tokens += 1
            # the stream keeps half a character back
            self.text += self.stream.step(self.tokenizer.backend_tokenizer, row.new[-1]) or ""
            turn.stopped_by = next((stop for stop in turn.stop if stop in self.text), None)
            if turn.stopped_by:
                row.end = "stop"
        if row.end is None:
            text = self.text[: max(0, len(self.text) - self.held)]
        elif turn.stopped_by:
            text = self.text[: self.text.index(turn.stopped_by)]
        else:
            text = self.tokenizer.decode(row.new, skip_special_tokens=True)
        if len(text) > self.sent:
            turn.pieces.put(text[self.sent :])
            self.sent = len(text)
        if row.end is not None:
            turn.finish_reason = row.end
            turn.pieces.put(END)

    def failed(self, error: Exception) -> None:
        """The model broke under the row."""
        self.turn.pieces.put(error)
