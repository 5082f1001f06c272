"""Rows that come and go write what each writes alone, whichever model each asks."""

import queue
import random
import threading
import time

import pytest
import torch
from chat_base import MODELS, greedy, instruct_folder, row_and_turn
from cloud_base import tiny_base

from afina.chat.batch import BatchRow, Busy, ContinuousBatch, Desk, answer_forever
from afina.chat.checkpoint import load_checkpoint
from afina.chat.turn import END

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tiny():
    return load_checkpoint(tiny_base())


def rows_of(draw, count, vocabulary, ends=(1,)):
    """Rows of random ids and limits, greedy."""
    return [
        BatchRow([draw.randrange(3, vocabulary) for _ in range(draw.randint(1, 40))], draw.randint(1, 30), ends)
        for _ in range(count)
    ]


def run(batch, rows, draw):
    """Let `rows` enter a few at a time, at any round, until all are over; the most that were under way together."""
    waiting, most = list(rows), 0
    while waiting or batch.rows:
        count = draw.randint(0, 3)
        if waiting[:count]:
            batch.enter(waiting[:count])
            del waiting[:count]
        if batch.rows:
            batch.round()
        most = max(most, len(batch.rows))
    return most


def test_ids_are_those_of_generate_row_by_row(tiny):
    draw = random.Random(2)
    rows = rows_of(draw, 16, tiny.model.config.vocab_size)
    assert run(ContinuousBatch(tiny.model), rows, draw) > 3
    for row in rows:
        ids = torch.tensor([row.ids])
        wanted = tiny.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=row.limit, do_sample=False, eos_token_id=1,
            pad_token_id=2,
        )[0, len(row.ids) :].tolist()  # fmt: skip
        assert row.new == [id for id in wanted if id != 1]
        assert row.end == ("stop" if 1 in wanted else "length")


@pytest.mark.parametrize("source", ["tiny", "instruct", "llama-base"])
def test_lines_that_come_and_go_write_what_each_writes_alone(source):
    """Entering at any round, beside prompts of other lengths, with other limits: the text is that of greedy decoding."""
    places = {"tiny": tiny_base(), "instruct": instruct_folder()}
    checkpoint = load_checkpoint(places.get(source) or MODELS / source)
    draw = random.Random(1)
    words = ["mouse", "number", "nice shape", "days", "caneca azul", "Benfica", "joga", "lamp", "blue", "ção", "🙂"]
    pairs = [
        row_and_turn(checkpoint, " ".join(draw.choices(words, k=draw.randint(1, 15))), max_tokens=draw.randint(1, 30))
        for _ in range(14)
    ]
    assert run(ContinuousBatch(checkpoint.model), [row for row, _ in pairs], draw) > 3
    for row, turn in pairs:
        wanted = greedy(checkpoint, row.ids, row.limit)
        assert row.new == wanted and turn.answer_tokens == len(wanted)
        assert turn.pieces.text() == checkpoint.tokenizer.decode(wanted, skip_special_tokens=True)
        assert turn.pieces[-1] is END
        assert turn.finish_reason == ("length" if len(wanted) == row.limit else "stop")


def test_a_row_that_is_left_leaves_the_batch_and_its_columns_with_it(tiny):
    long, _ = row_and_turn(tiny, "mouse number " * 20, max_tokens=200)
    short, _ = row_and_turn(tiny, "nice", max_tokens=200)
    batch = ContinuousBatch(tiny.model)
    batch.enter([long, short])
    before = batch.mask.shape[1]
    long.abandoned = True
    batch.round()
    assert batch.rows == [short]
    own = len(short.ids) + 1
    assert batch.mask.shape == (1, own) and before > own
    assert batch.cache.layers[0].keys.shape[2] == own
    while batch.rows:
        batch.round()
    assert short.new == greedy(tiny, short.ids, 200)


def test_a_seed_repeats_an_answer_whoever_is_beside_it(tiny):
    said = []
    for others in (0, 3):
        one, _ = row_and_turn(tiny, "mouse", temperature=1.0, top_p=0.9, seed=11, max_tokens=20)
        beside = [row_and_turn(tiny, "shape " * (n + 2), max_tokens=50, temperature=1.0)[0] for n in range(others)]
        batch = ContinuousBatch(tiny.model)
        batch.enter([*beside, one])
        while one in batch.rows:
            batch.round()
        said.append(one.new)
    assert said[0] == said[1] and len(said[0]) > 1


def test_top_p_and_temperature_choose_among_the_likely():
    scores = torch.tensor([1.0, 3.0, 2.9, -5.0])
    assert BatchRow([1], 1, top_p=0).greedy and not BatchRow([1], 1, temperature=0.5).greedy
    some = BatchRow([1], 1, temperature=1.0, top_p=0.8, seed=3)
    assert {some.choose(scores) for _ in range(50)} == {1, 2}
    hot = BatchRow([1], 1, temperature=2.0, seed=3)
    assert {hot.choose(scores) for _ in range(100)} >= {0, 1, 2}


def test_stop_texts_end_an_answer_and_are_not_said(tiny):
    free, _ = row_and_turn(tiny, "mouse number 3", max_tokens=40)
    text = tiny.tokenizer.decode(greedy(tiny, free.ids, 40), skip_special_tokens=True)
    stop = text[6:9]
    row, turn = row_and_turn(tiny, "mouse number 3", max_tokens=40, stop=(stop,))
    batch = ContinuousBatch(tiny.model)
    batch.enter([row])
    while batch.rows:
        batch.round()
    assert turn.pieces.text() == text[: text.index(stop)] and turn.stopped_by == stop


# --- the thread of the models ------------------------------------------------------------------------------------------


class Waiting:
    """A listener that a test can wait for."""

    def __init__(self):
        self.ended = queue.SimpleQueue()

    def heard(self, row):
        if row.end:
            self.ended.put(row)

    def failed(self, error):
        self.ended.put(error)

    def get(self):
        found = self.ended.get(timeout=30)
        if isinstance(found, Exception):
            raise found
        return found


def ask(desk, ids, model=None, limit=5):
    row = BatchRow(ids, limit, model=model, listener=Waiting())
    desk.hand_in(row)
    return row


def start(desk, load, most=4, kept=1):
    threading.Thread(target=answer_forever, args=(desk, load, most, kept), daemon=True).start()


def idle(desk):
    end = time.monotonic() + 10
    while desk.active and time.monotonic() < end:
        time.sleep(0.01)
    assert not desk.active


def test_the_thread_outlives_a_model_that_breaks(capsys):
    """Who was in the batch hears of it; the next one is answered."""
    model = load_checkpoint(tiny_base()).model
    forward, broken = model.forward, threading.Event()

    def breaking(*args, **kwargs):
        if broken.is_set():
            broken.clear()
            raise RuntimeError("no memory")
        return forward(*args, **kwargs)

    model.forward = breaking
    desk = Desk(limit=2)
    start(desk, lambda _: model)
    before = ask(desk, [7, 9]).listener.get().new
    broken.set()
    with pytest.raises(RuntimeError, match="no memory"):
        ask(desk, [7, 9]).listener.get()
    assert before == ask(desk, [7, 9]).listener.get().new != []
    assert "no memory" in capsys.readouterr().err
    idle(desk)


def test_a_full_queue_refuses_and_those_who_left_make_room():
    desk = Desk(limit=2)
    rows = [BatchRow([1], 1) for _ in range(4)]
    desk.hand_in(*rows[:2])
    with pytest.raises(Busy):
        desk.hand_in(rows[2])
    rows[0].abandoned = True
    with pytest.raises(Busy):
        desk.hand_in(rows[2], rows[3])  # both or none
    desk.hand_in(rows[3])
    assert desk.take(5) == [rows[1], rows[3]] and desk.take(5) == []


def test_who_does_not_fit_is_not_passed_by():
    desk = Desk()
    rows = [BatchRow([1], 1, model=name) for name in "aba"]
    desk.hand_in(*rows)
    assert desk.take(5, fits=lambda row: row.model == "a") == rows[:1]
    assert desk.take(5) == rows[1:]


def test_several_models_answer_together_and_few_stay_in_memory(tiny):
    """Each its own batch; a model that nobody asks makes room for the next; one that cannot be loaded fails its rows only."""
    loaded = []

    def load(name):
        loaded.append(name)
        if name == "broken":
            raise OSError("no such adapter")
        return tiny.model

    desk = Desk()
    rows = [ask(desk, [7, 9 + n], name, limit=20) for n, name in enumerate(["a", "b", "broken", "a", "c", "b", "c"])]
    start(desk, load, most=8, kept=2)
    for row in rows:
        if row.model == "broken":
            with pytest.raises(OSError, match="no such adapter"):
                row.listener.get()
        else:
            assert row.listener.get().new == greedy(tiny, row.ids, 20)[: len(row.new)] and len(row.new) == 20
    assert loaded[:3] == ["a", "b", "broken"] or sorted(set(loaded)) == ["a", "b", "broken", "c"]
    again = len(loaded)
    ask(desk, [7], "c").listener.get()
    assert len(loaded) == again  # it stayed
    ask(desk, [7], "d").listener.get()
    ask(desk, [7], "e").listener.get()
    ask(desk, [7], "c").listener.get()
    assert loaded[again:] == ["d", "e", "c"]


def test_a_long_answer_of_one_model_holds_up_no_other(tiny):
    desk = Desk()
    start(desk, lambda _: tiny.model, kept=2)
    long = ask(desk, [7, 9], "a", limit=240)
    short = ask(desk, [7, 9], "b", limit=2).listener.get()
    assert short.end == "length" and long.end is None
    long.abandoned = True
    idle(desk)
    assert len(long.new) < 240
