"""Each piece of a library that compat.py patches or takes: the library as it comes still lacks it. A test that fails says: it may go."""

import gc
import os
import subprocess
import sys

import boto3
import pytest
import torch
import transformers
from accelerate.utils import FullyShardedDataParallelPlugin
from moto.iam.responses import IamResponse
from torch import nn

from afina import compat
from afina.gpt.model import GPT, GPTConfig

pytestmark = pytest.mark.usefixtures("one_thread")


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels of a CPU")
@pytest.mark.parametrize(("script", "warns"), [
    ("import bitsandbytes", True),
    ("from afina import compat\nwith compat.no_kernel_warning():\n    import bitsandbytes", False),
])  # fmt: skip
def test_no_kernel_warning(script, warns):
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0 and ("Failed to load CPU" in run.stderr) == warns, run.stderr


def test_only_errors_gives_the_levels_back():
    import logging

    logger = logging.getLogger("trl")
    before = logger.level
    with pytest.raises(KeyError), compat.only_errors("trl"):
        assert logger.level == logging.ERROR
        raise KeyError
    assert logger.level == before


def walked(act) -> list[float]:
    """The share of all objects that each full collection inside `act` had to look at."""
    seen, every = [], len(gc.get_objects()) + gc.get_freeze_count()

    def look(phase, info):
        if phase == "start" and info["generation"] == 2:
            seen.append(len(gc.get_objects()) / every)

    gc.callbacks.append(look)
    try:
        act()
    finally:
        gc.callbacks.remove(look)
    return seen


def train_once(tmp_path) -> None:
    model = nn.Linear(2, 1)
    model.forward = lambda x=None, **_: {"loss": nn.functional.linear(x, model.weight).mean()}
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=1, report_to="none", disable_tqdm=True, use_cpu=True, save_strategy="no"
    )
    rows = [{"x": [1.0, 2.0]}] * 8
    trainer = transformers.Trainer(model, arguments, train_dataset=rows)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()


def test_libraries_are_no_garbage(tmp_path):
    assert max(walked(lambda: train_once(tmp_path)), default=0) > 0.5, "Trainer collects no more: not needed"
    with compat.libraries_are_no_garbage():
        assert max(walked(lambda: train_once(tmp_path)), default=0) < 0.1
    assert gc.get_freeze_count() == 0


def test_what_the_process_froze_stays_frozen():
    gc.freeze()
    try:
        with compat.libraries_are_no_garbage():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


@pytest.mark.skipif(torch.cuda.is_available(), reason="TRL trains there with its own kernel")
def test_trl_without_triton():
    from trl.trainer import utils

    hidden, weight = torch.randn(3, 4, requires_grad=True), torch.randn(7, 4)
    asked = (hidden, weight, None, torch.tensor([1, 2, 3]), 1.0, 2, None, 1.0, ())
    theirs = utils._ChunkedLogProbFunction
    with pytest.raises((AttributeError, RuntimeError)):  # without Triton there is none at all
        theirs.apply(*asked)
    with compat.trl_without_triton():
        log_probs = utils._ChunkedLogProbFunction.apply(*asked)[0]
        assert torch.allclose(log_probs, (hidden @ weight.T).log_softmax(-1)[range(3), [1, 2, 3]])
    assert utils._ChunkedLogProbFunction is theirs


def test_keep_4bit_weights():
    from bitsandbytes.nn import Linear4bit

    layer = Linear4bit(64, 64)
    layer.support_avx512bf16_for_cpu = True  # as it says itself on a processor that has it
    compat.keep_4bit_weights(nn.Sequential(layer))
    assert layer.support_avx512bf16_for_cpu is False
    assert "support_avx512bf16_for_cpu" in vars(Linear4bit(64, 64)), "bitsandbytes repacks no more: not needed"


def test_wrap_by_fsdp(monkeypatch):
    monkeypatch.setenv("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP")
    model = GPT(GPTConfig(8, 4, 8, 2, 2))

    def wrapped() -> int:
        plugin = FullyShardedDataParallelPlugin()
        plugin.set_auto_wrap_policy(model)
        return sum(plugin.auto_wrap_policy(module=m, recurse=False, nonwrapped_numel=1) for m in model.modules())

    assert wrapped() == 0
    compat.wrap_by_fsdp(model, ["Block"])
    assert wrapped() == 2


# --- GGUF ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    from tune_base import write_base

    from afina.tune import export

    folder = tmp_path_factory.mktemp("gguf")
    model, tokenizer = export.reopen(write_base(folder / "base"))
    return export.write_gguf(model, tokenizer, folder / "m.gguf")


def test_gguf_without_bar(gguf, capfd):
    from afina.tune.quiet import quiet

    def read():
        transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)

    with quiet():
        read()
    assert "it/s" in capfd.readouterr().err, "transformers' bar has its switch: not needed"
    with quiet(), compat.gguf_without_bar():
        read()
    assert capfd.readouterr().err == ""


def test_gguf_s_ends_are_still_misread(gguf):
    """`read_gguf` puts right what transformers 5.17 takes one for the other."""
    from afina.tune import export

    theirs = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    _, ours = export.read_gguf(gguf)
    assert (ours.bos_token, ours.eos_token) == ("<s>", "</s>") != (theirs.bos_token, theirs.eos_token)


# --- the clouds ----------------------------------------------------------------------------------------------------


def test_boto3_still_keeps_the_credentials_it_read_first(monkeypatch):
    def key():
        return boto3.client("s3", region_name="us-east-1")._request_signer._credentials.access_key

    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ONE")
    assert key() == "ONE"
    os.environ["AWS_ACCESS_KEY_ID"] = "TWO"
    assert key() == "ONE", "boto3 reads the variables again by itself: new_boto_session is no longer needed"
    compat.new_boto_session()
    assert key() == "TWO"


def test_moto_still_simulates_no_policy():
    asked = {name for name in dir(IamResponse) if "simulate" in name}
    assert not asked, (
        "moto answers SimulatePrincipalPolicy: cloud/iam.py may ask it, and moto_roles is no longer needed"
    )
    assert not list(compat.moto_roles("999999999999"))
