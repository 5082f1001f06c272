"""Supervised fine-tuning, evaluation and export, on a Llama of 50 thousand random weights made on the spot. Lesson 14 measures the rest."""

import ast
import dataclasses
import inspect
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import TemplateProcessing

from afina.data.clean import clean
from afina.data.synthetic import catalogue_lines
from afina.errors import CourseError
from afina.runtime import course_root
from afina.tune import evaluate, export, prefer, sft
from afina.tune import load as loading
from afina.tune.sft import ALPACA, INSTRUCTION, LoraSettings, TrainSettings
from workshop.make.documents import alpaca_form
from workshop.notebooks import build

QUICK = TrainSettings(batch_size=4, accumulation=1, learning_rate=1e-2, warmup_steps=0, max_seq_length=64, max_steps=4)
TITLES = ("Caltor Red Tin Mug, 8 oz", "Luma Blue Sundial", "Wexvik Teal Yoga Mat", "Zuri Pink Radio", "Juntor Navy Wok")
ROWS = [
    {"prompt": ALPACA.format(INSTRUCTION, title, ""), "completion": f"Meet the {title}, made for every day."}
    for title in TITLES * 4
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # two threads on a busy machine wait for each other
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a tiny Llama, as transformers saves it."""
    folder = tmp_path_factory.mktemp("base")
    bpe = ByteLevelBPETokenizer()
    texts = [row["prompt"] + row["completion"] for row in ROWS]
    bpe.train_from_iterator(texts, 400, special_tokens=["<s>", "</s>", "<pad>"], show_progress=False)
    bpe._tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, **names)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,  # fewer than heads, as in TinyLlama
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.1,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    with sft.quiet():
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load(base, four_bits=False, lora=LoraSettings(r=4), **more):  # noqa: B008 (frozen)
    return sft.load_for_sft(base, 64, four_bits, lora, **more)


@pytest.fixture
def loaded(base):
    return load(base)


@pytest.fixture(scope="module")
def tokenizer(base):
    return transformers.AutoTokenizer.from_pretrained(base)


@pytest.fixture(scope="module")
def tuned(base):
    """{False: LoRA, True: QLoRA with its own copy of the embeddings}, after a few steps."""
    models = {}
    for four_bits in (False, True):
        model, tokenizer = load(
            base, four_bits, LoraSettings(r=4, modules_to_save=("embed_tokens",) if four_bits else ())
        )
        sft.train(model, tokenizer, ROWS, QUICK)
        models[four_bits] = model.eval()
    return models


# --- the template ----------------------------------------------------------------------------------------------------


def test_the_template_is_the_one_the_base_model_knows():
    assert ALPACA.format("Describe it", "A title", "An answer") == alpaca_form("Describe it", "A title", "An answer")


def test_columns_become_prompt_completion_and_text():
    rows = {"title": ["A mug"], "content": ["Red."], "instruction": [sft.add_instruction_column({})["instruction"]]}
    out = sft.formatting_prompts_func(rows, "</s>")
    assert out["text"] == [f"### Instruction:\n{INSTRUCTION}\n\n### Input:\nA mug\n\n### Response:\nRed.</s>"]
    assert out["text"][0] == out["prompt"][0] + out["completion"][0] and out["completion"] == ["Red.</s>"]


def test_every_question_has_its_turn_and_new_ones_are_new():
    asked = [sft.add_question_column({}, i)["instruction"] for i in range(len(sft.QUESTIONS) * 2)]
    assert set(asked) == set(sft.QUESTIONS) and not set(sft.NEW_QUESTIONS) & set(sft.QUESTIONS)


def test_the_lesson_teaches_the_package_template():
    lesson = build(course_root() / "notebooks" / "src" / "14_tinyllama_qlora.py", None)
    cells = [ast.parse(cell.source) for cell in lesson.cells if cell.cell_type == "code"]
    taught = {node.name: node for cell in cells for node in cell.body if isinstance(node, ast.FunctionDef)}
    for function in (sft.add_instruction_column, sft.formatting_prompts_func):
        assert ast.dump(taught[function.__name__]) == ast.dump(ast.parse(inspect.getsource(function)).body[0])
    constants = {
        node.targets[0].id: node.value for cell in cells for node in cell.body if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
    }  # fmt: skip
    assert ast.literal_eval(constants["ALPACA"]) == ALPACA and ast.literal_eval(constants["INSTRUCTION"]) == INSTRUCTION


def test_the_executed_lesson_shows_the_tables_of_today():
    """The tables come from data/sft_tables.json: measured anew, the lesson must run anew."""
    lesson = json.loads((course_root() / "notebooks" / "14_tinyllama_qlora.ipynb").read_text(encoding="utf-8"))
    tables = json.loads((course_root() / "data" / "sft_tables.json").read_text(encoding="utf-8"))
    shown = [
        "".join(output["data"].get("text/plain", ""))
        for cell in lesson["cells"]
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    for part in ("methods", "loss", "packing", "rows"):
        table = next(text for text in shown if all(evaluate.NAMES[name] in text for name in tables["summary"][part]))
        for name, figures in tables["summary"][part].items():  # a wide table is printed in pieces
            row = " ".join(line for line in table.splitlines() if line.startswith(evaluate.NAMES[name] + "  "))
            assert f"{figures['held_out_loss']['mean']:.2f}" in row, (part, name)
            if part == "methods":
                assert f"{tables['peak_mb'][name]:.1f}" in row, name


# --- rows to tokens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "não há nenhum exemplo"),
        ([{"prompt": "a", "completion": "b"}, {"prompt": "a"}], 'linha 2: falta "completion"'),
        ([{"title": "a"}], 'linha 1: falta "prompt" e "completion"'),
        ([{"text": ""}], 'linha 1: falta "text"'),
        ([{"prompt": "a", "completion": ""}] * 9, "e mais 4"),
        ([{"prompt": "word " * 80, "completion": "b"}], "nenhum dos 1 exemplos cabe"),
    ],
)
def test_bad_rows_are_refused_with_their_place(tokenizer, rows, said):
    with pytest.raises(CourseError, match=re.escape(said)) as error:
        sft.prepare(rows, tokenizer, 64)
    assert error.value.remedy


def test_the_mask_covers_the_answer_and_its_end_alone(tokenizer):
    row = sft.prepare(ROWS[:1], tokenizer, 128).rows[0]
    parts = {
        bit: [i for i, b in zip(row["input_ids"], row["completion_mask"], strict=True) if b == bit] for bit in (0, 1)
    }
    assert tokenizer.decode(parts[0]) == "<s>" + ROWS[0]["prompt"]
    assert tokenizer.decode(parts[1]) == ROWS[0]["completion"] + "</s>"
    assert row["input_ids"] == tokenizer(ROWS[0]["prompt"] + ROWS[0]["completion"] + "</s>")["input_ids"]


def test_the_end_token_comes_once_and_only_when_wanted(tokenizer):
    with_end = sft.prepare([{"text": "a b</s>"}], tokenizer, 64).rows
    assert with_end == sft.prepare([{"text": "a b"}], tokenizer, 64).rows
    assert with_end[0]["input_ids"].count(tokenizer.eos_token_id) == 1
    assert (
        tokenizer.eos_token_id not in sft.prepare([{"text": "a b"}], tokenizer, 64, add_eos=False).rows[0]["input_ids"]
    )


def test_text_counts_whole_and_cuts_are_counted(tokenizer):
    long = {"prompt": "x " * 300, "completion": "y"}
    prepared = sft.prepare([ROWS[0], {"text": "red " * 90}, long], tokenizer, 64)
    assert (len(prepared.rows), prepared.cut, prepared.dropped) == (2, 2, 1)
    assert prepared.rows[1]["completion_mask"] == [1] * 64 and prepared.tokens == 64 + len(
        prepared.rows[0]["input_ids"]
    )


# --- which rows ------------------------------------------------------------------------------------------------------


def test_a_shard_says_what_is_wrong_with_it(tmp_path):
    path = tmp_path / "train-00000.jsonl"
    for text, said in (
        (None, "não há este fragmento"),
        ("", "está vazio"),
        ('{"title": "a", "content": "b"}\n{"title": "a"}\n', "linha 2: falta a coluna content"),
        ('{"title": "a", "content": null}\n', "linha 1: falta a coluna content"),
        ('\n{"title": \n', "linha 2: não é JSON"),
    ):
        if text is not None:
            path.write_text(text, encoding="utf-8")
        with pytest.raises(CourseError, match=said):
            sft.read_shard(path)
    path.write_text('{"title": "é", "content": "b"}\n', encoding="utf-8")
    assert sft.read_shard(path) == [{"title": "é", "content": "b"}]


def test_rows_are_chosen_as_asked():
    lengths = [(i * 37) % 100 for i in range(200)]
    chosen = {how: sft.choose(lengths, 40, how) for how in ("random", "stratified", "longest")}
    for places in chosen.values():
        assert len(set(places)) == 40
    assert min(lengths[i] for i in chosen["longest"]) == 80
    bands = [lengths[i] // 10 for i in chosen["stratified"]]
    assert all(bands.count(band) == 4 for band in range(10))
    assert chosen["random"] == sft.choose(lengths, 40, "random") != sft.choose(lengths, 40, "random", seed=1)
    assert len(sft.choose(lengths, 200, "stratified")) == 200
    for n, how in ((0, "random"), (201, "random"), (5, "curtas")):
        with pytest.raises(CourseError):
            sft.choose(lengths, n, how)


# --- loading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "arguments", "said"),
    [
        ("unsloth/tinyllama-chat-bnb-4bit", {}, "aqui não há CUDA"),
        ("somebody/that-is-not-here", {}, "não está nesta máquina"),
        (None, {"lora": None, "load_in_4bit": True}, "pesos de 4 bits não treinam"),
        (None, {"lora": LoraSettings(target_modules=("projeto",))}, "projeto"),
        (None, {"lora": LoraSettings(modules_to_save=("embeds",))}, "não tem a matriz embeds"),
        (None, {"max_seq_length": 4096}, "max_seq_length=4096, e este modelo lê até 128"),
    ],
)
def test_a_model_that_cannot_be_had_says_why(base, model, arguments, said):
    with pytest.raises(CourseError, match=re.escape(said)) as error:
        sft.load_for_sft(model or base, **({"max_seq_length": 64, "load_in_4bit": False} | arguments))
    assert error.value.remedy


def test_an_empty_or_broken_folder_is_not_a_model(base, tmp_path, capsys):
    with pytest.raises(CourseError, match=r"não há modelo nesta pasta.*make models"):
        sft.load_for_sft(tmp_path, 64, False)
    for name, keep in (("model.safetensors", 0), ("model.safetensors", 1_000), ("tokenizer.json", 0)):
        folder = shutil.copytree(base, tmp_path / f"{name}-{keep}")
        content = (folder / name).read_bytes()[:keep]
        (folder / name).unlink()
        if keep:
            (folder / name).write_bytes(content)
        with pytest.raises(CourseError, match="falta um arquivo deste modelo, ou ele está estragado"):
            sft.load_for_sft(folder, 64, False)
        assert export.main([str(folder), "--title", "a"]) == 2
        assert capsys.readouterr().err.startswith(f"erro: {folder}: falta um arquivo")


def test_a_model_too_big_for_the_memory_says_what_to_lower(base, monkeypatch):
    monkeypatch.setattr(loading, "load_base", lambda *_: torch.empty(10**15))  # the real allocator's own refusal
    for four_bits, remedy in ((False, "load_in_4bit=True"), (True, "Use um modelo menor")):
        with pytest.raises(CourseError, match=f"faltou memória para carregar o modelo. .*{remedy}"):
            load(base, four_bits)


def test_parameters_are_counted_by_formula_in_16_and_in_4_bits(base):
    model, _ = load(base)
    config = model.config
    few = config.hidden_size * config.num_key_value_heads // config.num_attention_heads
    pairs = 2 * (32 + 32) + 2 * (32 + few) + 3 * (32 + 64)  # in + out of q, o; k, v; gate, up, down
    assert sft.trainable(model)[0] == 4 * pairs * config.num_hidden_layers
    packed, _ = load(base, four_bits=True)
    assert sft.trainable(packed) == sft.trainable(model)
    assert sft.training_bytes(packed)["weights"] < sft.training_bytes(model)["weights"]
    whole, _ = load(base, lora=None)
    assert len(set(sft.trainable(whole))) == 1 and sft.training_bytes(whole)["optimizer"] == 8 * sft.trainable(whole)[0]


# --- training --------------------------------------------------------------------------------------------------------


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
    settings = TrainSettings(**{**vars(QUICK), "batch_size": 20, "max_steps": 1, "max_grad_norm": 1e9})
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
        settings = TrainSettings(**{**vars(QUICK), "batch_size": 20, "max_steps": 1, "answer_only": answer_only})
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
    settings = TrainSettings(**{**vars(QUICK), "max_seq_length": 128, "max_steps": -1})
    packed = sft.train(model, tokenizer, ROWS, TrainSettings(**{**vars(settings), "packing": True}))
    loose = sft.train(*load(base), ROWS, settings)
    assert packed.steps < loose.steps == 5


def test_a_stopped_run_goes_on_with_the_same_losses(base, tmp_path):
    settings = TrainSettings(**{**vars(QUICK), "max_steps": 6, "save_every": 2})
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
import test_sft as t
t.torch.set_num_threads(1)
settings = t.TrainSettings(**{**vars(t.QUICK), "max_steps": 6, "save_every": 2})
die = lambda step, *_: step == 5 and os.kill(os.getpid(), signal.SIGKILL)
t.sft.train(*t.load(sys.argv[1]), t.ROWS, settings, on_step=die, checkpoints=sys.argv[2])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows knows no SIGKILL")
def test_a_killed_process_goes_on_with_the_same_losses(base, tmp_path):
    folder = tmp_path / "checkpoints"
    here = str(course_root() / "tests")
    run = subprocess.run([sys.executable, "-c", KILLED, str(base), str(folder), here], capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr[-2000:]
    settings = TrainSettings(**{**vars(QUICK), "max_steps": 6, "save_every": 2})
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
            settings = TrainSettings(**{**vars(QUICK), **settings})
        with pytest.raises(CourseError, match="faltou memória") as error:
            sft.train(*loaded, ROWS, settings, on_step=greedy)
        assert remedy in error.value.remedy
    with pytest.raises(RuntimeError, match="something else"), sft.memory_errors(QUICK):
        raise RuntimeError("something else")


def test_a_forecast_leaves_no_trace_and_multiplies(loaded):
    model, tokenizer = loaded
    before = sft.fingerprints(model, "lora_")
    expected = sft.forecast(
        model, tokenizer, ROWS, TrainSettings(**{**vars(QUICK), "max_steps": -1, "epochs": 4}), 3600.0
    )
    assert sft.fingerprints(model, "lora_") == before
    assert expected.steps == 20 and expected.cost == pytest.approx(expected.seconds) and expected.peak_mb > 100
    assert re.fullmatch(r"20 passos, \d+,\d min, \d+ MB de memória, custo \d+,\d\d", str(expected))


def test_amdahl():
    assert sft.amdahl(0, 8) == 1 and sft.amdahl(1, 8) == 8 and sft.amdahl(0.9, 1e9) == pytest.approx(10)


def test_training_says_nothing_on_either_stream(base, capfd):
    model, tokenizer = load(base, four_bits=True)
    sft.train(model, tokenizer, ROWS, TrainSettings(**{**vars(QUICK), "packing": True}))
    evaluate.generate(model, tokenizer, [ROWS[0]["prompt"]], 4)
    assert capfd.readouterr() == ("", "")


# --- preferences -----------------------------------------------------------------------------------------------------


def test_dpo_lowers_its_loss_and_prefers_the_chosen(tuned, base):
    rows = [{"prompt": r["prompt"], "chosen": r["completion"], "rejected": "No idea."} for r in ROWS]
    model, tokenizer = load(base)
    trained = prefer.train_dpo(model, tokenizer, rows, TrainSettings(**{**vars(QUICK), "max_steps": 8}))
    assert trained.losses[0] == pytest.approx(math.log(2), rel=1e-4)  # it begins as its own reference
    assert trained.losses[-1] < 0.6 and trained.history[-1]["rewards/accuracies"] == 1
    assert list(model.peft_config) == ["default"]
    again = prefer.train_dpo(model, tokenizer, rows, QUICK)
    assert again.losses[0] == pytest.approx(math.log(2), rel=1e-4)


def test_dpo_rows_are_checked_and_need_an_adapter(base):
    with pytest.raises(CourseError, match='linha 1: falta "chosen"'):
        prefer.train_dpo(*load(base), [{"prompt": "a", "rejected": "b"}], QUICK)
    with pytest.raises(CourseError, match="precisa de um adaptador"):
        prefer.train_dpo(*load(base, lora=None), [{"prompt": "a", "chosen": "b", "rejected": "c"}], QUICK)


# --- evaluation ------------------------------------------------------------------------------------------------------


def test_held_out_loss_is_the_model_s_own(loaded):
    model, tokenizer = loaded
    model.eval()
    ids = tokenizer(TITLES[0] + "</s>", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        theirs = model(input_ids=ids, labels=ids).loss.item()
    ours = evaluate.held_out(model, tokenizer, [{"text": TITLES[0]}], 64)
    assert ours.loss == pytest.approx(theirs, rel=1e-5) and ours.perplexity == pytest.approx(math.exp(theirs), rel=1e-4)
    assert ours.characters == len(TITLES[0])
    assert ours.bits_per_character == pytest.approx(
        theirs * (ids.shape[1] - 1) / math.log(2) / len(TITLES[0]), rel=1e-4
    )


def test_a_batch_writes_what_each_prompt_alone_would(tuned, tokenizer):
    prompts = [row["prompt"] for row in ROWS[:4]] + ["Luma"]
    together = evaluate.generate(tuned[False], tokenizer, prompts, 8)
    alone = [evaluate.generate(tuned[False], tokenizer, [prompt], 8)[0] for prompt in prompts]
    assert together == alone
    assert evaluate.finished("a b</s>", "</s>") == ("a b", True) and evaluate.finished("a b", "</s>") == ("a b", False)


def test_the_judge_knows_true_descriptions_from_wrong_ones():
    rows = [
        json.loads(line) for line in catalogue_lines(60) if line.strip().endswith(b"}") and b'"content": ""' not in line
    ][:40]
    titles, true = zip(*((clean(row["title"]), clean(row["content"])) for row in rows if row["title"]), strict=True)
    best = evaluate.judge(titles, true, true)
    assert (
        best["attributes"] == 1 and best["all"] == 1 and best["invented"] < 0.1 and best["chrf"] == pytest.approx(100)
    )
    assert evaluate.judge(titles, true[1:] + true[:1], true)["all"] == 0
    template = evaluate.judge(titles, evaluate.template_descriptions(titles), true)
    assert template["attributes"] == 1 and template["category"] < 0.1


def test_a_category_in_a_department_s_name_does_not_count():
    title = "Juntor Red Wrist Watch"
    assert evaluate.says(title, "The red wrist watch by Juntor, under Watches.")["category"]
    assert not evaluate.says(title, "The red wrist watch by Juntor, of Jewelry Watches.")["category"]
    wrong = evaluate.says(title, "The blue wrist watch by Juntor.")
    assert wrong == {"brand": True, "item": True, "color": False, "category": False, "invented": False}
    assert evaluate.says(title, "The red wrist watch by Juntor, made of brass.")["invented"]
    with pytest.raises(CourseError, match="não reconheço"):
        evaluate.says("Bicicleta", "x")


def test_the_nearest_title_lends_its_description():
    known = [("Red Mug by Luma", "first"), ("Blue Wok by Zuri", "second")]
    assert evaluate.nearest_descriptions(["Zuri Wok", "Luma Mug"], known) == ["second", "first"]


# --- export ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("four_bits", [False, True])
def test_merged_reopened_and_gguf_say_the_same(tuned, tokenizer, tmp_path, four_bits):
    model = tuned[four_bits]
    ids = tokenizer([row["prompt"] for row in ROWS[:1]], return_tensors="pt")["input_ids"]
    merged = export.merge(model)
    export.save(model, tokenizer, tmp_path / "adapter")
    export.save(merged, tokenizer, tmp_path / "merged")
    adapter, _ = export.reopen(tmp_path / "adapter", four_bits)
    again, _ = export.reopen(tmp_path / "merged")
    path = export.write_gguf(merged, tokenizer, tmp_path / "model.gguf")
    read, its_tokenizer = export.read_gguf(path)
    with torch.no_grad():
        logits = {name: m.eval()(ids).logits for name, m in [("tuned", model), ("merged", merged), ("adapter", adapter),
                                                             ("again", again), ("gguf", read)]}  # fmt: skip
        untuned = transformers.AutoModelForCausalLM.from_pretrained(
            model.peft_config["default"].base_model_name_or_path
        )
        assert not torch.allclose(untuned(ids).logits, logits["tuned"], atol=0.1)
    for name in ("merged", "adapter", "again", "gguf"):
        assert torch.allclose(logits[name], logits["tuned"], atol=1e-4), name
    # that reader leaves out the opening token, which the file asks for (add_bos_token) and llama.cpp puts in
    assert [0, *its_tokenizer(ROWS[0]["prompt"])["input_ids"]] == ids[0].tolist()
    assert (its_tokenizer.bos_token, its_tokenizer.eos_token) == ("<s>", "</s>")
    files = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert {"adapter_model.safetensors", "model.safetensors", "model.gguf"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt", ".partial", "README.md"))]


def test_gguf_holds_what_llama_cpp_asks_for(tuned, tokenizer, tmp_path):
    import gguf

    reader = gguf.GGUFReader(export.write_gguf(export.merge(tuned[False]), tokenizer, tmp_path / "m.gguf"))
    value = {name: field.contents() for name, field in reader.fields.items()}
    assert value["general.architecture"] == "llama" and value["llama.attention.head_count_kv"] == 2
    assert value["tokenizer.ggml.model"] == "gpt2" and len(value["tokenizer.ggml.tokens"]) == len(tokenizer)
    assert value["tokenizer.ggml.eos_token_id"] == 1 and value["tokenizer.ggml.add_bos_token"] is True
    assert {t.name for t in reader.tensors} >= {"token_embd.weight", "blk.0.attn_q.weight", "blk.1.ffn_down.weight"}
    assert all(np.isfinite(t.data).all() for t in reader.tensors)


def test_another_architecture_is_refused(tokenizer, tmp_path):
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2)
    with pytest.raises(CourseError, match="GGUF um Llama"):
        export.write_gguf(transformers.GPT2LMHeadModel(config), tokenizer, tmp_path / "m.gguf")
    with pytest.raises(CourseError, match="não tem adaptador"):
        export.merge(transformers.GPT2LMHeadModel(config))


def test_the_modelfile_repeats_the_template_and_the_end():
    text = export.modelfile("folder/m.gguf", "</s>")
    template = re.search(r'TEMPLATE """(.*?)"""', text, re.S)[1]
    assert template.replace("{{ .Prompt }}", "A mug") == ALPACA.format(INSTRUCTION, "A mug", "")
    assert text.startswith("FROM ./m.gguf\n") and 'PARAMETER stop "</s>"' in text


def test_the_card_is_filled_in_and_never_half_empty():
    parts = {
        "name": "x",
        "base": "llama-base",
        "purpose": "Descreve.",
        "data": {"linhas": 10},
        "settings": {"r": 4},
        "scores": {"ajustado": {"loss": 0.5, "chrf": 44.04}, "vizinho": {"loss": 1.0, "chrf": 9.0}},
        "limits": "Só produtos inventados.",
    }
    card = export.model_card(**parts)
    assert "| ajustado | 0,500 | 44,0 |" in card and "- linhas: 10" in card and "license: cc-by-4.0" in card
    for missing in ("data", "settings", "scores"):
        with pytest.raises(CourseError, match=missing):
            export.model_card(**{**parts, missing: {}})


def test_a_fresh_process_says_the_same(tuned, tokenizer, tmp_path):
    folder = export.save(export.merge(tuned[True]), tokenizer, tmp_path / "merged")
    here = evaluate.generate(tuned[True], tokenizer, [ALPACA.format(INSTRUCTION, TITLES[0], "")], 12)[0]
    command = [sys.executable, "-m", "afina.tune.export", str(folder), "--title", TITLES[0], "--tokens", "12"]
    run = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env={**os.environ, "PYTHONUTF8": "1"}
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert json.loads(run.stdout) == [evaluate.finished(here, tokenizer.eos_token)[0]]
