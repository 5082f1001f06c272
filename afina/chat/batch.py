"""Many questions, few models: rows of ids that are continued together, and come and go at any token.

Continuous batching (Yu et al., 2022, "Orca"): every round writes one token for every row under way. Between two rounds,
those that are over leave the batch and those that wait enter it, so that a short answer never waits for a long one. The
rows of a batch end at the same column; what a row lacks at its left is masked out.

Nothing here knows text: a row is ids, how the next one is chosen, and which of them end it.
"""

import collections
import math
import secrets
import threading
import traceback
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache


class Busy(Exception):
    """Batch and queue are full."""


@dataclass(eq=False)
class BatchRow:
    """One sequence: the prompt `ids`, up to `limit` new ones after them, and how they are chosen.

    `ends` are the ids that close it; `model` names one of several models. `end` is None while it is under way, then "stop"
    or "length"; the listener may set it too. The listener has `heard(row)` and `failed(error)`, both called in the models'
    thread. `abandoned`: nobody waits for it any more; any thread may say so.
    """

    ids: list[int]
    limit: int
    ends: Collection[int] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    model: Hashable = None
    listener: Any = None
    new: list[int] = field(default_factory=list)
    end: str | None = None
    abandoned: bool = False

    def __post_init__(self):
        self.dice = torch.Generator()
        self.dice.manual_seed(secrets.randbits(62) if self.seed is None else self.seed)

    @property
    def greedy(self) -> bool:
        """It takes the likeliest id: `choose` is not needed where the batch's argmax is known."""
        return self.temperature < 1e-4 or self.top_p == 0

    def choose(self, scores: torch.Tensor) -> int:
        """The next id from its scores, (vocab_size,)."""
        shares = (scores / self.temperature).softmax(-1)
        if self.top_p < 1:
            ordered, places = shares.sort(descending=True)
            ordered[ordered.cumsum(-1) - ordered >= self.top_p] = 0
            shares = torch.zeros_like(shares).scatter(0, places, ordered)
        return int(torch.multinomial(shares, 1, generator=self.dice))

    def take(self, id: int) -> bool:
        """Add the id; False when the row is over, or nobody waits for it."""
        if id in self.ends:
            self.end = "stop"
        else:
            self.new.append(id)
            self.end = "length" if len(self.new) >= self.limit else None
        if self.listener:
            self.listener.heard(self)
        return self.end is None and not self.abandoned


class ContinuousBatch:
    """The `rows` under way on one model, each with a row of `mask` (1 where the cache holds an id of its own) and cache."""

    def __init__(self, model):
        self.model = model
        self.rows: list[BatchRow] = []
        self.cache: Any = None
        self.mask = torch.zeros(0, 0, dtype=torch.long, device=model.device)
        self.last: list[int] = []  # each row's newest id, which the cache does not hold yet

    @torch.inference_mode()
    def enter(self, rows: Sequence[BatchRow]) -> None:
        """Read the prompts of new rows, together, choose their first ids, and set them beside those under way."""
        longest, device = max(len(row.ids) for row in rows), self.mask.device
        ids = [[0] * (longest - len(row.ids)) + row.ids for row in rows]
        mask = [[0] * (longest - len(row.ids)) + [1] * len(row.ids) for row in rows]
        new = ContinuousBatch(self.model)
        new.rows, new.mask = list(rows), torch.tensor(mask, device=device)
        new.cache = DynamicCache(config=self.model.config)
        new._forward(torch.tensor(ids, device=device), (new.mask.cumsum(-1) - 1).clamp(min=0))
        if new.rows:
            self._join(new)

    @torch.inference_mode()
    def round(self) -> None:
        """One more id for every row."""
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
        chosen = [best[place] if row.greedy else row.choose(scores[place]) for place, row in enumerate(self.rows)]
        alive = [place for place, row in enumerate(self.rows) if row.take(chosen[place])]
        self.last = [chosen[place] for place in alive]
        if len(alive) < len(self.rows):
            self._keep(alive)

    def _keep(self, places: list[int]) -> None:
        """Drop the other rows, and the columns at the left in which no row that stays has an id."""
        self.rows = [self.rows[place] for place in places]
        index = torch.tensor(places, dtype=torch.long, device=self.mask.device)
        self.mask = self.mask[index]
        if not places:
            self.cache = None
            return
        first = int(self.mask.any(0).int().argmax())
        self.mask = self.mask[:, first:]
        for layer in self.cache.layers:
            layer.keys = layer.keys[index, :, first:]
            layer.values = layer.values[index, :, first:]

    def _join(self, new: "ContinuousBatch") -> None:
        """Set the rows of `new` below ours; the shorter of the two is filled at the left."""
        if self.cache is None:
            self.rows, self.cache, self.mask, self.last = new.rows, new.cache, new.mask, new.last
            return
        width = max(self.mask.shape[1], new.mask.shape[1])
        fill = torch.nn.functional.pad
        self.mask = torch.cat([fill(b.mask, (width - b.mask.shape[1], 0)) for b in (self, new)])
        for ours, theirs in zip(self.cache.layers, new.cache.layers, strict=True):
            for part in ("keys", "values"):
                both = [getattr(layer, part) for layer in (ours, theirs)]
                setattr(ours, part, torch.cat([fill(one, (0, 0, width - one.shape[2], 0)) for one in both]))
        self.rows += new.rows
        self.last += new.last


class Desk:
    """The counter between those who ask, in any thread, and the one thread that has the models.

    What waits has an `abandoned`. `limit` is how many may be here, under way or waiting; `send` is called after every round.
    """

    def __init__(self, limit: float = math.inf, send: Callable[[], None] = lambda: None):
        self.limit, self.send = limit, send
        self.waiting: collections.deque = collections.deque()
        self.active = 0
        self.bell = threading.Condition()

    def hand_in(self, *works) -> None:
        """Queue all of them. Busy: there is no room, and none was queued."""
        with self.bell:
            room = self.limit - self.active - len(works)
            if len(self.waiting) > room:
                self.waiting = collections.deque(one for one in self.waiting if not one.abandoned)
            if len(self.waiting) > room:
                raise Busy
            self.waiting.extend(works)
            self.bell.notify()

    def take(self, most: int, fits: Callable[[Any], bool] = lambda work: True) -> list:
        """Those who still wait, first come first served, until `most` are under way; where none is, it waits for one.

        Who does not fit holds up those behind: else they could pass by for ever.
        """
        with self.bell:
            taken: list = []
            while self.waiting or not (self.active or taken):
                if not self.waiting:
                    self.bell.wait()
                elif self.waiting[0].abandoned:
                    self.waiting.popleft()
                elif self.active + len(taken) < most and fits(self.waiting[0]):
                    taken.append(self.waiting.popleft())
                else:
                    break
            self.active += len(taken)
            return taken


def answer_forever(desk: Desk, load: Callable[[Any], Any], most: int, kept: int = 1) -> None:
    """The work of the models' thread: continue the rows handed in at `desk`, up to `most` at a time, as long as it lives.

    `load` gives the model of a row's `model`; up to `kept` of them stay in memory, and the one idle for longest makes room.
    """
    batches: collections.OrderedDict[Hashable, ContinuousBatch] = collections.OrderedDict()

    def report() -> None:
        desk.active = sum(len(batch.rows) for batch in batches.values())
        desk.send()

    while True:
        under_way = {name for name, batch in batches.items() if batch.rows}

        def fits(row: BatchRow, names: set = under_way) -> bool:
            if row.model not in names and len(names) == kept:
                return False
            names.add(row.model)
            return True

        new = desk.take(most, fits)
        for name in dict.fromkeys(row.model for row in new):
            rows = [row for row in new if row.model == name]
            try:
                if name not in batches:
                    while len(batches) >= kept:
                        del batches[next(idle for idle in batches if idle not in under_way)]
                    batches[name] = ContinuousBatch(load(name))
                batches.move_to_end(name)
                batches[name].enter(rows)
            except Exception as error:
                _tell(rows, error)
        report()
        for name, batch in batches.items():
            try:
                if batch.rows:
                    batch.round()
            except Exception as error:
                _tell(batch.rows, error)
                batches[name] = ContinuousBatch(batch.model)
        report()


def _tell(rows: Sequence[BatchRow], error: Exception) -> None:
    """The thread must outlive any request: who waits hears of it, and the log too."""
    traceback.print_exception(error)
    for row in rows:
        if row.listener:
            row.listener.failed(error)
