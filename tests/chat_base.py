"""What the tests of conversations share: questions, who listens to their answers, and the plainest decoding there is."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import torch

from afina.chat.batch import BatchRow
from afina.chat.checkpoint import Checkpoint, save_chat_gpt
from afina.chat.turn import Turn
from afina.gpt.tokenizer import load_tokenizer
from afina.gpt.weights import load_gpt
from afina.runtime import course_root

MODELS = course_root() / "models"


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


class Kept(list):
    """A mailbox for tests: what was put is here."""

    put = list.append

    def text(self) -> str:
        return "".join(piece for piece in self if isinstance(piece, str))


def row_and_turn(checkpoint: Checkpoint, text: str, **settings) -> tuple[BatchRow, Turn]:
    turn = Turn((), user(text), pieces=Kept(), **{"temperature": 0.0} | settings)
    (row,) = checkpoint.rows([turn])
    return row, turn


@torch.no_grad()
def greedy(checkpoint: Checkpoint, ids: list[int], count: int) -> list[int]:
    """The plainest reference: the whole text again for each token, alone, without a cache."""
    ids, new = list(ids), []
    while len(new) < count:
        token = int(checkpoint.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if token in checkpoint.ends:
            break
        new.append(token)
        ids.append(token)
    return new


@functools.cache
def instruct_folder() -> Path:
    """A hand GPT saved as lesson 12 would save it; made once a test process."""
    parent = Path(tempfile.mkdtemp(prefix="afina-instruct-"))
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    tokenizer = load_tokenizer(MODELS / "gpt-pt" / "tokenizer.json")
    return save_chat_gpt(load_gpt(MODELS / "gpt-pt"), tokenizer, parent / "instruct")
