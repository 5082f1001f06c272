"""Many questions, one model: a thread that answers them together, and lets each come and go at any token.

Continuous batching (Yu et al., 2022, "Orca"): every round writes one token for every question under way. Between two
rounds, those that are over leave the batch and those that wait enter it, so that a short answer never waits for a long
one. The rows of the batch end at the same column; what a row lacks at its left is masked out.

A classifier has no rounds: all texts that wait together go through it together.
"""

from __future__ import annotations

import asyncio
import collections
import threading
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache

from afina.chat.turn import END, Line
from afina.serve.checkpoint import Checkpoint
from afina.tune.bert import predict


class Busy(Exception):
    """Batch and queue are full."""


class Mailbox:
    """What the model's thread has for one request, on its way to the event loop: `put` here, `get` there."""

    def __init__(self, desk: Desk):
        self.desk, self.letters = desk, asyncio.Queue()

    def put(self, piece) -> None:
        self.desk.outgoing.append((self, piece))

    async def get(self):
        """The next piece, or END. Raises what went wrong in the model's thread."""
        piece = await self.letters.get()
        if isinstance(piece, Exception):
            raise piece
        return piece


@dataclass(eq=False)
class Text:
    """One text to classify; its pieces are the probabilities, in the order of the labels, and END."""

    text: str
    pieces: Mailbox
    abandoned: bool = False


@dataclass(eq=False)
class Desk:
    """The counter between the event loop, which serves people, and the thread, which has the model."""

    loop: asyncio.AbstractEventLoop
    limit: int  # requests that may be here, under way or waiting
    waiting: collections.deque = field(default_factory=collections.deque)
    active: int = 0
    outgoing: list = field(default_factory=list)
    bell: threading.Condition = field(default_factory=threading.Condition)

    def hand_in(self, work) -> None:
        """Queue a Line or a Text. Busy: there is no room."""
        with self.bell:
            if self.active + len(self.waiting) >= self.limit:
                self.waiting = collections.deque(one for one in self.waiting if not _left(one))
            if self.active + len(self.waiting) >= self.limit:
                raise Busy
            self.waiting.append(work)
            self.bell.notify()

    def take(self, most: int, wait: bool) -> list:
        """Up to `most` of those who still wait, first come first served; with `wait`, one at least."""
        with self.bell:
            taken = []
            while not taken:
                while wait and not self.waiting:
                    self.bell.wait()
                while self.waiting and len(taken) < most:
                    work = self.waiting.popleft()
                    if not _left(work):
                        taken.append(work)
                if not wait:
                    break
            self.active += len(taken)
            return taken

    def send(self) -> None:
        """Deliver what the mailboxes were given: one call into the event loop a round, however many they are."""
        if self.outgoing:
            letters, self.outgoing = self.outgoing, []
            try:
                self.loop.call_soon_threadsafe(_deliver, letters)
            except RuntimeError:  # the loop is closed: the server is on its way out
                return


def _left(work: Line | Text) -> bool:
    return work.turn.abandoned if isinstance(work, Line) else work.abandoned


def _deliver(letters: list[tuple[Mailbox, object]]) -> None:
    for mailbox, piece in letters:
        mailbox.letters.put_nowait(piece)


async def listen(work: Line | Text) -> AsyncIterator:
    """The pieces of a work that was handed in, as they come. Whoever stops listening takes it out of the batch."""
    owner = work.turn if isinstance(work, Line) else work
    try:
        while (piece := await owner.pieces.get()) is not END:
            yield piece
    finally:
        owner.abandoned = True


def start(checkpoint: Checkpoint, desk: Desk, batch: int) -> threading.Thread:
    """The thread that answers what is handed in, up to `batch` at a time, as long as the process lives."""
    run = classify if checkpoint.kind == "classifier" else talk
    thread = threading.Thread(target=run, args=(checkpoint, desk, batch), daemon=True, name="model")
    thread.start()
    return thread


def classify(checkpoint: Checkpoint, desk: Desk, batch: int) -> None:
    while True:
        texts = desk.take(batch, wait=True)
        try:
            chances = predict(checkpoint.model, checkpoint.tokenizer, [one.text for one in texts])
            for one, row in zip(texts, chances.tolist(), strict=True):
                one.pieces.put(row)
                one.pieces.put(END)
        except Exception as error:
            _tell(texts, error)
        desk.active = 0
        desk.send()


def talk(checkpoint: Checkpoint, desk: Desk, batch: int) -> None:
    under_way = Batch(checkpoint.model)
    while True:
        new = desk.take(batch - len(under_way.lines), wait=not under_way.lines)
        with torch.inference_mode():
            if new:
                try:
                    under_way.enter(new)
                except Exception as error:
                    _tell(new, error)
            desk.active = len(under_way.lines)
            desk.send()
            if under_way.lines:
                try:
                    under_way.round()
                except Exception as error:
                    _tell(under_way.lines, error)
                    under_way = Batch(checkpoint.model)
        desk.active = len(under_way.lines)
        desk.send()


def _tell(works: list[Line | Text], error: Exception) -> None:
    """The thread must outlive any request: who waits hears of it, and the log too."""
    traceback.print_exception(error)
    for work in works:
        owner = work.turn if isinstance(work, Line) else work
        owner.pieces.put(error)


class Batch:
    """The questions under way: `lines`, and for each a row of `mask` (1 where the cache holds a token of its own) and cache."""

    def __init__(self, model):
        self.model = model
        self.lines: list[Line] = []
        self.cache: DynamicCache | None = None
        self.mask = torch.zeros(0, 0, dtype=torch.long, device=model.device)
        self.last: list[int] = []  # each row's newest token, which the cache does not hold yet

    def enter(self, lines: list[Line]) -> None:
        """Read the prompts of new lines, together, choose their first tokens, and set them beside those under way."""
        longest = max(len(line.ids) for line in lines)
        ids = [[0] * (longest - len(line.ids)) + line.ids for line in lines]
        mask = [[0] * (longest - len(line.ids)) + [1] * len(line.ids) for line in lines]
        device = self.mask.device
        new = Batch(self.model)
        new.lines, new.mask = list(lines), torch.tensor(mask, device=device)
        new.cache = DynamicCache(config=self.model.config)
        new._forward(torch.tensor(ids, device=device), (new.mask.cumsum(-1) - 1).clamp(min=0))
        if new.lines:
            self._join(new)

    def round(self) -> None:
        """One more token for every line."""
        self.mask = torch.nn.functional.pad(self.mask, (0, 1), value=1)
        places = self.mask.sum(-1, keepdim=True) - 1
        self._forward(torch.tensor(self.last, device=self.mask.device)[:, None], places)

    def _forward(self, ids: torch.Tensor, places: torch.Tensor) -> None:
        out = self.model(
            input_ids=ids, attention_mask=self.mask, position_ids=places, past_key_values=self.cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        scores = out.logits[:, -1].float().cpu()
        best = scores.argmax(-1).tolist()
        chosen = [best[row] if line.greedy else line.choose(scores[row]) for row, line in enumerate(self.lines)]
        alive = []
        for row, line in enumerate(self.lines):
            if line.take(chosen[row]):
                alive.append(row)
            else:
                line.turn.pieces.put(END)
        self.last = [chosen[row] for row in alive]
        if len(alive) < len(self.lines):
            self._keep(alive)

    def _keep(self, rows: list[int]) -> None:
        """Drop the other rows, and the columns at the left in which no row that stays has a token."""
        self.lines = [self.lines[row] for row in rows]
        index = torch.tensor(rows, dtype=torch.long, device=self.mask.device)
        self.mask = self.mask[index]
        if not rows:
            self.cache = None
            return
        first = int(self.mask.any(0).int().argmax())
        self.mask = self.mask[:, first:]
        for layer in self.cache.layers:
            layer.keys = layer.keys[index, :, first:]
            layer.values = layer.values[index, :, first:]

    def _join(self, new: Batch) -> None:
        """Set the rows of `new` below ours; the shorter of the two is filled at the left."""
        if self.cache is None:
            self.lines, self.cache, self.mask, self.last = new.lines, new.cache, new.mask, new.last
            return
        width = max(self.mask.shape[1], new.mask.shape[1])
        fill = torch.nn.functional.pad
        self.mask = torch.cat([fill(b.mask, (width - b.mask.shape[1], 0)) for b in (self, new)])
        for ours, theirs in zip(self.cache.layers, new.cache.layers, strict=True):
            for part in ("keys", "values"):
                both = [getattr(layer, part) for layer in (ours, theirs)]
                setattr(ours, part, torch.cat([fill(one, (0, 0, width - one.shape[2], 0)) for one in both]))
        self.lines += new.lines
        self.last += new.last
