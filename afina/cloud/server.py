"""The serving process of the twins: `python -m afina.cloud.server`, started by `local_cloud`, ended with its parent.

It listens on 127.0.0.1 only, wants its random keys on every request, and marks every answer with `x-afina-local`. A
supervisor thread checks the data of new jobs and keeps the training process going. No torch before the first chat.
"""

import json
import os
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from afina.child import listening, options, refusing, tell, wait_for_parent
from afina.cloud.chat import Speaker
from afina.cloud.intake import BUSY, check_job, fail
from afina.cloud.openai import OpenAI
from afina.cloud.store import Store, now
from afina.errors import CourseError
from afina.whole import discard

WORKER_STARTS = 3  # a job whose worker dies this often is failed


class Twin:
    """What one running pair of twins shares: the store, the speaker, the keys, the switches."""

    def __init__(self, folder: Path, base: Path, training_available: bool = True):
        self.folder, self.base, self.training_available = folder, base, training_available
        self.store = Store(folder)
        self.speaker = Speaker(base)
        self.openai_key = "sk-local-" + secrets.token_urlsafe(32)
        self.aws_key, self.aws_secret = "LOCAL" + secrets.token_hex(16).upper(), secrets.token_urlsafe(40)
        self.openai = OpenAI(self)
        self._work = threading.Event()
        self.wake = self._work.set  # a job is new or has changed: let the supervisor look
        self._worker: subprocess.Popen | None = None
        self._aws, self._aws_lock = None, threading.Lock()

    @property
    def aws(self):
        """The AWS side; made once, whether a request or the supervisor asks first."""
        with self._aws_lock:
            if self._aws is None:
                from afina.cloud.aws import Aws  # with moto: loaded by the first AWS request

                self._aws = Aws(self)
            return self._aws

    def __call__(self, environ, start_response):
        def marked(status, headers, exc_info=None):
            return start_response(status, [*headers, ("x-afina-local", "true")], exc_info)

        try:
            side = self.openai if environ["PATH_INFO"].startswith("/v1/") else self.aws
            return side(environ, marked)
        except Exception:
            traceback.print_exc()  # to the twin's log
            marked("500 Internal Server Error", [("Content-Type", "application/json")])
            return [b'{"error": {"message": "The local twin broke: see twin.log.", "type": "server_error"}}']

    def supervise(self) -> None:
        """Forever: check new jobs, keep the worker alive while there is work, deliver what it finished."""
        while True:
            busy = self._look()
            self._work.wait(0.1 if busy else None)
            self._work.clear()

    def _look(self) -> bool:
        for job in self._busy():
            try:
                if job["status"] == "validating_files":
                    check_job(self, job)
                elif job["status"] == "delivering":
                    self.aws.deliver(job)
                elif job["status"] == "stopping":
                    with self.store.edit("job", job["id"]) as found:
                        found.update(status="cancelled", finished_at=now())
            except Exception as error:
                traceback.print_exc()
                fail(self.store, job["id"], "server_error", f"The local twin broke on this job: {error}")
        jobs = self._busy()
        if any(job["status"] in ("queued", "running") for job in jobs):
            self._keep_worker(jobs)
        return bool(jobs)

    def _busy(self) -> list[dict]:
        return [job for job in self.store.all("job") if job["status"] in BUSY]

    def _keep_worker(self, jobs: list[dict]) -> None:
        if self._worker is not None and self._worker.poll() is None:
            return
        for job in jobs:
            if job["status"] == "running" and job.get("starts", 0) >= WORKER_STARTS:
                message = "The training process of the local twin died three times on this job: see worker.log."
                fail(self.store, job["id"], "server_error", message)
        with (self.folder / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(
                [sys.executable, "-m", "afina.cloud.train", json.dumps({"folder": str(self.folder), "base": str(self.base)})],
                stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip

    def close(self) -> None:
        """End the worker and let go of the files."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
        self.store.close()

    def environment(self, url: str) -> dict[str, str]:
        """What a client needs to speak to this twin instead of the services."""
        return {
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": self.openai_key,
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": self.aws_key,
            "AWS_SECRET_ACCESS_KEY": self.aws_secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


class _Handler(WSGIRequestHandler):
    disable_nagle_algorithm = True  # head and body leave in two writes: waiting for an ACK would cost 40 ms

    def log(self, type: str, message: str, *args) -> None:
        """No access log: an address may hold what its sender would rather not keep."""


class _Server(ThreadedWSGIServer):
    request_queue_size = 1024  # a class of students that presses Enter at the same moment
    daemon_threads = True


def main() -> int:
    given, out = options(), sys.stdout
    with refusing(out):
        door = listening("127.0.0.1", given["port"])
        folder = Path(given["folder"] or tempfile.mkdtemp(prefix="afina-cloud-"))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            log = (folder / "twin.log").open("a", encoding="utf-8")
            # held as long as this process lives: the system lets go however it ends
            lock = sqlite3.connect(folder / "lock.sqlite", timeout=2, isolation_level=None)
            lock.execute("BEGIN EXCLUSIVE")
        except (OSError, sqlite3.Error) as error:
            busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            reason = getattr(error, "strerror", None) or error
            problem = "outro gêmeo está usando esta pasta." if busy else f"não consigo escrever nesta pasta ({reason})."
            remedy = f"{'Feche o outro (afina cloud ou notebook), ou use' if busy else 'Use'} outra pasta."
            raise CourseError(problem, remedy, folder) from error
        os.environ["AFINA_PROFILE"] = "cpu"  # a model this small gains nothing from a GPU
        sys.stdout = sys.stderr = log
        twin = Twin(folder, Path(given["base"]), not given["training_not_available"])
        door.listen(_Server.request_queue_size)
        server = _Server("127.0.0.1", given["port"], twin, handler=_Handler, fd=door.fileno())
        threading.Thread(target=twin.supervise, daemon=True, name="supervisor").start()
        threading.Thread(target=server.serve_forever, daemon=True, name="server").start()
        tell(twin.environment(f"http://127.0.0.1:{server.port}"), out)
    wait_for_parent()
    twin.close()
    lock.close()
    sys.stdout = sys.stderr = out  # Windows removes no file that is open
    log.close()
    if given["folder"] is None:
        discard(folder)
    os._exit(0)  # without waiting for answers that nobody will read


if __name__ == "__main__":
    raise SystemExit(main())
