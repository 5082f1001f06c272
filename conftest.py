"""The two lanes of nbval and the network guard, for every pytest run over this repository.

The everyday lane is `--nbval-lax`: every cell runs, and cells marked `# NBVAL_CHECK_OUTPUT` must print what is committed.
`--nbval` compares everything and holds only in the pinned environment on the machine that made the outputs.

nbval's own defaults give wrong verdicts: another environment's kernel, 2000 s for a cell that hangs, and under xdist one
notebook's cells spread over two kernels. They are set right here, so that a plain `pytest --nbval-lax notebooks` is enough.

A task that a student handed in is run as the grader runs it: check cells come from the task's source, whatever was done to them.
"""

import contextlib
import json
import os
from collections import Counter
from unittest.mock import patch

import nbformat
import pytest
from nbval.plugin import IPyNbFile

from afina.runtime import arm_network_guard
from workshop.notebooks import CELL_TIMEOUT, lesson_environment, read_measured
from workshop.tasks import NOT_PRINTED, assemble, came_to_its_end, tasks

NBVAL_DEFAULT_TIMEOUT = 2000
LONG = 60  # seconds; a run above it says which files took them


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
        options.loadscopereorder = False  # files go out as `pytest_collection_modifyitems` leaves them
        os.environ["OMP_NUM_THREADS"] = "1"  # several processes share the cores


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several processes: long lessons first and short ones last, so that no process is left alone with a long one.

    The tests' own files go between, the fullest first.
    """
    if not hasattr(config, "workerinput"):
        return
    measured = read_measured(config.rootpath)
    full = Counter(item.path for item in items)
    items.sort(key=lambda item: (-measured.get(item.path.stem, {"seconds": 30})["seconds"], -full[item.path]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where the time of a long run went, a line a file: setup, tests and teardown, whichever process had them."""
    seconds = Counter()
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.split("::")[0]] += report.duration
    if (total := sum(seconds.values())) > LONG:
        terminalreporter.section("seconds of each file", "=")
        for file, taken in seconds.most_common(25):
            terminalreporter.write_line(f"{taken:6.0f}  {taken / total:4.0%}  {file}")


class TaskFile(IPyNbFile):
    """A graded task: its answers in the official notebook."""

    def collect(self):
        submission = nbformat.read(str(self.path), as_version=4)
        book, _ = assemble(tasks(wanted=[submission.metadata.afina.task])[0], submission)
        with patch("nbval.plugin.nbformat.read", lambda *_, **__: book):
            return list(super().collect())


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    found = yield
    if any(isinstance(one, IPyNbFile) for one in found):
        with contextlib.suppress(
            ValueError, KeyError, TypeError
        ):  # not a notebook, or not of a task: nbval's own business
            if json.loads(file_path.read_text(encoding="utf-8"))["metadata"]["afina"]["task"]:
                return [TaskFile.from_parent(parent, path=file_path)]
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    result = yield
    if isinstance(item.parent, TaskFile):
        printed = "".join(
            output.get("text", "") for output in item.test_outputs or [] if output.get("name") == "stdout"
        )
        if not came_to_its_end(item.cell, printed):
            item.raise_cell_error(NOT_PRINTED)
    return result
