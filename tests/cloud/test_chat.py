"""The twin's speaker: turns to several models at once, in one thread, each answered as it would be alone."""

import subprocess
import sys

import pytest
from chat_base import Kept, user
from cloud_base import tiny_base

from afina.chat.batch import ContinuousBatch
from afina.chat.checkpoint import load_checkpoint
from afina.chat.turn import Refused, Turn
from afina.cloud.chat import KEPT, Speaker
from afina.errors import CourseError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def speaker():
    return Speaker(tiny_base())


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """More adapters than stay in memory, each with an answer of its own."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    folder = tmp_path_factory.mktemp("adapters")
    for seed in range(KEPT + 2):
        torch.manual_seed(seed)
        settings = LoraConfig(r=4, lora_alpha=16, target_modules=["v_proj", "down_proj"], task_type="CAUSAL_LM")
        model = get_peft_model(LlamaForCausalLM.from_pretrained(tiny_base()), settings)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=3.0)
        model.save_pretrained(folder / str(seed))
    return [str(path) for path in sorted(folder.iterdir())]


def turn(layers=(), **settings):
    return Turn(tuple(layers), user("mouse number 3"), **{"max_tokens": 60, "temperature": 2.0, "seed": 7} | settings)


def test_many_models_at_once_each_answer_as_their_own(speaker, adapters):
    turns = [turn([folder]) for folder in adapters] + [turn(), turn(adapters[:2])]
    streams = [speaker.say(one) for one in turns]
    texts = ["".join(stream) for stream in streams]
    assert len(set(texts)) > KEPT
    for one, text in zip(turns[:2], texts, strict=False):
        checkpoint, alone = load_checkpoint(one.layers[0], base=tiny_base()), turn(pieces=Kept())
        batch = ContinuousBatch(checkpoint.model)
        batch.enter(checkpoint.rows([alone]))
        while batch.rows:
            batch.round()
        assert alone.pieces.text() == text
        assert (one.answer_tokens, one.prompt_tokens) == (alone.answer_tokens, alone.prompt_tokens)
    again = ["".join(speaker.say(turn([folder]))) for folder in adapters]
    assert again == texts[: len(adapters)]


def test_a_refusal_comes_from_the_iterator_in_english(speaker):
    stream = speaker.say(Turn((), user("mouse " * 400)))
    with pytest.raises(Refused, match=r"maximum context length is 256 tokens and the messages have \d+\."):
        next(stream)


def test_an_adapter_that_is_gone_fails_its_own_turn_only(speaker, tmp_path, capsys):
    lost, fine = speaker.say(turn([str(tmp_path / "gone")])), speaker.say(turn())
    with pytest.raises(ValueError, match="adapter_config"):
        next(lost)
    assert "".join(fine) != ""
    assert "gone" in capsys.readouterr().err


def test_a_broken_base_is_told_every_time(tmp_path):
    speaker = Speaker(tmp_path / "nothing")
    for _ in range(2):
        with pytest.raises(CourseError, match="não há nada"):
            speaker.say(turn())


def test_the_speaker_of_nobody_loads_nothing():
    code = "import sys; from afina.cloud.chat import Speaker; Speaker('x'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
