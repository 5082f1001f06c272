"""Weights counted by formula, and Amdahl's limit."""

import pytest
from tune_base import load

from afina.tune import measure

pytestmark = pytest.mark.usefixtures("one_thread")


def test_parameters_are_counted_by_formula_in_16_and_in_4_bits(base):
    model, _ = load(base)
    config = model.config
    few = config.hidden_size * config.num_key_value_heads // config.num_attention_heads
    pairs = 2 * (32 + 32) + 2 * (32 + few) + 3 * (32 + 64)  # in + out of q, o; k, v; gate, up, down
    assert measure.trainable(model)[0] == 4 * pairs * config.num_hidden_layers
    packed, _ = load(base, four_bits=True)
    assert measure.trainable(packed) == measure.trainable(model)
    assert measure.training_bytes(packed)["weights"] < measure.training_bytes(model)["weights"]
    whole, _ = load(base, lora=None)
    assert (
        len(set(measure.trainable(whole))) == 1
        and measure.training_bytes(whole)["optimizer"] == 8 * measure.trainable(whole)[0]
    )


def test_amdahl():
    assert measure.amdahl(0, 8) == 1 and measure.amdahl(1, 8) == 8 and measure.amdahl(0.9, 1e9) == pytest.approx(10)
