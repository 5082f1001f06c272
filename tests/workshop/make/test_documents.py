"""The corpus of models/llama-base: a function of its seed, and nothing in it that the model is judged on."""

import re

from afina.data.lexicon import LEXICON
from workshop.make.documents import shop_documents


def test_the_corpus_is_a_function_of_its_seed_with_the_prefix_property():
    first = list(shop_documents(50))
    assert list(shop_documents(80))[:50] == first
    assert list(shop_documents(50, seed=2)) != first


def test_no_document_holds_a_sentence_of_a_description():
    """Intros, closings and the lines on colour, material, size and care are what fine-tuning teaches."""
    lexicon = LEXICON["en"]
    kinds = [key for key in lexicon if key.endswith("_lines")] + ["intros", "closings"]
    openings = {re.split(r"[{,.]", line)[0].strip() for kind in kinds for line in lexicon[kind]}
    openings = {text for text in openings if len(text.split()) > 3}
    assert len(openings) > 10
    text = "\n".join(shop_documents(3_000))
    assert [line for line in openings if line in text] == []
