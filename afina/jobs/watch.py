"""Watching a job wherever it runs: looks that grow seldom, a live table, a deadline that stops what nobody watches."""

import html
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from afina.errors import CourseError
from afina.jobs import ledger


class JobEnded(CourseError):
    """The job gave no model. `status`: failed, cancelled, paused, deadline; `job` is the service's last answer."""

    def __init__(self, status: str, problem: str, remedy: str, where: str, job: Any = None):
        super().__init__(problem, remedy, where)
        self.status, self.job = status, job

    def __reduce__(self):
        return type(self), (self.status, self.problem, self.remedy, self.where)


class Hiccup(Exception):
    """One look at the job failed in a way that another may not: the network, a busy service."""


@dataclass
class View:
    """What one look tells: the service's answer, and what to show of it. `end` is the error of a job that gave no model."""

    answer: Any
    status: str
    done: bool = False
    end: JobEnded | None = None
    rows: list[tuple[str, str]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def follow(
    id: str, name: str, place: tuple[str, str], look: Callable[[], View], stop: Callable[[], object],
    made: Callable[[Any], list[tuple[str, str, str]]], deadline: float, show: bool,
) -> Any:  # fmt: skip
    """`wait` for the job `id`, and keep the ledger: what it `made`, (kind, name, id) each, is noted and the job forgotten.

    `place` is (provider, address). What `stop` raises is told, and the deadline stays the error.
    """
    provider, endpoint = place

    def tell_to_stop() -> str:
        try:
            stop()
        except Exception as error:  # it may just have ended, or the network is down
            return f"pedi que parasse, e o serviço não aceitou ({getattr(error, 'message', error)})"
        return "pedi ao serviço que o pare"

    try:
        done = wait(look, name, deadline, tell_to_stop, provider == "local", show)
    except JobEnded as error:
        if error.status in ("failed", "cancelled"):  # nothing of it is left at the service but files
            ledger.forget_id(endpoint, id)
        raise
    known = {entry.id for entry in ledger.entries(endpoint)}
    for kind, title, its_id in made(done):
        if its_id not in known:
            ledger.note(kind, title, provider, endpoint, id=its_id)
    ledger.forget_id(endpoint, id)
    return done


def wait(look: Callable[[], View], name: str, deadline: float, stop: Callable[[], str], local: bool, show: bool) -> Any:
    """Look again and again, ever more seldom, until the job is done (its answer is returned) or `deadline` seconds passed.

    JobEnded: it gave no model, or the deadline came, and then `stop()` was called, which says what came of it: what nobody
    watches must not go on costing. The live table is silent where AFINA_PROGRESS=0.
    """
    pause, longest = (0.2, 1.0) if local else (5.0, 60.0)
    board = _Board(name, show and os.environ.get("AFINA_PROGRESS") != "0")
    start = time.monotonic()
    while True:
        try:
            view = look()
            board.draw(view, time.monotonic() - start)
            if view.end is not None:
                raise view.end
            if view.done:
                return view.answer
        except Hiccup as error:
            view = View(None, f"sem resposta ({error})")
        spent = time.monotonic() - start
        if spent >= deadline:
            problem = f"o prazo de {deadline:g} s acabou com o job em {view.status}; {stop()}."
            remedy = "Serviços têm filas: dê um prazo maior em deadline=, ou tente em outra hora."
            raise JobEnded("deadline", problem, remedy, name, view.answer)
        time.sleep(max(0.0, min(pause, deadline - spent)))
        pause = min(pause * 1.5, longest)


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int = 40) -> str:
    """The values as a row of little bars, from their least to their greatest; at most `width`, evenly taken."""
    if not values:
        return ""
    if len(values) > width:
        values = [values[i * (len(values) - 1) // (width - 1)] for i in range(width)]
    low, high = min(values), max(values)
    return "".join(_BARS[round((v - low) / (high - low) * 7)] if high > low else _BARS[0] for v in values)


class _Board:
    """The table that a person watches: redrawn in place in a notebook, a line a change in a terminal."""

    def __init__(self, name: str, live: bool):
        self.name, self.live = name, live
        self.last: list[tuple[str, str]] = []

    def draw(self, view: View, seconds: float) -> None:
        if not self.live:
            return
        rows = [("job", self.name), ("estado", view.status), *view.rows]
        if view.losses:
            rows.append(("perda", f"{sparkline(view.losses)} {view.losses[-1]:.3f}"))
        shell = sys.modules.get("IPython")
        if shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None:  # a notebook
            from IPython.display import HTML, display

            timed = [*rows, ("tempo", f"{seconds:.0f} s")]
            cells = [f"<tr><th>{html.escape(a)}</th><td><code>{html.escape(b)}</code></td></tr>" for a, b in timed]
            page = HTML(f"<table>{''.join(cells)}</table>")
            display(page, display_id=f"job-{id(self)}", update=bool(self.last))
        elif rows != self.last:
            print(" · ".join(value for _, value in rows), flush=True)
        self.last = rows
