"""Every patched or private piece of a library, in one place; each has a test that fails when it is no longer needed.

Imports of the libraries stand inside the functions: whoever needs one piece does not load the others.
"""

import contextlib
import gc
import logging
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from unittest import mock


def new_boto_session() -> None:
    """boto3.client() keeps the credentials it read first, in a session it shares: have it read the variables again."""
    boto3: Any = sys.modules.get("boto3")
    if boto3 is not None:
        boto3.DEFAULT_SESSION = None


def moto_roles(account: str) -> Iterable:
    """moto's IAM roles with all their policies: it simulates no policy, and its answers give one policy a request."""
    from moto.iam.models import iam_backends

    return iam_backends[account]["aws"].roles.values()


@contextlib.contextmanager
def only_errors(*names: str) -> Iterator[None]:
    """Loggers of these names pass on errors alone."""
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def no_kernel_warning() -> contextlib.AbstractContextManager[None]:
    """bitsandbytes, which transformers' Trainer loads, warns on every CPU that an optional compiled kernel is absent."""
    return only_errors("bitsandbytes.backends.cpu.ops")


@contextlib.contextmanager
def libraries_are_no_garbage() -> Iterator[None]:
    """Trainer collects garbage whenever it starts, and would walk half a million objects of the libraries: 0.3 s each time.

    What lives at the start of the block is set apart until its end, or for good where the process had done so.
    """
    ours = gc.get_freeze_count() == 0
    gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()


def _plain_log_probs(hidden, weight, bias, targets, temperature, chunk_size, softcap, scale, outputs):
    """The head's log-probabilities in plain torch: (log_probs, entropy, None, mean_logits, is_top1) of n tokens."""
    import torch

    logits = torch.nn.functional.linear(hidden, weight, bias).float() * scale
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    logits = logits / temperature
    every = logits.log_softmax(-1)
    seen = every.detach()
    entropy = -(seen.exp() * seen).sum(-1) if "entropy" in outputs else None
    top = seen.argmax(-1) == targets if "is_top1" in outputs else None
    mean = logits.detach().mean(-1) if "mean_logits" in outputs else None
    return every.gather(-1, targets[:, None])[:, 0], entropy, None, mean, top


def trl_without_triton() -> contextlib.AbstractContextManager[object]:
    """TRL 1.15 has its loss in a Triton kernel alone, and trains on CUDA alone; here it is the same formula in plain torch."""
    return mock.patch("trl.trainer.utils._ChunkedLogProbFunction", types.SimpleNamespace(apply=_plain_log_probs))


def keep_4bit_weights(model: Any) -> None:
    """On some processors bitsandbytes would repack the weights when the model first writes, and compute in bfloat16: another model."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def wrap_by_fsdp(model: Any, classes: Sequence[str]) -> None:
    """Name the layers that FSDP shards one by one: Accelerate reads them from transformers' private attribute."""
    model._no_split_modules = list(classes)


def gguf_without_bar() -> contextlib.AbstractContextManager[object]:
    """transformers reads GGUF under a progress bar that knows no switch."""
    return mock.patch("transformers.modeling_gguf_pytorch_utils.tqdm", lambda items, **_: items)
