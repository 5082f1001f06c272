"""Between the event loop, which serves people, and the thread, which has the model."""

import asyncio
import collections
import contextlib
import threading
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from afina.chat.batch import Desk, answer_forever
from afina.chat.checkpoint import Checkpoint
from afina.chat.turn import END


class Mailbox:
    """What the model's thread has for one request: `put` there, `pieces` in the event loop."""

    def __init__(self, outgoing: collections.deque):
        self.outgoing = outgoing
        self.letters: asyncio.Queue = asyncio.Queue()

    def put(self, piece) -> None:
        self.outgoing.append((self.letters, piece))

    async def pieces(self) -> AsyncIterator:
        """The pieces as they come, up to END. Raises what went wrong in the model's thread."""
        while (piece := await self.letters.get()) is not END:
            if isinstance(piece, Exception):
                raise piece
            yield piece


class LoopDesk(Desk):
    """A desk whose mailboxes are emptied into the event loop: one call a round, however many pieces there are."""

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop):
        super().__init__(limit, self._deliver)
        self.loop = loop
        self.outgoing: collections.deque = collections.deque()

    def mailbox(self) -> Mailbox:
        return Mailbox(self.outgoing)

    def _deliver(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server is on its way out
            if self.outgoing:
                self.loop.call_soon_threadsafe(self._in_the_loop)

    def _in_the_loop(self) -> None:
        while self.outgoing:
            letters, piece = self.outgoing.popleft()
            letters.put_nowait(piece)


@dataclass(eq=False)
class Classified:
    """One text to classify; its pieces are the probabilities, in the order of the labels, and END."""

    text: str
    pieces: Mailbox
    abandoned: bool = False


def start(checkpoint: Checkpoint, desk: LoopDesk, batch: int) -> threading.Thread:
    """The thread that answers what is handed in, up to `batch` at a time, as long as the process lives."""
    if checkpoint.kind == "classifier":
        work = partial(classify_forever, checkpoint, desk, batch)
    else:
        work = partial(answer_forever, desk, lambda _: checkpoint.model, batch)
    thread = threading.Thread(target=work, daemon=True, name="model")
    thread.start()
    return thread


def classify_forever(checkpoint: Checkpoint, desk: Desk, batch: int) -> None:
    """The work of a classifier's thread: it has no rounds, and all texts that wait together go through it together."""
    from afina.tune.bert import predict  # with the Trainer: a second and 80 MB that a chat model can do without

    while True:
        texts = desk.take(batch)
        try:
            chances = predict(checkpoint.model, checkpoint.tokenizer, [one.text for one in texts])
            for one, row in zip(texts, chances.tolist(), strict=True):
                one.pieces.put(row)
                one.pieces.put(END)
        except Exception as error:  # the thread must outlive any request
            traceback.print_exception(error)
            for one in texts:
                one.pieces.put(error)
        desk.active = 0
        desk.send()
