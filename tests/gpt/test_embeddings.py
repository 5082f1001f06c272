"""Vectors and positions against their formulas and transformers' Llama."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from afina.errors import CourseError
from afina.gpt.embeddings import add_positions, look_up, rotary, sinusoidal


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(6)


def test_a_look_up_is_a_one_hot_product():
    table, ids = torch.randn(50, 8), torch.randint(50, (3, 7))
    assert torch.equal(look_up(table, ids), F.one_hot(ids, 50).float() @ table)
    for wrong in (50, -1):
        with pytest.raises(CourseError, match=rf"{wrong}.*0 a 49"):
            look_up(table, torch.tensor([[3, wrong]]))


def test_positions_are_added_row_by_row_and_end_with_the_table():
    x, table = torch.randn(2, 5, 8), torch.randn(6, 8)
    assert torch.equal(add_positions(x, table)[1, 3], x[1, 3] + table[3])
    with pytest.raises(CourseError, match=r"5 tokens.*4 posições"):
        add_positions(x, table[:4])


def test_sinusoids_are_the_formula():
    table = sinusoidal(40, 16)
    for position, column in torch.randint(8, (30, 2)).tolist():
        angle = torch.tensor(position / 10_000 ** (2 * column / 16))
        assert torch.allclose(table[position, 2 * column], angle.sin(), atol=1e-6)
        assert torch.allclose(table[position, 2 * column + 1], angle.cos(), atol=1e-6)
    products = table @ table.T  # they, too, know the distance
    assert torch.allclose(products[3:20, 3:20], products[:17, :17], atol=1e-4)


def test_turned_vectors_know_their_distance_only():
    query, key = torch.randn(64), torch.randn(64)
    for distance in (0, 1, 17):
        at = torch.randint(0, 200, (6,)).float()
        turned = rotary(query.expand(6, 64), at + distance) * rotary(key.expand(6, 64), at)
        products = turned.sum(-1)
        assert torch.allclose(products, products[:1].expand(6), atol=2e-3)
        assert torch.allclose(rotary(query[None], at[:1]).norm(), query.norm(), rtol=1e-4)


def test_the_turn_is_that_of_transformers_llama():
    """Llama pairs column i with i + width/2; with the columns put in that order it is the same turn."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    width, tokens = 32, 9
    x = torch.randn(1, 1, tokens, width)
    config = LlamaConfig(hidden_size=width, num_attention_heads=1, max_position_embeddings=64)
    halves = torch.cat([torch.arange(0, width, 2), torch.arange(1, width, 2)])
    cos, sin = LlamaRotaryEmbedding(config)(x, torch.arange(tokens)[None])
    theirs, _ = apply_rotary_pos_emb(x[..., halves], x[..., halves], cos, sin)
    assert torch.allclose(rotary(x, torch.arange(tokens).float())[..., halves], theirs, atol=1e-5)
