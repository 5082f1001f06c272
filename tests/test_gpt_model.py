"""The GPT by hand: proofs on fresh random inputs, bad input, training that resumes, and the truth of gpt-pt's card."""

import json
import math
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from afina.errors import CourseError
from afina.gpt import train as training
from afina.gpt.attention import CausalSelfAttention, attention_by_hand, attention_weights, causal_mask
from afina.gpt.generate import generate, next_token_probabilities
from afina.gpt.loader import Windows
from afina.gpt.model import GPT, GPTConfig, attention_maps, count_parameters, next_token_loss
from afina.gpt.tokenizer import load_tokenizer
from afina.gpt.train import Recipe, batch_of, evaluate, learning_rate_at, train
from afina.gpt.weights import PARTS, from_gpt2, load_gpt, read_tensors, save_gpt, to_gpt2, write_tensors
from afina.runtime import course_root

FOLDER = course_root() / "models" / "gpt-pt"
SMALL = GPTConfig(vocab_size=90, context=24, d_model=32, n_heads=4, n_layers=3)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spread(model: torch.nn.Module, seed: int = 0, std: float = 0.3) -> torch.nn.Module:
    """Every weight far from zero and from one: a swapped or forgotten one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return model.eval()


@pytest.fixture
def model():
    return spread(GPT(SMALL))


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(5)
    return Windows(torch.randint(90, (12 * 60 + 1,), generator=generator), 12)


def ids_of(*shape, seed=0, vocabulary=90):
    return torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(seed))


# --- proofs ----------------------------------------------------------------------------------------------------------


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


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 300), st.integers(1, 64), st.integers(1, 6), st.sampled_from([1, 2, 4]), st.integers(1, 5))
def test_the_formula_counts_the_weights(vocabulary, context, eighths, heads, layers):
    config = GPTConfig(vocabulary, context, 8 * eighths, heads, layers)
    with torch.device("meta"):
        assert sum(p.numel() for p in GPT(config).parameters()) == count_parameters(config)
    assert count_parameters(GPTConfig(50_257, 1024, 768, 12, 12)) == 124_439_808  # GPT-2, as published


def test_every_matrix_of_a_block_is_a_plain_linear_layer(model):
    for name in PARTS:
        part = model.blocks[0].get_submodule(name)
        assert type(part) is (torch.nn.LayerNorm if "norm" in name else torch.nn.Linear)


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


# --- generation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [{}, {"temperature": 0.8, "seed": 3}, {"temperature": 1.5, "top_k": 7, "top_p": 0.8, "seed": 1}]
)
def test_the_cache_changes_no_token(model, how):
    prompt = ids_of(3, 4)
    written = generate(model, prompt, 20, **how)
    assert written.shape == (3, 24) and torch.equal(written[:, :4], prompt)
    assert torch.equal(written, generate(model, prompt, 20, use_cache=False, **how))
    one_by_one = torch.cat([generate(model, row[None], 20) for row in prompt])
    assert how or torch.equal(written, one_by_one)


def test_the_cache_takes_several_tokens_at_a_time(model):
    ids, cache = ids_of(2, 24), model.new_cache()
    with torch.no_grad():
        pieces = [model(part, cache) for part in ids.split([5, 1, 11, 7], dim=1)]
        assert torch.allclose(torch.cat(pieces, 1), model(ids), atol=1e-4)


def test_greedy_is_gpt2s_generate(model):
    prompt = ids_of(2, 4)
    theirs = to_gpt2(model).generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=15,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert torch.equal(generate(model, prompt, 15), theirs)


def test_a_row_that_ended_only_repeats_its_end(model):
    free = generate(model, ids_of(4, 3), 20)
    stop = int(free[0, 6])
    written = generate(model, ids_of(4, 3), 20, stop=stop)
    for row, before in zip(written[:, 3:].tolist(), free[:, 3:].tolist(), strict=True):
        end = row.index(stop) if stop in row else len(row)
        assert row[:end] == before[:end] and set(row[end:]) <= {stop}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 3), st.integers(1, 30), st.floats(0.05, 1))
def test_what_is_cut_and_what_is_kept(seed, temperature, k, p):
    logits = torch.randn(2, 20, generator=torch.Generator().manual_seed(seed)) * 3
    plain = (logits / temperature).softmax(-1)
    assert torch.allclose(next_token_probabilities(logits, temperature), plain, atol=1e-6)
    top_k = next_token_probabilities(logits, temperature, top_k=k)
    assert ((top_k > 0).sum(-1) <= min(k, 20)).all() and torch.allclose(top_k.sum(-1), torch.ones(2))
    top_p = next_token_probabilities(logits, temperature, top_p=p)
    for row, kept in zip(plain, top_p > 0, strict=True):
        assert row[kept].sum() >= p - 1e-4  # enough
        assert row[kept].sum() - row[kept].min() < p + 1e-4  # and not one too many
        assert kept[row.argmax()] and row[kept].min() >= row[~kept].max() if (~kept).any() else True
    assert torch.equal(next_token_probabilities(logits, 0).argmax(-1), logits.argmax(-1))


# --- bad input -------------------------------------------------------------------------------------------------------


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


def test_too_long_unknown_and_empty_input_say_so(model, rows):
    with pytest.raises(CourseError, match="25 tokens, e o modelo lê até 24"):
        model(ids_of(1, 25))
    for token in (90, -1):
        with pytest.raises(CourseError, match=f"token {token} não tem linha: a tabela vai de 0 a 89"):
            model(torch.tensor([[1, token]]))
    with pytest.raises(CourseError, match="4 tokens do pedido e 21 novos passam do contexto, 24"):
        generate(model, ids_of(1, 4), 21)
    with pytest.raises(CourseError, match="um token ao menos"):
        generate(model, ids_of(1, 0), 3)
    for how in ({"temperature": -1}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.2}):
        with pytest.raises(CourseError, match="não servem"):
            generate(model, ids_of(1, 4), 3, **({"temperature": 1.0} | how))
    for wrong in ({"steps": 0}, {"batch_size": 0}, {"evaluate_every": 2.5}):
        with pytest.raises(CourseError, match=f"{next(iter(wrong))} é {next(iter(wrong.values()))}"):
            Recipe(**({"steps": 1} | wrong))
    silent = (ids_of(12), torch.full((12,), -100))
    for nothing in ([], [silent]):
        with pytest.raises(CourseError, match="nenhum token"):
            evaluate(model, nothing)
    with pytest.raises(CourseError, match="nenhum texto"):
        training.whole_documents(load_tokenizer(FOLDER / "tokenizer.json"), [], 24)
    for some, others in (([], rows), (rows, [])):
        with pytest.raises(CourseError, match="nenhuma janela"):
            next(train(model, some, others, Recipe(steps=1)))


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


# --- training --------------------------------------------------------------------------------------------------------


def test_the_rate_climbs_then_comes_down_to_a_tenth():
    recipe = Recipe(steps=100, warmup=10, learning_rate=1.0)
    rates = [learning_rate_at(step, recipe) for step in range(100)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[99] == pytest.approx(0.1, abs=0.001)


def test_every_pass_shows_each_row_once_in_another_order(rows):
    recipe = Recipe(steps=1, batch_size=6)
    passes = [torch.cat([batch_of(step, rows, recipe)[0] for step in range(10 * n, 10 * n + 10)]) for n in range(2)]
    assert all(
        sorted(map(tuple, seen.tolist())) == sorted(tuple(rows[n][0].tolist()) for n in range(60)) for seen in passes
    )
    assert not torch.equal(*passes)
    inputs, targets = batch_of(3, rows, recipe)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert len(batch_of(0, rows, Recipe(steps=1, batch_size=500))[0]) == 60  # fewer rows than a batch


def test_one_step_is_adamw_with_clipping(rows):
    torch.manual_seed(1)
    recipe = Recipe(steps=5, warmup=2, batch_size=6, clip=0.1)
    ours, theirs = GPT(SMALL), GPT(SMALL)
    theirs.load_state_dict(ours.state_dict())
    list(train(ours, rows, rows, recipe))
    matrices = [p for p in theirs.parameters() if p.ndim > 1]
    others = [p for p in theirs.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    for step in range(5):
        inputs, targets = batch_of(step, rows, recipe)
        theirs.zero_grad()
        F.cross_entropy(theirs(inputs).transpose(1, 2), targets).backward()
        norm = torch.stack([p.grad.norm() for p in theirs.parameters()]).norm()
        for p in theirs.parameters():
            p.grad *= min(1, 0.1 / norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, recipe)
        optimizer.step()
    for name, value in theirs.state_dict().items():
        mine = ours.state_dict()[name]
        if name.endswith(
            "qkv.bias"
        ):  # softmax undoes a key's bias: its gradient is rounding, and AdamW makes it a step
            mine, value = (torch.cat((bias[:32], bias[64:])) for bias in (mine, value))
        assert torch.allclose(mine, value, atol=1e-5), name


def test_it_learns_a_text_and_evaluation_weighs_tokens():
    text = Windows(torch.arange(90).repeat(9), 12)
    torch.manual_seed(0)
    model = GPT(SMALL)
    diary = list(train(model, text, text, Recipe(steps=60, batch_size=16, learning_rate=1e-2, warmup=5)))
    assert diary[0]["loss"] > 4 and diary[-1]["validation_loss"] < 0.5
    uneven = [(ids_of(12), ids_of(12, seed=1)), (ids_of(12), torch.where(torch.arange(12) < 2, 5, -100))]
    with torch.no_grad():
        losses = [next_token_loss(model.eval()(x[None]), y[None]).item() for x, y in uneven]
    assert evaluate(model, uneven, batch_size=1) == pytest.approx((12 * losses[0] + 2 * losses[1]) / 14)
    assert evaluate(model, uneven, batch_size=2) == pytest.approx((12 * losses[0] + 2 * losses[1]) / 14)


A_RUN = """
from pathlib import Path

import torch

from afina.gpt.loader import Windows
from afina.gpt.model import GPT, GPTConfig
from afina.gpt.train import Recipe, train


def a_run(checkpoint=None):
    torch.set_num_threads(1)
    rows = Windows(torch.randint(90, (12 * 60 + 1,), generator=torch.Generator().manual_seed(5)), 12)
    torch.manual_seed(2)
    model = GPT(GPTConfig(90, 24, 32, 4, 2, dropout=0.2))  # dropout must continue too
    recipe = Recipe(steps=12, batch_size=8, warmup=2, evaluate_every=3)
    return train(model, rows, rows, recipe, Path(checkpoint) if checkpoint else None)
"""
KILLED = """
import os, sys
for entry in a_run(sys.argv[1]):
    if entry["step"] == 8:
        os._exit(9)  # no clean-up, as in a power cut
"""


def test_a_killed_run_continues_to_the_same_losses(tmp_path):
    place = tmp_path / "checkpoint.safetensors"
    done = subprocess.run([sys.executable, "-c", A_RUN + KILLED, str(place)], capture_output=True, timeout=120)
    assert done.returncode == 9, done.stderr.decode()[-2000:]
    here = {}
    exec(A_RUN, here)
    whole, rest = list(here["a_run"]()), list(here["a_run"](place))
    assert rest[0]["step"] == 7 and rest == whole[6:]
    assert list(tmp_path.iterdir()) == [place]  # no half-written file stays


def test_a_checkpoint_of_another_run_or_a_cut_one_changes_nothing(rows, tmp_path):
    place, recipe = tmp_path / "checkpoint.safetensors", Recipe(steps=2, batch_size=8, evaluate_every=1)
    list(train(GPT(SMALL), rows, rows, recipe, place))
    model = spread(GPT(SMALL))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CourseError, match="outra corrida: steps era 2, agora é 3"):
        next(train(model, rows, rows, Recipe(steps=3, batch_size=8, evaluate_every=1), place))
    other = GPT(GPTConfig(90, 24, 32, 2, 3))
    with pytest.raises(CourseError, match="outra corrida: n_heads era 4, agora é 2"):
        next(train(other, rows, rows, recipe, place))
    for end in (50, 3000, -1):
        place.write_bytes(place.read_bytes()[:end])
        with pytest.raises(CourseError, match="cortado"):
            next(train(model, rows, rows, recipe, place))
    list(train(GPT(SMALL), rows, rows, recipe, place.with_name("whole.safetensors")))
    tensors, written = read_tensors(place.with_name("whole.safetensors"))
    no_moment = {name: tensor for name, tensor in tensors.items() if name != "optimizer.3.exp_avg_sq"}
    no_step = {name: value for name, value in written.items() if name != "step"}
    odd_moment = tensors | {"optimizer.0.exp_avg": tensors["optimizer.0.exp_avg"][:1]}
    for its, text in ((no_moment, written), (tensors, no_step), (odd_moment, written)):
        write_tensors(its, place, text)
        with pytest.raises(CourseError, match="incompleto"):
            next(train(model, rows, rows, recipe, place))
    save_gpt(model, tmp_path)  # a file of weights is no checkpoint
    with pytest.raises(CourseError, match="vocab_size era desconhecido"):
        next(train(model, rows, rows, recipe, tmp_path / "model.safetensors"))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


# --- the shipped model -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts():
    return training.gpt_texts()


def test_the_card_of_gpt_pt_tells_the_truth(texts):
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    model, tokenizer = load_gpt(FOLDER), load_tokenizer(FOLDER / "tokenizer.json")
    _, held_out = texts
    for kind, some in held_out.items():
        claimed = float(re.search(rf"\| {kind} \| (\d,\d+) \|", card)[1].replace(",", "."))
        assert evaluate(model, training.whole_documents(tokenizer, some, model.config.context)) == pytest.approx(
            claimed, abs=2e-3
        )
    for kind, questions in training.copy_questions(held_out["prosa"]).items():
        claimed = float(re.search(rf"{kind} (\d+,\d) %", card)[1].replace(",", ".")) / 100
        assert training.copies(model, tokenizer, questions) == pytest.approx(claimed, abs=0.03), kind
    assert f"{count_parameters(model.config):,}".replace(",", ".") in card
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 8_000_000


def test_gpt_pt_never_read_what_it_is_measured_on(texts):
    training_texts, held_out = texts
    evaluated = {text for some in held_out.values() for text in some}
    for name in ("reviews.jsonl.gz", "messages.jsonl.gz"):
        evaluated.update(row["text"] for row in training._rows(name) if row["split"] not in ("train", "unlabelled"))
    assert training_texts and not evaluated & set(training_texts)
