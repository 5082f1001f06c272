"""A job before it trains: its files are copied to the job's own folder and checked, by the rules of `afina.jsonl`.

Bad data is no HTTP error: the service accepts the job and fails it a little later, and so do the twins.
"""

import contextlib
import csv
import io
import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from afina import whole
from afina.cloud.store import Store, new_id, now
from afina.errors import CourseError
from afina.jsonl import validate
from afina.prices import find_model

UPLOAD_LIMIT = 100 << 20  # bytes; the services take more, a laptop's twin has no use for it
BODY_LIMIT = 4 << 20  # bytes of JSON
BUSY = ("validating_files", "queued", "running", "delivering", "stopping")
WHY = tomllib.loads(Path(__file__).with_name("problems.toml").read_text(encoding="utf-8"))


def parse_json(data: bytes, refusal: Exception) -> dict:
    """The JSON object of a request's body; `refusal`: anything else, NaN, Infinity, half a surrogate, a nest too deep."""
    try:
        body = json.loads(data.decode("utf-8"))
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise refusal from error
    if not isinstance(body, dict):
        raise refusal
    return body


def job_folder(store: Store, job_id: str) -> Path:
    folder = store.folder / "jobs" / job_id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def job_event(store: Store, job_id: str, message: str, level: str = "info", data: dict | None = None) -> None:
    id, kind = new_id("ftevent-"), "metrics" if data else "message"
    event = {"id": id, "object": "fine_tuning.job.event", "created_at": now(), "level": level, "message": message}
    store.add("event", id, event | {"type": kind, "data": data or {}}, parent=job_id)


def add_file(store: Store, name: str, purpose: str, content: bytes, **more) -> dict:
    """Keep a file of the OpenAI side. Its id is ours: nothing of its name reaches the disk."""
    file: dict = {"id": new_id("file-"), "object": "file", "bytes": len(content), "created_at": now(), "filename": name}
    with whole.new_path(store.folder / "files" / file["id"]) as aside:
        aside.write_bytes(content)
    return store.add("file", file["id"], file | {"purpose": purpose, "status": "processed"} | more)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def forget_model(store: Store, name: str) -> None:
    """Delete a tuned model, and the adapters that no other model and no job to come stands on."""
    model = store.get("model", name)
    if model is None:  # its owner was quicker
        return
    store.delete("model", name)
    standing = [other for kind in ("model", "custom_model") for other in store.all(kind)]
    standing += [job for job in store.all("job") if job["status"] in (*BUSY, "paused")]
    for folder in model["layers"]:
        if not any(folder in other["layers"] for other in standing):
            with contextlib.suppress(OSError):  # Windows holds on to what a model in memory reads
                whole.discard(folder)


def fail(store: Store, job_id: str, code: str, message: str, param: str | None = None) -> None:
    """End an unfinished job as failed, with the reason in its error and, in the same transaction, its events."""
    with store.edit("job", job_id) as job:
        if job["status"] in BUSY:
            error = {"code": code, "message": message, "param": param}
            job.update(failed_in=job["status"], status="failed", finished_at=now(), error=error)
            job_event(store, job_id, message, "error")


def check_job(twin, job: dict) -> None:
    """Copy and check a job's files: afterwards it is queued, or failed."""
    if complaint := _complaint(twin, job):
        fail(twin.store, job["id"], *complaint)
        return
    with twin.store.edit("job", job["id"]) as found:
        if found["status"] == "validating_files":
            found["status"] = "queued"
            job_event(twin.store, job["id"], "Files validated, moving job to queued state")


def _complaint(twin, job: dict) -> tuple[str, str, str] | None:
    """(code, message, field) of the first thing the service would refuse, or None."""
    paths = []
    for field, name in (("training_file", "train"), ("validation_file", "valid")):
        if job[field] is not None:
            content = (twin.openai if job["service"] == "openai" else twin.aws).content_of(job[field])
            if content is None:
                return "file_not_found", f"The file {job[field]} does not exist (NoSuchKey).", field
            paths.append(job_folder(twin.store, job["id"]) / f"{name}.jsonl")
            paths[-1].write_bytes(content)
    try:
        report = validate(*paths, format=job["format"], model=job["family"], tokens="estimate")
    except CourseError as error:
        return "invalid_file_format", str(error), "training_file"
    # a validation line that was trained on spoils the figures, but no service refuses it
    errors = [p for p in report.problems if p.severity == "error" and p.kind not in ("leak", "prompt_leak")]
    if not errors:
        return None
    problem = min(errors, key=lambda p: p.kind == "too_few_examples")
    which = "training" if problem.file == report.train.file else "validation"
    if problem.kind == "too_few_examples":
        count, least = report.train.examples, find_model(report.model).min_examples
        text = f"{which.capitalize()} file has {count} example(s), but must have at least {least} examples"
        return "invalid_n_examples", text, f"{which}_file"
    place = f" Line {problem.line}" if problem.line else ""
    place += f", {problem.field}" if problem.field else ""
    more = f" ({len(errors)} problems in all)" if len(errors) > 1 else ""
    why = WHY.get(problem.kind, problem.kind.replace("_", " "))
    return "invalid_file_format", f"Invalid file format in {which} file.{place}: {why}.{more}", f"{which}_file"
