"""What the libraries would say is kept, and everything is as before afterwards."""

import logging
import subprocess
import sys

import datasets
import pytest
import transformers

from afina.tune.quiet import captured_log, quiet


def test_what_transformers_says_is_text(capfd):
    logger = logging.getLogger("transformers.anything")
    with captured_log() as said:
        logger.warning("psst")
    assert said.getvalue() == "psst\n" and "psst" not in capfd.readouterr().err


@pytest.mark.parametrize("bars", [True, False])
def test_levels_handlers_and_bars_come_back(bars):
    names = ("trl", "peft", "accelerate", "datasets", "bitsandbytes.backends.cpu.ops")
    handlers = list(logging.getLogger("transformers").handlers)
    levels = [logging.getLogger(name).level for name in names]
    switch = transformers.utils.logging
    before = switch.is_progress_bar_enabled()
    (switch.enable_progress_bar if bars else switch.disable_progress_bar)()
    with pytest.raises(KeyError), quiet():
        assert all(logging.getLogger(name).level == logging.ERROR for name in names)
        assert datasets.are_progress_bars_disabled() and not switch.is_progress_bar_enabled()
        raise KeyError
    assert [logging.getLogger(name).level for name in names] == levels
    assert logging.getLogger("transformers").handlers == handlers and switch.is_progress_bar_enabled() is bars
    (switch.enable_progress_bar if before else switch.disable_progress_bar)()


def test_no_module_says_or_changes_anything_when_it_is_imported():
    script = """
import gc, importlib, logging, pathlib, sys
import afina.tune
for path in sorted(pathlib.Path(afina.tune.__path__[0]).glob("*.py")):
    importlib.import_module(f"afina.tune.{path.stem}")
assert gc.get_freeze_count() == 0
assert logging.getLogger("bitsandbytes.backends.cpu.ops").level == 0
assert "_plain_log_probs" not in str(vars(sys.modules["trl.trainer.utils"]) if "trl.trainer.utils" in sys.modules else "")
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
