"""Tuning by preferences: of two answers to one request, the better and the worse.

Source: Rafailov et al. (2023), "Direct Preference Optimization", arXiv 2305.18290.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from afina.errors import require
from afina.tune.quiet import quiet
from afina.tune.rows import Row, check_columns, prepare
from afina.tune.sft import OnStep, Trained, TrainSettings, run_trainer, too_little_memory, trainer_arguments


def train_dpo(
    model,
    tokenizer,
    rows: Sequence[Row],
    settings: TrainSettings,
    beta: float = 0.1,
    on_step: OnStep | None = None,
    should_stop: Callable[[], bool] | None = None,
    checkpoints: str | Path | None = None,
) -> Trained:
    """Tune a model with an adapter on preferences, {"prompt", "chosen", "rejected"}, with TRL's DPOTrainer; the rest as `train`.

    The reference is the adapter as it came. `beta` is how dearly leaving it costs. History rows bring rewards/accuracies
    and rewards/margins too. Answers get the end token where they lack it.
    """
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    problem = "o ajuste por preferências precisa de um adaptador: a referência é o modelo sem o que ele aprender agora."
    require(hasattr(model, "peft_config"), problem, "Carregue o modelo com lora=LoraSettings().", where="train_dpo")
    names = ("prompt", "chosen", "rejected")
    check_columns(rows, names)
    chosen, rejected = ([{"prompt": row["prompt"], "completion": row[name]} for row in rows] for name in names[1:])
    prepared = prepare(chosen, tokenizer, settings.max_seq_length)
    other = prepare(rejected, tokenizer, settings.max_seq_length)
    prepared = replace(prepared, cut=prepared.cut + other.cut, dropped=prepared.dropped + other.dropped)
    data = Dataset.from_list([{name: row[name] for name in names} for row in rows])
    with tempfile.TemporaryDirectory() as scratch, quiet(), too_little_memory(settings):
        shuffled, recompute = replace(settings, sampling="random"), getattr(model, "is_gradient_checkpointing", False)
        arguments = trainer_arguments(shuffled, checkpoints or scratch, checkpoints is not None, recompute)
        config = DPOConfig(**arguments, beta=beta)
        trainer = DPOTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
        try:
            return run_trainer(trainer, prepared, on_step, should_stop, checkpoints)
        finally:
            if "ref" in getattr(model, "peft_config", {}):
                model.delete_adapter("ref")  # TRL's frozen copy: a second run makes its own
