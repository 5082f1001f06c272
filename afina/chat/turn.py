"""A conversation on its way through a model: the question and its settings, the prompt as ids, the answer as text.

No torch here: whoever only asks loads none.
"""

from __future__ import annotations

import queue
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field

END = object()


class Refused(Exception):
    """The model cannot take this question."""

    def __init__(self, message: str, code: str):
        super().__init__(message)
        self.code = code


@dataclass(eq=False)
class Turn:
    """One question and, while it is answered, its state. `layers` are the adapter folders over the base model."""

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
    abandoned: bool = False
    pieces: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)


def prompt_text(tokenizer, messages: list[dict]) -> str:
    """The messages in the model's own chat template, ready for its answer."""
    plain = [{"role": "system" if m["role"] == "developer" else m["role"], "content": m["content"]} for m in messages]
    return tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)


class Line:
    """One turn within a batch: chooses its tokens, sends its text, knows when to stop.

    `ids` is the prompt; `room` the model's context in tokens; `ends` the tokens that close an answer.
    """

    def __init__(self, tokenizer, turn: Turn, ids: list[int], room: int, ends: Collection[int] = ()):
        import torch
        from tokenizers.decoders import DecodeStream

        self.tokenizer, self.turn, self.ids = tokenizer, turn, ids
        self.ends = ends or (tokenizer.eos_token_id,)
        self.left = min(turn.max_tokens or room, room - len(ids))
        self.new: list[int] = []
        self.text = ""  # of the whole characters so far
        self.sent = 0  # characters
        self.stream = DecodeStream(skip_special_tokens=True)
        self.dice = torch.Generator()
        self.dice.manual_seed(secrets.randbits(62) if turn.seed is None else turn.seed)

    @property
    def greedy(self) -> bool:
        """It takes the likeliest token: `choose` is not needed where the batch's argmax is known."""
        return self.turn.temperature < 1e-4 or self.turn.top_p == 0

    def choose(self, scores) -> int:
        """The next token from its scores, (vocab_size,)."""
        import torch

        turn = self.turn
        if self.greedy:
            return int(scores.argmax())
        shares = (scores / turn.temperature).softmax(-1)
        if turn.top_p < 1:
            ordered, places = shares.sort(descending=True)
            ordered[ordered.cumsum(-1) - ordered >= turn.top_p] = 0
            shares = torch.zeros_like(shares).scatter(0, places, ordered)
        return int(torch.multinomial(shares, 1, generator=self.dice))

    def take(self, token: int) -> bool:
        """Add the token; False when the answer is over."""
        turn = self.turn
        if token in self.ends:
            return self._close("stop")
        self.new.append(token)
        turn.answer_tokens += 1
        # the stream keeps half a character back
        self.text += self.stream.step(self.tokenizer.backend_tokenizer, token) or ""
        for stop in turn.stop:
            if stop in self.text:
                turn.stopped_by = stop
                return self._close("stop", self.text[: self.text.index(stop)])
        if len(self.new) >= self.left:
            return self._close("length")
        # hold back what may be the beginning of a stop text
        self._send(self.text[: len(self.text) - max((len(stop) - 1 for stop in turn.stop), default=0)])
        return not turn.abandoned

    def _close(self, reason: str, text: str | None = None) -> bool:
        self.turn.finish_reason = reason
        self._send(self.tokenizer.decode(self.new, skip_special_tokens=True) if text is None else text)
        return False

    def _send(self, text: str) -> None:
        if len(text) > self.sent:
            self.turn.pieces.put(text[self.sent :])
            self.sent = len(text)
