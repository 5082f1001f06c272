"""The base Llama of lessons 14 to 17: its corpus holds nothing that it is judged on, and its card says the truth."""

import json
import re

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from afina.runtime import SEED, course_root
from afina.tune.quiet import captured_log
from workshop.make import llama
from workshop.make.documents import alpaca_form, shop_documents

FOLDER = course_root() / "models" / "llama-base"


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    with captured_log():
        return AutoModelForCausalLM.from_pretrained(FOLDER)


def test_the_tokenizer_keeps_every_text_and_knows_the_chat_form(tokenizer):
    text = 'Maison Étoile "Aurora" Café 6-pack कमल ☕'
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and tokenizer.decode(ids, skip_special_tokens=True) == text
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What color is it? Teal Mug"}]
    prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert prompt == "Be brief.\n\n" + alpaca_form("What color is it? Teal Mug")
    whole = tokenizer.apply_chat_template([*chat, {"role": "assistant", "content": "It is teal."}], tokenize=False)
    assert whole == prompt + "It is teal.</s>\n"


def test_the_card_says_what_the_weights_do(model, tokenizer):
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    said = float(re.search(r"perda de \*\*([\d,]+)\*\*", card)[1].replace(",", "."))
    documents = list(shop_documents(500, seed=SEED, split="test"))
    assert abs(llama.held_out_loss(model, tokenizer, documents) - said) < 0.01
    names, _, shares = re.findall(r"^\| (.*) \|$", card, re.M)
    table = dict(zip(names.split(" | "), shares.split(" | "), strict=True))
    for name, share in llama.copy_accuracy(model, tokenizer).items():
        assert share > 0.85, name
        assert abs(share - float(table[name].replace(",", "."))) < 0.02


def test_the_folder_is_small_and_loads_without_pickle():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8_000_000
    assert not list(FOLDER.glob("*.bin"))
    assert json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))["model_type"] == "llama"


def test_training_learns_and_repeats_itself():
    tiny = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    runs = [llama.pretrain_llama(steps, batch=8, **tiny) for steps in (4, 40, 40)]
    documents = list(shop_documents(40, seed=SEED, split="test"))
    losses = [llama.held_out_loss(model, tokenizer, documents) for model, tokenizer, _ in runs]
    assert losses[1] < losses[0] - 0.5
    assert losses[1] == losses[2]


def test_the_card_is_the_builder_s():
    form = re.sub(r"\\{\w+\\}", ".+?", re.escape(llama.LLAMA_CARD))
    assert re.fullmatch(form, (FOLDER / "README.md").read_text(encoding="utf-8"), re.S)
