"""Pretraining: the rate, the order, one step by the book, and runs that are killed and go on."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from gpt_base import SMALL, ids_of, spread

from afina.errors import CourseError
from afina.gpt import train as training
from afina.gpt.loader import Windows
from afina.gpt.model import GPT, GPTConfig, next_token_loss
from afina.gpt.train import Recipe, batch_of, evaluate, learning_rate_at, train
from afina.gpt.weights import read_tensors, save_gpt, write_tensors

pytestmark = pytest.mark.usefixtures("one_thread")


def test_impossible_recipes_and_nothing_to_learn_from_say_so(model, rows, tokenizer):
    for wrong in ({"steps": 0}, {"batch_size": 0}, {"evaluate_every": 2.5}):
        with pytest.raises(CourseError, match=f"{next(iter(wrong))} é {next(iter(wrong.values()))}"):
            Recipe(**({"steps": 1} | wrong))
    silent = (ids_of(12), torch.full((12,), -100))
    for nothing in ([], [silent]):
        with pytest.raises(CourseError, match="nenhum token"):
            evaluate(model, nothing)
    with pytest.raises(CourseError, match="nenhum texto"):
        training.whole_documents(tokenizer, [], 24)
    for some, others in (([], rows), (rows, [])):
        with pytest.raises(CourseError, match="nenhuma janela"):
            next(train(model, some, others, Recipe(steps=1)))


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
