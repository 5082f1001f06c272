"""Supervised fine-tuning of a language model with LoRA or QLoRA: one call to load it, one to train it, on a GPU or a laptop.

The trainer is TRL's on a GPU and on a CPU. Loading is told in `load`, the rows in `rows`, what it costs in `measure`.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from afina import compat, ptbr
from afina.runtime import SEED, Runtime
from afina.tune.load import *  # noqa: F403 (the lessons take from here what loads, prepares and measures)
from afina.tune.load import memory_errors
from afina.tune.measure import *  # noqa: F403
from afina.tune.measure import peak_memory_mb
from afina.tune.quiet import quiet
from afina.tune.rows import *  # noqa: F403
from afina.tune.rows import Prepared, Row, prepare
from afina.tune.trainer import machine_arguments, run_from_last

with compat.no_kernel_warning():
    from transformers import TrainerCallback

OnStep = Callable[[int, int, float], None]  # step, steps in all, loss


@dataclass(frozen=True)
class TrainSettings:
    """The seed's arguments under their names of today, with its values. `batch_size * accumulation` rows make one step."""

    epochs: float = 1
    batch_size: int = 2
    accumulation: int = 22
    learning_rate: float = 2e-4
    warmup_steps: int = 5
    max_grad_norm: float = 0.6
    optimizer: str = "adamw_8bit"
    weight_decay: float = 0.01
    schedule: str = "linear"
    sampling: str = "group_by_length"
    packing: bool = False
    answer_only: bool = True
    add_eos: bool = True
    max_seq_length: int = 256
    max_steps: int = -1  # -1: as many as the epochs ask
    save_every: int = 20  # steps between checkpoints, where a folder for them is given
    seed: int = SEED


@dataclass
class Trained:
    """What `train` did. `history` has a row a step: step, loss, learning_rate, grad_norm, epoch, and more that TRL logs."""

    history: list[dict]
    seconds: float
    steps: int  # optimizer steps, those of earlier runs included when it resumed
    tokens: int  # read in this run, padding left out (the share of the epochs done, of the tokens of one)
    prepared: Prepared
    stopped: bool = False  # should_stop said so
    skipped: int = 0  # steps of this run that moved no weight: in fp16 a gradient overflowed and the scale came down
    resumed_after: int = 0  # steps that an earlier run had done

    @property
    def losses(self) -> list[float]:
        return [row["loss"] for row in self.history]


def sft_config(settings: TrainSettings, folder: str | Path, checkpoints: bool, gradient_checkpointing: bool = False):
    """TRL's SFTConfig for these settings: what `train` uses."""
    from trl import SFTConfig

    arguments = trainer_arguments(settings, folder, checkpoints, gradient_checkpointing)
    return SFTConfig(**arguments, packing=settings.packing, completion_only_loss=settings.answer_only)


def trainer_arguments(settings: TrainSettings, folder, checkpoints: bool, gradient_checkpointing: bool) -> dict:
    """What SFTConfig and DPOConfig share."""
    same = ("max_steps", "learning_rate", "warmup_steps", "weight_decay", "max_grad_norm", "seed")
    return {
        **machine_arguments(),
        **{name: getattr(settings, name) for name in same},
        "output_dir": str(folder),
        "max_length": settings.max_seq_length,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.accumulation,
        "lr_scheduler_type": settings.schedule,
        "optim": settings.optimizer,
        "train_sampling_strategy": settings.sampling,
        "gradient_checkpointing": gradient_checkpointing,
        "logging_steps": 1,
        "save_strategy": "steps" if checkpoints else "no",
        "save_steps": settings.save_every,
        "save_total_limit": 2,
    }


def train(
    model,
    tokenizer,
    rows: Sequence[Row],
    settings: TrainSettings,
    on_step: OnStep | None = None,
    should_stop: Callable[[], bool] | None = None,
    checkpoints: str | Path | None = None,
    save_to: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Trained:
    """Tune `model` in place on `rows` with TRL's SFTTrainer. Same seed and machine: the same losses, bit for bit.

    `on_step(step, steps, loss)` is called after each optimizer step; `should_stop()` True ends the run after the present one.
    With a `checkpoints` folder, state is kept there every `settings.save_every` steps, and a run that finds some goes on
    from the last. `save_to` gets the model (the adapter alone where there is one) and the tokenizer, from all processes where
    several were launched; each of them then takes `batch_size` rows. CourseError on bad rows and where memory runs out.
    """
    from datasets import Dataset
    from trl import SFTTrainer

    prepared = prepare(rows, tokenizer, settings.max_seq_length, settings.add_eos)
    data = Dataset.from_list(prepared.rows)
    with tempfile.TemporaryDirectory() as scratch, quiet(), too_little_memory(settings):
        recompute = getattr(model, "is_gradient_checkpointing", False)
        config = sft_config(settings, checkpoints or scratch, checkpoints is not None, recompute)
        more = {"processing_class": tokenizer, "callbacks": list(callbacks)}
        trainer = SFTTrainer(model=model, args=config, train_dataset=data, **more)
        return run_trainer(trainer, prepared, on_step, should_stop, checkpoints, save_to)


def run_trainer(trainer, prepared: Prepared, on_step, should_stop, checkpoints, save_to: Path | None = None) -> Trained:
    """Run a TRL trainer whose rows are `prepared`, from the last checkpoint where there is one."""
    on_cpu = Runtime.here(show=False).device == "cpu"
    if on_cpu:
        # TRL keeps the adapter of a 4-bit base in bfloat16; without hardware for it that is slow and loses small steps
        for parameter in trainer.model.parameters():
            if parameter.requires_grad and parameter.dtype == torch.bfloat16:
                parameter.data = parameter.data.float()
    watch = _Watch(on_step, should_stop)
    trainer.add_callback(watch)
    with compat.trl_without_triton() if on_cpu else contextlib.nullcontext():
        seconds, begun = run_from_last(trainer, checkpoints, save_to)
    history = [row for row in trainer.state.log_history if "loss" in row]
    tokens = round(prepared.tokens * ((trainer.state.epoch or 0) - watch.first_epoch))
    return Trained(history, seconds, trainer.state.global_step, tokens, prepared, watch.stopped, watch.skipped, begun)


class _Watch(TrainerCallback):
    """After each step: tells `on_step` what the trainer logged, then asks `should_stop`; counts skipped steps."""

    def __init__(self, on_step: OnStep | None, should_stop: Callable[[], bool] | None):
        self.on_step, self.should_stop = on_step, should_stop
        self.first_epoch, self.stopped, self.skipped = 0.0, False, 0

    def on_train_begin(self, args, state, control, **more):
        self.first_epoch = state.epoch or 0.0  # not zero in a run that goes on from a checkpoint

    def on_optimizer_step(self, args, state, control, optimizer=None, **more):
        # the trainer counts such a step all the same
        self.skipped += bool(getattr(optimizer, "step_was_skipped", False))

    def on_log(self, args, state, control, logs=None, **more):
        if "loss" not in (logs or {}):
            return
        if self.on_step:
            self.on_step(state.global_step, state.max_steps, logs["loss"])
        if self.should_stop and self.should_stop():
            control.should_training_stop = self.stopped = True


def too_little_memory(settings: TrainSettings) -> contextlib.AbstractContextManager[None]:
    """`memory_errors` of a training: half the rows at a time, or shorter ones where it is one already."""
    remedy = f"Use max_seq_length={settings.max_seq_length // 2}, ou gradient_checkpointing=True ao carregar."
    if settings.batch_size > 1:
        half = settings.batch_size // 2
        accumulation = settings.accumulation * settings.batch_size // half
        remedy = f"Use batch_size={half} e accumulation={accumulation}: o passo é o mesmo."
    return memory_errors("faltou memória para treinar com estes argumentos.", remedy, where="train")


@dataclass(frozen=True)
class Forecast:
    """What a whole run should take, from a few steps of it. `cost` is in the currency of the price given."""

    steps: int
    seconds: float
    peak_mb: float
    cost: float

    def __str__(self) -> str:
        minutes, cost = ptbr.decimal(self.seconds / 60, 1), ptbr.decimal(self.cost)
        return f"{self.steps} passos, {minutes} min, {self.peak_mb:.0f} MB de memória, custo {cost}"


def forecast(
    model, tokenizer, rows: Sequence[Row], settings: TrainSettings, price_per_hour: float = 0.0, steps: int = 3
) -> Forecast:
    """Time a few steps of this very run, put the weights back, and multiply. The first step, which warms up, is not counted.

    The steps are taken evenly from the shortest rows to the longest where the run groups rows by length, else as they come.
    """
    prepared = prepare(rows, tokenizer, settings.max_seq_length, settings.add_eos)
    size = settings.batch_size * settings.accumulation
    order = list(range(len(rows)))
    if settings.sampling == "group_by_length":
        order.sort(key=lambda i: sum(map(len, (rows[i].get(name, "") for name in ("prompt", "completion", "text")))))
    room = max(0, len(order) - size)
    starts = [room // 2, *(round(room * (k + 0.5) / steps) for k in range(steps))]
    few = [rows[i] for start in starts for i in order[start : start + size]]
    learned = [(parameter, parameter.detach().clone()) for parameter in model.parameters() if parameter.requires_grad]
    marks = []
    try:
        short = replace(settings, max_steps=steps + 1, sampling="sequential")
        train(model, tokenizer, few, short, on_step=lambda *_: marks.append(time.perf_counter()))
    finally:
        for parameter, before in learned:
            parameter.data.copy_(before)
    units = -(-prepared.tokens // settings.max_seq_length) if settings.packing else len(prepared.rows)
    whole = settings.max_steps if settings.max_steps > 0 else round(-(-units // size) * settings.epochs)
    seconds = whole * (marks[-1] - marks[0]) / (len(marks) - 1)
    return Forecast(whole, seconds, peak_memory_mb(), seconds / 3600 * price_per_hour)
