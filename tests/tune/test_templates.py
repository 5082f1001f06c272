"""The forms in which instructions are written are the same wherever they stand."""

import pytest

from afina.tune.sft import ALPACA
from workshop.make.documents import alpaca_form

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_template_is_the_one_the_base_model_knows():
    assert ALPACA.format("Describe it", "A title", "An answer") == alpaca_form("Describe it", "A title", "An answer")
