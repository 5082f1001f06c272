"""Attention: each token asks, the tokens before it answer (Vaswani et al., 2017, "Attention Is All You Need").

The formula in plain tensors (`attention_by_hand`), and the module that the model uses: one projection for query, key
and value, PyTorch's fused kernel, and a cache of the keys and values already seen. Lesson 07 proves them equal.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def causal_mask(queries: int, keys: int, device: torch.device | None = None) -> torch.Tensor:
    """(queries, keys), True where looking is allowed: itself and the past. The queries are the last of the keys."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def attention_weights(query: torch.Tensor, key: torch.Tensor, causal: bool = True) -> torch.Tensor:
    """How much each query takes from each key: (..., queries, keys); each row adds up to 1.

    `query` and `key` are (..., tokens, width). Dividing by the root of the width keeps the scores' variance near 1.
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
    if causal:
        seen = causal_mask(query.size(-2), key.size(-2), query.device)
        scores = scores.masked_fill(~seen, -torch.inf)
    return scores.softmax(dim=-1)


def attention_by_hand(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool = True, dropout: float = 0.0
) -> torch.Tensor:
    """The values mixed by the weights: (..., queries, width). Dropout silences some weights and enlarges the others."""
    return F.dropout(attention_weights(query, key, causal), dropout) @ value


class CausalSelfAttention(nn.Module):
    """Several attentions side by side, each in its own slice of the columns; `d_model` is a multiple of `n_heads`."""

    def __init__(self, d_model: int, n_heads: int, dropout: float = 0.0):
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def heads(self, x: torch.Tensor) -> torch.Tensor:
        """Query, key and value of `x` (batch, tokens, d_model): (3, batch, heads, tokens, width of a head)."""
        batch, tokens, d_model = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.n_heads, d_model // self.n_heads)
        return qkv.permute(2, 0, 3, 1, 4)

    def forward(self, x: torch.Tensor, cache: list[torch.Tensor] | None = None) -> torch.Tensor:
        """(batch, tokens, d_model) in and out. `cache` is a list, empty at first: it keeps [keys, values] for the next call."""
        query, key, value = self.heads(x)
        if cache is not None:
            if cache:
                key, value = torch.cat((cache[0], key), dim=2), torch.cat((cache[1], value), dim=2)
            cache[:] = key, value
        queries, keys = query.size(2), key.size(2)
        alone = queries == 1 or queries == keys  # one new token sees everything; a whole text needs no drawn mask
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if alone else causal_mask(queries, keys, x.device),
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=queries == keys,
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """Who looks at whom: (batch, heads, tokens, tokens). The fused kernel never writes them down; this does."""
        query, key, _ = self.heads(x)
        return attention_weights(query, key)
