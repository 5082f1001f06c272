"""The training libraries without their chatter: nothing on either stream, and what they would have said as text."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import transformers

from afina import compat


@contextlib.contextmanager
def captured_log() -> Iterator[io.StringIO]:
    """What transformers would write to stderr, as text: `with captured_log() as said: …; said.getvalue()`."""
    logger, said = logging.getLogger("transformers"), io.StringIO()
    before, logger.handlers = logger.handlers, [logging.StreamHandler(said)]
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        with compat.no_kernel_warning():
            yield said
    finally:
        logger.handlers = before
        if bars:
            transformers.utils.logging.enable_progress_bar()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No chatter of the training libraries: bars off, and only errors logged."""
    import datasets

    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with captured_log(), compat.only_errors("trl", "peft", "accelerate", "datasets"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if not bars:
            datasets.enable_progress_bars()
