"""Weights in and out: GPT-2's logits in both directions, and folders that are not a model."""

import json

import pytest
import torch
from gpt_base import SMALL, ids_of, spread
from transformers import GPT2Config, GPT2LMHeadModel

from afina import whole
from afina.errors import CourseError
from afina.gpt.model import attention_maps, next_token_loss
from afina.gpt.weights import PARTS, from_gpt2, load_gpt, save_gpt, to_gpt2

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_logits_are_those_of_gpt2_in_both_directions(seed):
    config = GPT2Config(vocab_size=90, n_positions=24, n_embd=32, n_head=4, n_layer=3)
    reference = spread(GPT2LMHeadModel(config), seed)
    ids = ids_of(3, 24, seed=seed)
    ours = from_gpt2(reference)
    with torch.no_grad():
        expected = reference(ids).logits
        assert torch.allclose(ours(ids), expected, rtol=1e-5, atol=1e-5 * expected.abs().max())
        assert torch.equal(to_gpt2(ours)(ids).logits, expected)
        assert torch.allclose(attention_maps(ours, ids).sum(-1), torch.ones(3, 3, 4, 24), atol=1e-5)
    loss = reference(ids, labels=ids).loss
    assert torch.allclose(next_token_loss(ours(ids[:, :-1]), ids[:, 1:]), loss, rtol=1e-5)


def test_another_architecture_is_refused():
    config = GPT2Config(vocab_size=90, n_positions=24, n_embd=32, n_head=4, n_layer=1, activation_function="relu")
    with pytest.raises(CourseError, match="relu"):
        from_gpt2(GPT2LMHeadModel(config))


def test_every_matrix_of_a_block_is_a_plain_linear_layer(model):
    for name in PARTS:
        part = model.blocks[0].get_submodule(name)
        assert type(part) is (torch.nn.LayerNorm if "norm" in name else torch.nn.Linear)


def test_a_folder_that_a_killed_run_left_aside_is_found(model, tmp_path):
    save_gpt(model, tmp_path / f".afina-{whole._room()}-999999999-00000000-old.gpt")
    assert load_gpt(tmp_path / "gpt").config == SMALL


def test_saved_and_loaded_it_is_the_same_and_bad_folders_are_refused(model, tmp_path):
    save_gpt(model, tmp_path)
    again = load_gpt(tmp_path)
    assert again.config == SMALL and torch.equal(again(ids_of(2, 9)), model(ids_of(2, 9)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    whole, right = weights.read_bytes(), config.read_text()
    for broken in (whole[:100], whole[:-10], b"", b"not a model"):
        weights.write_bytes(broken)
        with pytest.raises(CourseError, match="cortado ou não é safetensors"):
            load_gpt(tmp_path)
    weights.write_bytes(whole)
    for change, said in (
        ({"n_layers": 2}, "sobra blocks.2"),
        ({"n_layers": 4}, "falta blocks.3"),
        ({"context": 8}, "positions.weight"),
    ):
        config.write_text(json.dumps(json.loads(right) | change))
        with pytest.raises(CourseError, match=said):
            load_gpt(tmp_path)
    for text in ("{", '{"hidden_size": 3}', "[]"):
        config.write_text(text)
        with pytest.raises(CourseError, match="não é de um GPT do curso"):
            load_gpt(tmp_path)
    with pytest.raises(CourseError, match=r"não há config\.json"):
        load_gpt(tmp_path / "nowhere")
