"""A job before it trains: its files are copied to the job's own folder and checked, by the rules of `afina.jsonl`.

Bad data is no HTTP error: the service accepts the job and fails it a little later, and so do the twins.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from afina import whole
from afina.cloud.store import Store, new_id, now
from afina.errors import CourseError
from afina.jsonl import validate
from afina.jsonl.validate import Report
from afina.prices import find_model

BUSY = ("validating_files", "queued", "running", "delivering", "stopping")

# What the checker calls a problem, in the language of the services.
WHY = {
    "empty_file": "the file is empty",
    "bom": "the file starts with a byte order mark",
    "encoding": "the text is not UTF-8",
    "blank_line": "the line is blank",
    "line_too_long": "the line is too long",
    "json": "the line is not valid JSON",
    "duplicate_key": "a key is repeated",
    "not_object": "the line is not a JSON object",
    "missing_key": "a required key is missing",
    "unknown_key": "unexpected key",
    "type": "wrong type",
    "role": "invalid role",
    "order": "messages in a wrong order",
    "no_answer": "the last message must be from the assistant",
    "empty_content": "empty content",
    "weight": "weight must be 0 or 1",
    "nothing_to_learn": "every assistant message has weight 0",
    "tools": "malformed tools or tool calls",
    "same_outputs": "preferred_output and non_preferred_output are equal",
    "schema_version": "wrong schemaVersion",
    "reserved_word": "reserved word in the text",
    "too_many_tokens": "the example has too many tokens",
    "too_many_examples": "too many examples",
}


def parse_json(data: bytes) -> dict:
    """The JSON object of a request's body. ValueError: anything else, NaN, Infinity, half a surrogate, a nest too deep."""
    try:
        body = json.loads(data.decode("utf-8"))
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(body, dict):
        raise ValueError("not an object")
    return body


def job_folder(store: Store, job_id: str) -> Path:
    folder = store.folder / "jobs" / job_id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def job_event(store: Store, job_id: str, message: str, level: str = "info", data: dict | None = None) -> None:
    id, kind = new_id("ftevent-"), "metrics" if data else "message"
    event = {"id": id, "object": "fine_tuning.job.event", "created_at": now(), "level": level, "message": message}
    store.add("event", id, event | {"type": kind, "data": data or {}}, parent=job_id)


def add_file(store: Store, name: str, purpose: str, content: bytes) -> dict:
    """A file of the OpenAI side, made here."""
    file = file_record(name, purpose, len(content))
    (store.folder / "files" / file["id"]).write_bytes(content)
    return store.add("file", file["id"], file)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def file_record(name: str, purpose: str, size: int) -> dict:
    head = {"id": new_id("file-"), "object": "file", "bytes": size, "created_at": now()}
    return head | {"filename": name, "purpose": purpose, "status": "processed"}


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

    def change(job: dict) -> None:
        if job["status"] in BUSY:
            error = {"code": code, "message": message, "param": param}
            job.update(failed_in=job["status"], status="failed", finished_at=now(), error=error)
            job_event(store, job_id, message, "error")

    store.edit("job", job_id, change)


def check_job(twin, job: dict) -> None:
    """Copy and check a job's files: afterwards it is queued, or failed."""
    store, folder = twin.store, job_folder(twin.store, job["id"])
    paths = {}
    for field, name in (("training_file", "train.jsonl"), ("validation_file", "valid.jsonl")):
        if job[field] is None:
            continue
        content = (twin.openai if job["service"] == "openai" else twin.aws).content_of(job[field])
        if content is None:
            fail(store, job["id"], "file_not_found", f"The file {job[field]} does not exist (NoSuchKey).", field)
            return
        paths[field] = folder / name
        paths[field].write_bytes(content)
    try:
        report = validate(*paths.values(), format=job["format"], model=job["family"], tokens="estimate")
    except CourseError as error:
        fail(store, job["id"], "invalid_file_format", str(error), "training_file")
        return
    if complaint := _complaint(report):
        fail(store, job["id"], *complaint)
        return

    def queue(found: dict) -> None:
        if found["status"] == "validating_files":
            found["status"] = "queued"

    if store.edit("job", job["id"], queue)["status"] == "queued":
        job_event(store, job["id"], "Files validated, moving job to queued state")


def _complaint(report: Report) -> tuple[str, str, str] | None:
    """(code, message, field) of the first thing the service would refuse, or None."""
    # a validation line that was trained on spoils the figures, but no service refuses it
    errors = [p for p in report.problems if p.severity == "error" and p.kind not in ("leak", "prompt_leak")]
    least = find_model(report.model).min_examples
    for problem in sorted(errors, key=lambda p: p.kind == "too_few_examples"):
        field = "training_file" if problem.file == report.train.file else "validation_file"
        which = field.split("_")[0].capitalize()
        if problem.kind == "too_few_examples":
            count = report.train.examples
            text = f"{which} file has {count} example(s), but must have at least {least} examples"
            return "invalid_n_examples", text, field
        place = f" Line {problem.line}" if problem.line else ""
        place += f", {problem.field}" if problem.field else ""
        more = f" ({len(errors)} problems in all)" if len(errors) > 1 else ""
        why = WHY.get(problem.kind, problem.kind.replace("_", " "))
        return "invalid_file_format", f"Invalid file format in {which.lower()} file.{place}: {why}.{more}", field
    return None
