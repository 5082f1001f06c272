"""Answers for the twins: one thread of the serving process, which loads torch at the first question.

Questions that wait together are answered together, whichever tuned model each asks, read from its adapter files.
"""

import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from afina.chat.turn import END, Refused, Turn

if TYPE_CHECKING:
    from afina.chat.batch import BatchRow, Desk
    from afina.chat.checkpoint import Checkpoint

TOGETHER = 32  # answers
KEPT = 6  # models in memory
TOO_LONG = "This local model's maximum context length is {context} tokens and the messages have {tokens}."


class Speaker:
    """Loads models from `base` (a Llama folder) and adapters, and answers turns in its own thread."""

    def __init__(self, base: Path):
        self.base = base
        self._lock = threading.Lock()

    def say(self, turn: Turn) -> Iterator[str]:
        """Queue the turn now; the iterator yields pieces of the answer, or raises Refused: the model cannot take it."""
        with self._lock:
            checkpoint, desk = self._ready
        row = None
        try:
            (row,) = checkpoint.rows([turn], too_long=TOO_LONG)
            desk.hand_in(row)
        except Refused as error:
            turn.pieces.put(error)
        return _pieces(turn, row)

    @functools.cached_property
    def _ready(self) -> "tuple[Checkpoint, Desk]":
        import torch

        from afina.chat.batch import Desk, answer_forever
        from afina.chat.checkpoint import load_checkpoint, load_model

        torch.set_num_threads(1)  # so small a model gains nothing from a second thread
        desk, checkpoint = Desk(), load_checkpoint(self.base)

        def load(layers: tuple[str, ...]):
            return load_model(self.base, layers) if layers else checkpoint.model

        threading.Thread(target=answer_forever, args=(desk, load, TOGETHER, KEPT), daemon=True, name="speaker").start()
        return checkpoint, desk


def _pieces(turn: Turn, row: "BatchRow | None") -> Iterator[str]:
    try:
        while (piece := turn.pieces.get()) is not END:
            if isinstance(piece, Exception):
                raise piece
            yield piece
    finally:
        if row is not None:
            row.abandoned = True  # nobody listens any more: the batch drops it
