"""What the tests of several modules of `afina.gpt` start from."""

import pytest
import torch
from gpt_base import SMALL, spread

from afina.gpt.loader import Windows
from afina.gpt.model import GPT
from afina.gpt.tokenizer import load_tokenizer
from afina.runtime import course_root


@pytest.fixture
def model():
    return spread(GPT(SMALL))


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(5)
    return Windows(torch.randint(90, (12 * 60 + 1,), generator=generator), 12)


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer(course_root() / "models" / "gpt-pt" / "tokenizer.json")
