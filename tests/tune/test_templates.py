"""The forms in which instructions are written are the same wherever they stand."""

import pytest

from afina.data import shop
from afina.tune.sft import ALPACA

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_template_is_the_one_the_base_model_knows():
    assert ALPACA.format("Describe it", "A title", "An answer") == shop.alpaca("Describe it", "A title", "An answer")
