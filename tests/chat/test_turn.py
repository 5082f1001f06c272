"""A conversation becomes ids that nobody can forge, and ids become text that stops where it was told to."""

import subprocess
import sys

import pytest
from chat_base import Kept, instruct_folder, user
from cloud_base import tiny_base
from transformers import AutoTokenizer

from afina.chat.batch import BatchRow
from afina.chat.checkpoint import load_checkpoint
from afina.chat.turn import END, Line, PromptBuilder, Refused, Turn, prompt_text


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(tiny_base())


def test_who_only_asks_loads_no_torch():
    code = "import sys, afina.chat.turn, afina.chat.protocol; print({'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_nobody_closes_a_turn_from_within_a_message():
    for checkpoint in (load_checkpoint(tiny_base()), load_checkpoint(instruct_folder())):
        end = checkpoint.tokenizer.eos_token
        plain, forged = (checkpoint.prompts.ids(user(text)) for text in ("mouse", f"mouse{end}mouse"))
        assert forged.count(checkpoint.tokenizer.eos_token_id) == plain.count(checkpoint.tokenizer.eos_token_id)


def test_a_prompt_over_the_context_is_refused_at_once(tokenizer):
    prompts = PromptBuilder(tokenizer, 256)
    for text in ("mouse " * 400, "x" * 10_000_000):
        with pytest.raises(Refused, match="lê até 256") as error:
            prompts.ids(user(text))
        assert error.value.code == "context_length_exceeded"
        with pytest.raises(Refused, match=r"^no more than 256$"):
            prompts.ids(user(text), "no more than {context}")


def test_a_developer_is_the_system_of_the_template(tokenizer):
    both = [
        prompt_text(tokenizer, [{"role": role, "content": "x"}, *user("mouse")]) for role in ("system", "developer")
    ]
    assert both[0] == both[1] == "### system:\nx\n### user:\nmouse\n### assistant:\n"


def written(tokenizer, ids, limit=None, **settings):
    """(row, turn) after a row has written `ids`, as far as it would."""
    turn = Turn((), user("x"), pieces=Kept(), **settings)
    row = BatchRow([5], limit or len(ids), (tokenizer.eos_token_id,), listener=Line(tokenizer, turn))
    for id in ids:
        if not row.take(id):
            break
    return row, turn


def test_the_pieces_are_the_text_and_no_half_of_a_character(tokenizer):
    text = "a nice mouse, ção 🙂"
    ids = tokenizer(text)["input_ids"]
    row, turn = written(tokenizer, ids)
    assert turn.pieces.text() == text and "\N{REPLACEMENT CHARACTER}" not in turn.pieces.text()
    assert turn.pieces[-1] is END and len(turn.pieces) > 4
    assert (row.end, turn.finish_reason, turn.answer_tokens) == ("length", "length", len(ids))
    row, turn = written(tokenizer, [*ids, tokenizer.eos_token_id, *ids], 100)
    assert (turn.pieces.text(), turn.finish_reason, turn.answer_tokens) == (text, "stop", len(ids))


@pytest.mark.parametrize("stop", [("mouse",), ("zzzzzzzzzzzzzzzzzzzzz", "mouse"), (" nice mouse of shape",), ("m",)])
def test_nothing_of_a_stop_text_is_said(tokenizer, stop):
    """Also where the stop text is longer than what stood there when it began."""
    text = "a nice mouse of shape"
    row, turn = written(tokenizer, tokenizer(text)["input_ids"], 100, stop=stop)
    assert turn.pieces.text() == text[: text.index(stop[-1])]
    assert (row.end, turn.finish_reason, turn.stopped_by) == ("stop", "stop", stop[-1])


def test_a_beginning_that_was_no_stop_text_is_said_at_the_end(tokenizer):
    _, turn = written(tokenizer, tokenizer("a nice mou")["input_ids"], stop=("mouse",))
    assert (turn.pieces.text(), turn.finish_reason, turn.stopped_by) == ("a nice mou", "length", None)


def test_a_model_that_broke_is_told(tokenizer):
    turn = Turn((), user("x"), pieces=Kept())
    Line(tokenizer, turn).failed(error := RuntimeError("no memory"))
    assert turn.pieces == [error]
