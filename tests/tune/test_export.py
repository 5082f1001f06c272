"""A tuned model leaves: merged, saved, reopened, as GGUF, with its card, in a fresh process."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from tune_base import ROWS, TITLES

from afina import whole
from afina.errors import CourseError
from afina.tune import evaluate, export
from afina.tune.sft import ALPACA, INSTRUCTION

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_a_folder_survives_a_kill_between_two_renames_and_a_stranger_s_is_left_alone(tuned, tokenizer, tmp_path):
    folder = export.save(tuned[False], tokenizer, tmp_path / "adapter", card="# Eu")
    assert (folder / "README.md").read_text(encoding="utf-8") == "# Eu"
    folder.rename(
        tmp_path / f".afina-{whole._room()}-999999999-00000000-old.adapter"
    )  # as where a system cannot swap two names
    model, _ = export.reopen(folder)
    assert model.peft_config and [path.name for path in tmp_path.iterdir()] == ["adapter"]
    notes = tmp_path / "mine" / "notes.txt"
    notes.parent.mkdir()
    notes.touch()
    with pytest.raises(CourseError, match="não vou apagar nada"):
        export.save(tuned[False], tokenizer, notes.parent)
    assert notes.exists()


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
    command = [sys.executable, "-m", "afina.cli", "describe", str(folder), "--title", TITLES[0], "--tokens", "12"]
    run = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env={**os.environ, "PYTHONUTF8": "1"}
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert json.loads(run.stdout) == [evaluate.finished(here, tokenizer.eos_token)[0]]
