"""The GPT by hand: what it may see, how many weights it has, and what it refuses."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from gpt_base import SMALL, ids_of, spread
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.errors import CourseError
from afina.gpt.model import GPT, GPTConfig, count_parameters, next_token_loss

pytestmark = pytest.mark.usefixtures("one_thread")


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 23))
def test_the_future_changes_nothing_before_it(seed, place):
    model, ids = spread(GPT(SMALL), seed), ids_of(2, 24, seed=seed)
    other = ids.clone()
    other[:, place:] = (ids[:, place:] + 1 + seed % 88) % 90
    with torch.no_grad():
        one, two = model(ids), model(other)
    assert torch.allclose(one[:, :place], two[:, :place], atol=1e-5)
    assert not torch.allclose(one[:, place:], two[:, place:], atol=1e-2)


def test_without_the_causal_mask_the_test_above_fails(monkeypatch):
    """The mutant: a mask that lets everyone look everywhere."""
    real = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: real(*a, **(k | {"is_causal": False})))
    with pytest.raises(AssertionError):
        test_the_future_changes_nothing_before_it.hypothesis.inner_test(seed=1, place=10)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 300), st.integers(1, 64), st.integers(1, 6), st.sampled_from([1, 2, 4]), st.integers(1, 5))
def test_the_formula_counts_the_weights(vocabulary, context, eighths, heads, layers):
    config = GPTConfig(vocabulary, context, 8 * eighths, heads, layers)
    with torch.device("meta"):
        assert sum(p.numel() for p in GPT(config).parameters()) == count_parameters(config)
    assert count_parameters(GPTConfig(50_257, 1024, 768, 12, 12)) == 124_439_808  # GPT-2, as published


def test_a_target_of_minus_100_does_not_count(model):
    ids, targets = ids_of(2, 10), ids_of(2, 10, seed=1)
    cut = targets.clone()
    cut[:, 6:] = -100
    assert torch.allclose(next_token_loss(model(ids), cut), next_token_loss(model(ids)[:, :6], targets[:, :6]))


def test_a_newborn_hesitates_between_all_tokens():
    torch.manual_seed(0)
    newborn = GPT(GPTConfig(2000, 64, 96, 4, 4))
    loss = next_token_loss(newborn(ids_of(8, 64, vocabulary=2000)), ids_of(8, 64, seed=1, vocabulary=2000)).item()
    assert loss == pytest.approx(math.log(2000), abs=0.3)
    small = newborn.blocks[0].feed_forward.down.weight.std() / newborn.blocks[0].feed_forward.up.weight.std()
    assert small.item() == pytest.approx(1 / math.sqrt(8), rel=0.05)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"d_model": 30}, "não se divide em 4 cabeças"),
        ({"n_layers": 0}, "n_layers é 0"),
        ({"vocab_size": 1.5}, "vocab_size é 1.5"),
        ({"dropout": 1.0}, "dropout é 1.0"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes, said):
    with pytest.raises(CourseError, match=re.escape(said)):
        GPTConfig(**(vars(SMALL) | sizes))


def test_too_long_and_unknown_input_say_so(model):
    with pytest.raises(CourseError, match="25 tokens, e o modelo lê até 24"):
        model(ids_of(1, 25))
    for token in (90, -1):
        with pytest.raises(CourseError, match=f"token {token} não tem linha: a tabela vai de 0 a 89"):
            model(torch.tensor([[1, token]]))
