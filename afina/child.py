"""A child process that ends with its parent: how the course starts its servers.

    with Child("afina.serve.server", {"port": 0}) as child:     # python -m afina.serve.server '{"port": 0}'
        child.told                                              # the first thing the child said, a dictionary

The child reads `options()`, answers once with `tell(…)` when it is ready, or with `refuse(error)`, and lives until
`wait_for_parent()` returns: the parent closed the pipe, or died.
"""

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

from afina.errors import CourseError

PATIENCE = 10  # seconds that a child has to end by itself


class Child:
    """A running `python -m MODULE`. `close()`, or the end of its `with` block or of this process, ends it.

    `what` names it in errors ("o servidor"), `failed` is their verb. CourseError: what the child refused with, or that it
    died, with its last words.
    """

    def __init__(
        self, module: str, options: Mapping[str, object], what: str, where: str | Path = "", failed: str = "não subiu"
    ):
        self._log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process: subprocess.Popen[str] | None = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(options, default=str)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, encoding="utf-8",
        )  # fmt: skip
        try:
            assert self.process.stdout is not None
            self.told: dict = json.loads(self.process.stdout.readline() or "{}")
            if "error" in self.told:
                raise CourseError(*self.told["error"])
            if not self.told:
                code, said = self.process.wait(PATIENCE), self.log().strip().splitlines()
                reason = said[-1] if said else f"código {code}, sem explicação"
                raise CourseError(f"{what} {failed} ({reason}).", "Confira a instalação com `afina doctor`.", where)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def log(self) -> str:
        """What the child wrote to its standard error."""
        self._log.seek(0)
        return self._log.read()

    def close(self) -> None:
        """End the child; a second call does nothing."""
        if self.process is None:
            return
        process, self.process = self.process, None
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(PATIENCE)
        except BaseException as error:  # also Ctrl+C while we wait: nothing may outlive us
            process.kill()
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
        finally:
            process.stdout.close()
            self._log.close()


def options() -> dict:
    """What the parent asked for. From here on Ctrl+C in a notebook or a terminal is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return json.loads(sys.argv[1])


def tell(answer: Mapping[str, object], out: IO[str] | None = None) -> None:
    """The one answer that the parent waits for."""
    print(json.dumps(answer), file=out or sys.stdout, flush=True)


def refuse(error: CourseError, out: IO[str] | None = None) -> None:
    """Answer with an error that the parent raises as its own."""
    tell({"error": [error.problem, error.remedy, error.where]}, out)


def wait_for_parent() -> None:
    """Return when the parent has closed its end, or has died."""
    sys.stdin.buffer.read()


def alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine, whoever owns it."""
    import psutil  # only where something was left behind: it takes longer to load than this file

    return pid > 0 and psutil.pid_exists(pid)
