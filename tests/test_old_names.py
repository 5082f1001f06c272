"""For one release, every import that a student may have copied from a lesson of 0.1 still works."""

import importlib
import re

import pytest

from afina.runtime import course_root

LINES = (course_root() / "tests" / "release_0_1.txt").read_text(encoding="utf-8").splitlines()[1:]
# Lessons 13 started it as a process, which is now `afina bert-steps`.
GONE = {"afina.tune.bert": {"main"}}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.partition(":")[0])
def test_an_old_import_still_works(line):
    module, _, names = line.partition(":")
    found = importlib.import_module(module)
    for name in set(re.findall(r"\w+", names)) - GONE.get(module, set()):
        if not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")
