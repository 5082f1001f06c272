"""Loading a model to tune: what cannot be had says why."""

import re
import shutil

import pytest
import torch
from tune_base import load

from afina import cli
from afina.errors import CourseError
from afina.tune import load as loading
from afina.tune.sft import LoraSettings

pytestmark = pytest.mark.usefixtures("one_thread")


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
        loading.load_for_sft(model or base, **({"max_seq_length": 64, "load_in_4bit": False} | arguments))
    assert error.value.remedy


def test_an_empty_or_broken_folder_is_not_a_model(base, tmp_path, capsys):
    with pytest.raises(CourseError, match=r"não há modelo nesta pasta.*make models"):
        loading.load_for_sft(tmp_path, 64, False)
    for name, keep in (("model.safetensors", 0), ("model.safetensors", 1_000), ("tokenizer.json", 0)):
        folder = shutil.copytree(base, tmp_path / f"{name}-{keep}")
        content = (folder / name).read_bytes()[:keep]
        (folder / name).unlink()
        if keep:
            (folder / name).write_bytes(content)
        with pytest.raises(CourseError, match="falta um arquivo deste modelo, ou ele está estragado"):
            loading.load_for_sft(folder, 64, False)
        assert cli.main(["describe", str(folder), "--title", "a"]) == 2
        assert capsys.readouterr().err.startswith(f"erro: {folder}: falta um arquivo")


def test_a_model_too_big_for_the_memory_says_what_to_lower(base, monkeypatch):
    monkeypatch.setattr(loading, "load_base", lambda *_: torch.empty(10**15))  # the real allocator's own refusal
    for four_bits, remedy in ((False, "load_in_4bit=True"), (True, "Use um modelo menor")):
        with pytest.raises(CourseError, match=f"faltou memória para carregar o modelo. .*{remedy}"):
            load(base, four_bits)
