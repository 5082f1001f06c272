"""Pieces cross from the model's thread into the event loop, and the thread outlives whatever breaks."""

import asyncio
import types

import numpy as np
import pytest
from chat_base import user
from cloud_base import tiny_base

from afina.chat.checkpoint import load_checkpoint
from afina.chat.turn import END, Turn
from afina.serve import mailbox
from afina.serve.mailbox import Classified, LoopDesk

pytestmark = pytest.mark.usefixtures("one_thread")


def test_an_answer_crosses_in_pieces_and_a_broken_model_is_told(capsys):
    checkpoint = load_checkpoint(tiny_base())
    forward = checkpoint.model.forward

    def broken(*args, **kwargs):
        checkpoint.model.forward = forward
        raise RuntimeError("no memory")

    async def ask(desk):
        turn = Turn((), user("mouse"), max_tokens=5, temperature=0.0, pieces=desk.mailbox())
        desk.hand_in(*checkpoint.rows([turn]))
        return [piece async for piece in turn.pieces.pieces()]

    async def scene():
        desk = LoopDesk(2, asyncio.get_running_loop())
        mailbox.start(checkpoint, desk, batch=4)
        before = await ask(desk)
        checkpoint.model.forward = broken
        with pytest.raises(RuntimeError, match="no memory"):
            await ask(desk)
        return before, await ask(desk)

    before, after = asyncio.run(scene())
    assert before == after and len(before) > 1
    assert "no memory" in capsys.readouterr().err


def test_texts_that_wait_together_are_classified_together(monkeypatch, capsys):
    sizes = []

    def predict(model, tokenizer, texts):
        sizes.append(len(texts))
        if "broken" in texts:
            raise RuntimeError("no memory")
        return np.array([[0.25, 0.75]] * len(texts))

    monkeypatch.setattr("afina.tune.bert.predict", predict)
    checkpoint = types.SimpleNamespace(kind="classifier", model=None, tokenizer=None)

    async def scene():
        desk = LoopDesk(9, asyncio.get_running_loop())
        texts = [Classified(text, desk.mailbox()) for text in ("a", "b", "left", "broken")]
        texts[2].abandoned = True
        desk.hand_in(*texts[:3])
        mailbox.start(checkpoint, desk, batch=4)
        told = [[piece async for piece in text.pieces.pieces()] for text in texts[:2]]
        desk.hand_in(texts[3])
        with pytest.raises(RuntimeError, match="no memory"):
            [piece async for piece in texts[3].pieces.pieces()]
        return told

    assert asyncio.run(scene()) == [[[0.25, 0.75]]] * 2
    assert sizes == [2, 1] and "no memory" in capsys.readouterr().err


def test_a_loop_that_is_closed_is_no_error():
    loop = asyncio.new_event_loop()
    desk = LoopDesk(1, loop)
    desk.mailbox().put(END)
    loop.close()
    desk.send()
