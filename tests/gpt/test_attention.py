"""Attention by hand is PyTorch's, on fresh random inputs."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.gpt.attention import CausalSelfAttention, attention_by_hand, attention_weights, causal_mask

pytestmark = pytest.mark.usefixtures("one_thread")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([1, 4, 16]), st.booleans())
def test_attention_by_hand_is_pytorchs(seed, tokens, width, causal):
    q, k, v = torch.randn(3, 2, 3, tokens, width, generator=torch.Generator().manual_seed(seed))
    ours = attention_by_hand(q, k, v, causal)
    assert torch.allclose(ours, F.scaled_dot_product_attention(q, k, v, is_causal=causal), atol=1e-5)


def test_the_module_is_its_heads_one_by_one_and_pytorchs_own():
    torch.manual_seed(3)
    layer, x = CausalSelfAttention(24, 3), torch.randn(2, 9, 24)
    q, k, v = layer.qkv(x).split(24, dim=-1)
    heads = [attention_by_hand(*(part[..., 8 * n : 8 * n + 8] for part in (q, k, v))) for n in range(3)]
    assert torch.allclose(layer(x), layer.out(torch.cat(heads, -1)), atol=1e-5)
    theirs = torch.nn.MultiheadAttention(24, 3, batch_first=True)
    theirs.in_proj_weight, theirs.in_proj_bias = layer.qkv.weight, layer.qkv.bias
    theirs.out_proj.weight, theirs.out_proj.bias = layer.out.weight, layer.out.bias
    expected, weights = theirs(x, x, x, attn_mask=~causal_mask(9, 9), average_attn_weights=False)
    assert torch.allclose(layer(x), expected, atol=1e-5) and torch.allclose(layer.weights(x), weights, atol=1e-5)


def test_weights_are_shares_and_dropout_keeps_their_mean():
    q, k = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    weights = attention_weights(q, k)
    assert torch.allclose(weights.sum(-1), torch.ones(5)) and torch.equal(weights, weights.tril())
    torch.manual_seed(0)
    layer, x = CausalSelfAttention(16, 2, dropout=0.5), torch.randn(1, 6, 16)
    assert not torch.equal(layer(x), layer(x))  # it trains with holes
    assert torch.equal(layer.eval()(x), layer(x))
