"""Supervised fine-tuning of a tiny Llama: proofs, the same losses twice, runs that are cut or killed. Lesson 14 measures the rest."""

import dataclasses
import math
import re
import signal
import subprocess
import sys

import pytest
import torch
from tune_base import QUICK, ROWS, TITLES, changed, load

from afina.errors import CourseError
from afina.runtime import course_root
from afina.tune import evaluate, sft

pytestmark = pytest.mark.usefixtures("one_thread")


def test_training_changes_b_alone_and_is_the_same_twice(base):
    runs, seen = [], []
    for _ in range(2):
        model, tokenizer = load(base, four_bits=True)
        before = {part: sft.fingerprints(model, part) for part in ("base_layer", "lora_B", "embed")}
        seen.clear()
        trained = sft.train(model, tokenizer, ROWS, QUICK, on_step=lambda *step: seen.append(step))
        after = {part: sft.fingerprints(model, part) for part in before}
        runs.append(trained.losses)
    assert before["base_layer"] == after["base_layer"] and before["embed"] == after["embed"] and before["base_layer"]
    assert len(set(before["lora_B"].values())) <= 3  # zeros of three shapes
    assert all(before["lora_B"][name] != digest for name, digest in after["lora_B"].items())
    assert runs[0] == runs[1] and trained.steps == 4 and trained.losses[-1] < trained.losses[0]
    assert [(step, steps) for step, steps, _ in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [loss for *_, loss in seen] == trained.losses


def test_the_seed_decides_the_adapter_and_the_order_of_the_rows(base):
    fingerprints, losses = [], []
    for seed in (1, 2, 1):
        model, tokenizer = load(base, seed=seed)
        fingerprints.append(sft.fingerprints(model, "lora_A"))
        settings = dataclasses.replace(QUICK, sampling="random", seed=seed, max_steps=3)
        losses.append(sft.train(model, tokenizer, ROWS, settings).losses)
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]
    assert losses[0] == losses[2] != losses[1]


def test_a_copy_of_the_embeddings_learns_and_stays_tied_to_the_head(tuned, base):
    model = tuned[True]
    untouched, _ = load(base)
    was = next(iter(sft.fingerprints(untouched, "embed_tokens").values()))
    now = sft.fingerprints(model, "embed_tokens")
    assert was in now.values() and len(set(now.values())) == 2  # the original as it was, and the copy
    head, embeddings = model.get_base_model().get_output_embeddings(), model.get_base_model().get_input_embeddings()
    assert head.weight.data_ptr() == embeddings.weight.data_ptr()


def test_trl_reports_the_model_s_own_loss_and_gradient(base):
    """Our stand-in for TRL's kernel against transformers' loss, on one full step without rounding in between."""
    model, tokenizer = load(base)
    settings = changed(batch_size=20, max_steps=1, max_grad_norm=1e9)
    rows = sft.prepare(ROWS, tokenizer, 64).rows
    ids, seen = evaluate._padded([row["input_ids"] for row in rows], tokenizer.pad_token_id, "cpu")
    answer, _ = evaluate._padded([row["completion_mask"] for row in rows], 0, "cpu")
    labels = ids.masked_fill(answer == 0, -100)
    loss = model(input_ids=ids, attention_mask=seen, labels=labels).loss
    loss.backward()
    norm = math.sqrt(sum((p.grad**2).sum().item() for p in model.parameters() if p.grad is not None))
    model.zero_grad()
    row = sft.train(model, tokenizer, ROWS, settings).history[0]
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-5) and row["grad_norm"] == pytest.approx(norm, rel=1e-4)


def test_the_loss_counts_the_answer_or_everything(base):
    first = {}
    for answer_only in (True, False):
        model, tokenizer = load(base)
        settings = changed(batch_size=20, max_steps=1, answer_only=answer_only)
        first[answer_only] = sft.train(model, tokenizer, ROWS, settings).losses[0]
        whole = evaluate.held_out(load(base)[0], tokenizer, ROWS, 64, answer_only=answer_only)
        assert first[answer_only] == pytest.approx(whole.loss, rel=1e-4)
    assert first[True] != pytest.approx(first[False], rel=1e-4)


def test_packed_rows_do_not_see_each_other(base):
    """Two texts in one row with positions that begin again give the logits of each alone."""
    model, tokenizer = load(base)
    model.eval()
    a, b = (tokenizer(title, return_tensors="pt")["input_ids"] for title in TITLES[:2])
    positions = torch.cat([torch.arange(a.shape[1]), torch.arange(b.shape[1])])[None]
    with torch.no_grad():
        together = model(input_ids=torch.cat([a, b], 1), position_ids=positions, use_cache=False).logits
        alone = torch.cat([model(input_ids=a).logits, model(input_ids=b).logits], 1)
        naive = model(input_ids=torch.cat([a, b], 1)).logits
    assert torch.allclose(together, alone, atol=1e-5) and not torch.allclose(naive, alone, atol=1e-3)
    settings = changed(max_seq_length=128, max_steps=-1)
    packed = sft.train(model, tokenizer, ROWS, changed(max_seq_length=128, max_steps=-1, packing=True))
    loose = sft.train(*load(base), ROWS, settings)
    assert packed.steps < loose.steps == 5


def test_a_stopped_run_goes_on_with_the_same_losses(base, tmp_path):
    settings = changed(max_steps=6, save_every=2)
    whole = sft.train(*load(base), ROWS, settings)
    steps = []
    cut = sft.train(
        *load(base),
        ROWS,
        settings,
        on_step=lambda step, *_: steps.append(step),
        should_stop=lambda: len(steps) >= 3,
        checkpoints=tmp_path,
    )
    assert cut.stopped and cut.steps == 3 and not whole.stopped
    rest = sft.train(*load(base), ROWS, settings, on_step=lambda step, *_: steps.append(step), checkpoints=tmp_path)
    assert steps[:3] == [1, 2, 3] and steps[3] > 2 and steps[-1] == 6  # it did not begin again
    assert rest.losses == whole.losses and rest.tokens < whole.tokens


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
import torch
import tune_base as t
from afina.tune import sft
torch.set_num_threads(1)
settings = t.changed(max_steps=6, save_every=2)
die = lambda step, *_: step == 5 and os.kill(os.getpid(), signal.SIGKILL)
sft.train(*t.load(sys.argv[1]), t.ROWS, settings, on_step=die, checkpoints=sys.argv[2])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows knows no SIGKILL")
def test_a_killed_process_goes_on_with_the_same_losses(base, tmp_path):
    folder = tmp_path / "checkpoints"
    here = str(course_root() / "tests")
    run = subprocess.run([sys.executable, "-c", KILLED, str(base), str(folder), here], capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr[-2000:]
    settings = changed(max_steps=6, save_every=2)
    steps = []
    rest = sft.train(*load(base), ROWS, settings, on_step=lambda step, *_: steps.append(step), checkpoints=folder)
    assert steps == [5, 6] and rest.losses == sft.train(*load(base), ROWS, settings).losses


def test_steps_that_the_fp16_scaler_skips_are_counted(loaded, monkeypatch):
    """Two refusals as a T4 makes them: the trainer counts these steps all the same, and no weight moves."""
    from accelerate.optimizer import AcceleratedOptimizer

    calls, step = [], AcceleratedOptimizer.step

    def refuses_twice(self, closure=None):
        calls.append(1)
        return step(self, closure) if len(calls) > 2 else None

    monkeypatch.setattr(AcceleratedOptimizer, "step", refuses_twice)
    monkeypatch.setattr(AcceleratedOptimizer, "step_was_skipped", property(lambda _: len(calls) <= 2))
    trained = sft.train(*loaded, ROWS, QUICK)
    assert (trained.steps, trained.skipped) == (4, 2)
    monkeypatch.undo()
    assert sft.train(*loaded, ROWS, QUICK).skipped == 0


def test_gradient_checkpointing_changes_no_loss(base):
    plain = sft.train(*load(base), ROWS, QUICK)
    recomputed = sft.train(*load(base, gradient_checkpointing=True), ROWS, QUICK)
    assert recomputed.losses == pytest.approx(plain.losses, rel=1e-5)


def test_a_lack_of_memory_names_the_argument_to_lower(loaded):
    def greedy(*_):
        torch.empty(10**15)  # the real allocator's own refusal

    for settings, remedy in ((QUICK, "batch_size=2 e accumulation=2"), ({"batch_size": 1}, "max_seq_length=32")):
        if isinstance(settings, dict):
            settings = changed(**settings)
        with pytest.raises(CourseError, match="faltou memória") as error:
            sft.train(*loaded, ROWS, settings, on_step=greedy)
        assert remedy in error.value.remedy
    with pytest.raises(RuntimeError, match="something else"), sft.too_little_memory(QUICK):
        raise RuntimeError("something else")


def test_a_forecast_leaves_no_trace_and_multiplies(loaded):
    model, tokenizer = loaded
    before = sft.fingerprints(model, "lora_")
    expected = sft.forecast(model, tokenizer, ROWS, changed(max_steps=-1, epochs=4), 3600.0)
    assert sft.fingerprints(model, "lora_") == before
    assert expected.steps == 20 and expected.cost == pytest.approx(expected.seconds) and expected.peak_mb > 100
    assert re.fullmatch(r"20 passos, \d+,\d min, \d+ MB de memória, custo \d+,\d\d", str(expected))


def test_training_says_nothing_on_either_stream(base, capfd):
    model, tokenizer = load(base, four_bits=True)
    sft.train(model, tokenizer, ROWS, changed(packing=True))
    evaluate.generate(model, tokenizer, [ROWS[0]["prompt"]], 4)
    assert capfd.readouterr() == ("", "")
