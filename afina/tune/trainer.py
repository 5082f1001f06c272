"""Any Trainer, of transformers or of TRL, run the course's way: on this machine's device, quiet, from the last checkpoint."""

import time
from pathlib import Path

from afina import compat
from afina.runtime import Runtime

with compat.no_kernel_warning():
    from transformers import PrinterCallback
    from transformers.trainer_utils import get_last_checkpoint


def machine_arguments() -> dict:
    """What every run gives to TrainingArguments: this machine's device and precision, and no reports or bars."""
    runtime = Runtime.here(show=False)
    return {
        "bf16": runtime.precision == "bf16",
        "fp16": runtime.precision == "fp16",
        "use_cpu": runtime.device == "cpu",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "ddp_find_unused_parameters": False,
    }


def run_from_last(trainer, checkpoints: str | Path | None, save_to: Path | None) -> tuple[float, int]:
    """Train, from the last checkpoint of that folder where it has one: (seconds, steps that an earlier run had done).

    `save_to` gets the model and the trainer's tokenizer, from all processes where several were launched.
    """
    trainer.remove_callback(PrinterCallback)
    last = get_last_checkpoint(str(checkpoints)) if checkpoints and Path(checkpoints).is_dir() else None
    start = time.perf_counter()
    with compat.libraries_are_no_garbage():
        trainer.train(resume_from_checkpoint=last)
    seconds = time.perf_counter() - start
    if save_to:
        trainer.save_model(str(save_to))
        (save_to / "training_args.bin").unlink(missing_ok=True)  # a pickle that says nothing of the model
    return seconds, int(last.rpartition("-")[2]) if last else 0
