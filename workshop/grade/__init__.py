"""Grade submissions of the course's tasks: each in its own room, hidden cases judged here, outside the student's kernel.

    afina grade SUBMISSIONS --out FOLDER       (make grade SUBMISSIONS=… OUT=…)

SUBMISSIONS is a folder of notebooks, `ana.ipynb` or `ana/t01.ipynb`. FOLDER receives `notas.csv` (one row a submission, one column a
criterion), `junit.xml`, `index.html` (the class) and `alunos/*.html` (one page a student).

How a submission runs: `workshop.tasks.assemble` puts its answers into the official notebook; a `kernel` runs it in a `room`, which
`sandbox` closes, with limits on time, memory, output, files and processes. A cell that hangs or kills the kernel is left out and the
rest runs again, so it costs only its own points. Then the hidden inputs of `key.py` go in, what comes out is compared here, outside
(`marks`), and written down (`report`).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "__main__": ("main",),
    "kernel": ("Kernel",),
    "marks": ("grade_folder", "grade_notebook"),
    "report": ("write_reports",),
    "room": ("Isolation", "Room", "isolation"),
}


def __getattr__(name: str) -> Any:
    """`from workshop.grade import grade_folder` and its like, each from its file.

    Only when asked for: `sandbox` is also imported by a process that must not have begun a thread, and NumPy begins some.
    """
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
