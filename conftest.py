"""The two lanes of nbval and the network guard, for every pytest run over this repository.

The everyday lane is `--nbval-lax`: every cell runs, and cells marked `# NBVAL_CHECK_OUTPUT` must print what is committed.
`--nbval` compares everything and holds only in the pinned environment on the machine that made the outputs.

nbval's own defaults give wrong verdicts: another environment's kernel, 2000 s for a cell that hangs, and under xdist one
notebook's cells spread over two kernels. They are set right here, so that a plain `pytest --nbval-lax notebooks` is enough.
"""

import os

import pytest

from afina.runtime import arm_network_guard
from afina.teach.notebooks import CELL_TIMEOUT, lesson_environment

NBVAL_DEFAULT_TIMEOUT = 2000


def pytest_configure(config: pytest.Config) -> None:
    os.environ.update(lesson_environment())  # kernels inherit it
    arm_network_guard()
    options = config.option
    if getattr(options, "nbval_lax", False) or getattr(options, "nbval", False):
        options.nbval_current_env = True
        if options.nbval_cell_timeout == NBVAL_DEFAULT_TIMEOUT:
            options.nbval_cell_timeout = CELL_TIMEOUT
    if getattr(options, "numprocesses", None):
        options.dist = "loadfile"
