"""models/bert-pt: its card tells the truth, and it was never shown what it is measured on."""

import re

import pytest
from transformers import BertForMaskedLM, BertTokenizerFast

from afina.runtime import course_root
from afina.tune import bert
from workshop.make.bert import BERT_CARD, HELD_OUT, bert_texts

FOLDER = course_root() / "models" / "bert-pt"


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizerFast.from_pretrained(FOLDER)


def test_the_card_tells_the_truth(tokenizer):
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    claimed = float(re.search(r"viu: \*\*(\d,\d+)\*\*", card)[1].replace(",", "."))
    *_, held_out = bert_texts()
    assert len(held_out) == HELD_OUT
    model = BertForMaskedLM.from_pretrained(FOLDER)
    assert bert.masked_accuracy(model, tokenizer, held_out) == pytest.approx(claimed, abs=0.005)
    untrained = BertForMaskedLM(bert.new_config(tokenizer))
    assert bert.masked_accuracy(untrained, tokenizer, held_out[:100]) < 0.05
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8_000_000


def test_pretraining_never_sees_what_is_measured():
    easy, everything, held_out = bert_texts()
    evaluated = set(held_out)
    for split in ("validation", "test_templates", "test_adjectives"):
        evaluated.update(bert.read_reviews(split)[0])
    assert easy and set(easy) <= set(everything) and not evaluated & set(everything)


def test_the_card_is_the_builder_s():
    form = re.sub(r"\\{\w+\\}", ".+?", re.escape(BERT_CARD))
    assert re.fullmatch(form, (FOLDER / "README.md").read_text(encoding="utf-8"), re.S)
