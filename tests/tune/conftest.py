"""What the tests of several modules of `afina.tune` start from."""

import pytest
import transformers
from tune_base import QUICK, ROWS, load, write_base

from afina.tune import sft
from afina.tune.load import LoraSettings


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def loaded(base):
    return load(base)


@pytest.fixture(scope="session")
def tokenizer(base):
    return transformers.AutoTokenizer.from_pretrained(base)


@pytest.fixture(scope="module")
def tuned(base, one_thread):
    """{False: LoRA, True: QLoRA with its own copy of the embeddings}, after a few steps."""
    models = {}
    for four_bits in (False, True):
        model, tokenizer = load(
            base, four_bits, LoraSettings(r=4, modules_to_save=("embed_tokens",) if four_bits else ())
        )
        sft.train(model, tokenizer, ROWS, QUICK)
        models[four_bits] = model.eval()
    return models
