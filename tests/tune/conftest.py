"""What the tests of several modules of `afina.tune` start from.

The libraries are imported inside: pytest may read this file before the conftest of the root has put them offline.
"""

import pytest


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    from tune_base import write_base

    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def loaded(base):
    from tune_base import load

    return load(base)


@pytest.fixture(scope="session")
def tokenizer(base):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base)


@pytest.fixture(scope="module")
def tuned(base, one_thread):
    """{False: LoRA, True: QLoRA with its own copy of the embeddings}, after a few steps."""
    from tune_base import QUICK, ROWS, load

    from afina.tune import sft

    models = {}
    for four_bits in (False, True):
        more = {"modules_to_save": ("embed_tokens",)} if four_bits else {}
        model, tokenizer = load(base, four_bits, sft.LoraSettings(r=4, **more))
        sft.train(model, tokenizer, ROWS, QUICK)
        models[four_bits] = model.eval()
    return models
