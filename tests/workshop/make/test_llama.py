"""The base Llama of lessons 14 to 17: its corpus holds nothing that it is judged on, and its card says the truth."""

import itertools
import json
import re

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from afina.data import shop
from afina.data.clean import clean
from afina.data.split import assign_splits
from afina.data.synthetic import LEXICON, parse_title
from afina.runtime import SEED, course_root
from afina.tune.quiet import captured_log
from workshop.make import llama

FOLDER = course_root() / "models" / "llama-base"


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    with captured_log():
        return AutoModelForCausalLM.from_pretrained(FOLDER)


def test_the_corpus_is_a_function_of_its_seed_with_the_prefix_property():
    first = list(shop.documents(50))
    assert list(shop.documents(80))[:50] == first
    assert list(shop.documents(50, seed=2)) != first


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_title_belongs_to_its_split(split):
    for title, product in itertools.islice(shop.shop_products(1, split), 500):
        assert assign_splits([clean(title)]) == [split]
        assert parse_title(title).item == product.item


def test_no_document_holds_a_sentence_of_a_description():
    """Intros, closings and the lines on colour, material, size and care are what fine-tuning teaches."""
    lexicon = LEXICON["en"]
    kinds = [key for key in lexicon if key.endswith("_lines")] + ["intros", "closings"]
    openings = {re.split(r"[{,.]", line)[0].strip() for kind in kinds for line in lexicon[kind]}
    openings = {text for text in openings if len(text.split()) > 3}
    assert len(openings) > 10
    text = "\n".join(shop.documents(3_000))
    assert [line for line in openings if line in text] == []


def test_the_tokenizer_keeps_every_text_and_knows_the_chat_form(tokenizer):
    text = 'Maison Étoile "Aurora" Café 6-pack कमल ☕'
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and tokenizer.decode(ids, skip_special_tokens=True) == text
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What color is it? Teal Mug"}]
    prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert prompt == "Be brief.\n\n" + shop.alpaca("What color is it? Teal Mug")
    whole = tokenizer.apply_chat_template([*chat, {"role": "assistant", "content": "It is teal."}], tokenize=False)
    assert whole == prompt + "It is teal.</s>\n"


def test_the_card_says_what_the_weights_do(model, tokenizer):
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    said = float(re.search(r"perda de \*\*([\d,]+)\*\*", card)[1].replace(",", "."))
    documents = list(shop.documents(500, seed=SEED, split="test"))
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
    documents = list(shop.documents(40, seed=SEED, split="test"))
    losses = [llama.held_out_loss(model, tokenizer, documents) for model, tokenizer, _ in runs]
    assert losses[1] < losses[0] - 0.5
    assert losses[1] == losses[2]


def test_the_card_is_the_builder_s():
    form = re.sub(r"\\{\w+\\}", ".+?", re.escape(llama.LLAMA_CARD))
    assert re.fullmatch(form, (FOLDER / "README.md").read_text(encoding="utf-8"), re.S)
