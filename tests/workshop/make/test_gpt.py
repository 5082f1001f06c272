"""models/gpt-pt: its card tells the truth, and it was never shown what it is measured on."""

import re

import pytest

from afina.gpt import train as training
from afina.gpt.model import count_parameters
from afina.gpt.tokenizer import load_tokenizer
from afina.gpt.train import evaluate
from afina.gpt.weights import load_gpt
from afina.ptbr import number
from afina.runtime import course_root
from workshop.make import gpt as making

pytestmark = pytest.mark.usefixtures("one_thread")


FOLDER = course_root() / "models" / "gpt-pt"


@pytest.fixture(scope="module")
def texts():
    return making.gpt_texts()


def test_the_card_of_gpt_pt_tells_the_truth(texts):
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    model, tokenizer = load_gpt(FOLDER), load_tokenizer(FOLDER / "tokenizer.json")
    _, held_out = texts
    for kind, some in held_out.items():
        claimed = float(re.search(rf"\| {kind} \| (\d,\d+) \|", card)[1].replace(",", "."))
        assert evaluate(model, training.whole_documents(tokenizer, some, model.config.context)) == pytest.approx(
            claimed, abs=2e-3
        )
    for kind, questions in making.copy_questions(held_out["prosa"]).items():
        claimed = float(re.search(rf"{kind} (\d+,\d) %", card)[1].replace(",", ".")) / 100
        assert making.copies(model, tokenizer, questions) == pytest.approx(claimed, abs=0.03), kind
    assert number(count_parameters(model.config)) in card
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 8_000_000


def test_gpt_pt_never_read_what_it_is_measured_on(texts):
    training_texts, held_out = texts
    evaluated = {text for some in held_out.values() for text in some}
    for name in ("reviews.jsonl.gz", "messages.jsonl.gz"):
        evaluated.update(row["text"] for row in making._rows(name) if row["split"] not in ("train", "unlabelled"))
    assert training_texts and not evaluated & set(training_texts)


def test_the_card_is_the_builder_s():
    form = re.sub(r"\\{\w+\\}", ".+?", re.escape(making.CARD))
    assert re.fullmatch(form, (FOLDER / "README.md").read_text(encoding="utf-8"), re.S)
