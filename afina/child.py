"""A child process that ends with its parent: how the course starts its servers.

    with Child("afina.serve.server", {"port": 0}) as child:     # python -m afina.serve.server '{"port": 0}'
        child.told                                              # the first thing the child said, a dictionary

The child reads `options()`, starts inside `refusing(…)`, answers once with `tell(…)` when it is ready, and lives until
`wait_for_parent()` returns: the parent closed the pipe, or died.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Self

from afina.errors import CourseError, require

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
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
        try:
            self.told = self._answer()
            if "error" in self.told:
                raise CourseError(*self.told["error"])
            if not self.told:
                remedy = "Confira a instalação com `afina doctor`."
                raise CourseError(f"{what} {failed} ({self.ending()}).", remedy, where)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _answer(self) -> dict:
        """The first JSON object of its output, after whatever its libraries print; {}: there came none."""
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                if isinstance(found := json.loads(line), dict):
                    return found
        return {}

    def ending(self) -> str:
        """The exit code and the last words of a child that has ended; one that has only closed its output is killed."""
        assert self.process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE)
        self.process.kill()
        code = self.process.wait()
        said = self.log().strip().splitlines()
        return f"código {code}: {said[-1]}" if said else f"código {code}, sem explicação"

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


@contextlib.contextmanager
def refusing(out: IO[str] | None = None) -> Iterator[None]:
    """Around the child's whole start: the parent raises a CourseError as its own, hears of others, and all threads end."""
    try:
        yield
    except BaseException as error:
        traceback.print_exc(file=sys.__stderr__)  # the parent's log, wherever sys.stderr now leads
        if isinstance(error, CourseError):
            tell({"error": [error.problem, error.remedy, error.where]}, out)
        os._exit(1)


def listening(host: str, port: int) -> socket.socket:
    """A socket of this address. CourseError: no such port, the port is taken, or the address is not ours."""
    require(0 <= port <= 65535, f"não há porta {port}.", "Use --port de 0 a 65535; 0 escolhe uma livre.", host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with the protocol named, asyncio sends without waiting for more (TCP_NODELAY): else each answer may wait 40 ms
    door = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name != "nt":
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
    except OSError as error:
        door.close()
        remedy = "Use outra com --port, ou feche o programa que a ocupa."
        raise CourseError(f"não consegui abrir a porta {port} ({error.strerror or error}).", remedy, host) from error
    return door


def wait_for_parent() -> None:
    """Return when the parent has closed its end, or has died."""
    sys.stdin.buffer.read()


def alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine, whoever owns it."""
    import psutil  # only where something was left behind: it takes longer to load than this file

    return pid > 0 and psutil.pid_exists(pid)
