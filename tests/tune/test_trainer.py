"""What every Trainer of the course shares: the machine's arguments, and the way from a checkpoint to the end."""

import dataclasses

import torch
import transformers
from torch import nn

from afina.runtime import Runtime
from afina.tune import trainer as ours
from afina.tune.quiet import quiet


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(1, 1)

    def forward(self, x):
        return {"loss": self.line(x).square().mean()}


def train(folder, steps, save_to=None):
    torch.manual_seed(0)
    more = {"max_steps": steps, "save_steps": 2, "logging_steps": 1, "per_device_train_batch_size": 1}
    with quiet():
        arguments = transformers.TrainingArguments(str(folder), **ours.machine_arguments(), **more)
        trainer = transformers.Trainer(Line(), arguments, train_dataset=[{"x": [float(i)]} for i in range(8)])
        seconds, begun = ours.run_from_last(trainer, folder, save_to)
    assert seconds > 0
    return begun, [row["loss"] for row in trainer.state.log_history if "loss" in row]


def test_a_run_goes_on_from_the_last_checkpoint_and_saves_without_the_pickle(tmp_path, one_thread, capfd):
    begun, losses = train(tmp_path / "run", 2)
    assert begun == 0
    begun, more = train(tmp_path / "run", 4, tmp_path / "model")
    assert begun == 2 and more[:2] == losses and len(more) == 4
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert "model.safetensors" in names and "training_args.bin" not in names
    assert capfd.readouterr() == ("", "")


def test_the_arguments_are_those_of_the_machine(monkeypatch):
    here = Runtime.here(show=False)
    for device, precision in (("cpu", "fp32"), ("cuda", "bf16"), ("cuda", "fp16")):
        machine = dataclasses.replace(here, device=device, precision=precision)
        monkeypatch.setattr(Runtime, "here", lambda show=True, machine=machine: machine)
        given = ours.machine_arguments()
        assert (given["use_cpu"], given["bf16"], given["fp16"]) == (
            device == "cpu",
            precision == "bf16",
            precision == "fp16",
        )
