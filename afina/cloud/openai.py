"""The OpenAI side of the twin: files, fine-tuning jobs, events, checkpoints, models and chat, as the service speaks them.

Source: OpenAI's published OpenAPI document (the extract beside this file) and the official client. Requests to create
a job are checked against that document; error texts that no source gives are our own words.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from afina import whole
from afina.chat.protocol import ApiError, ChunkWriter, Dialect, completion, read_chat
from afina.chat.turn import Refused
from afina.cloud.intake import file_record, forget_model, job_event, parse_json
from afina.cloud.store import new_id, now
from afina.jsonl import limits

UPLOAD_LIMIT = 100 << 20  # bytes; the service takes 512 MB, a laptop's twin has no use for them
BODY_LIMIT = 4 << 20  # bytes of JSON
ORGANIZATION = "org-local"
OWNER = "afina-local"
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data")  # "evals" went with the Evals platform
UNFINISHED = ("validating_files", "queued", "running")
SHUTDOWN = "2027-01-14"  # of the bases that can still be trained: developers.openai.com/api/docs/deprecations
WIND_DOWN = (
    "OpenAI is winding down the fine-tuning platform and your organization is no longer able to create new "
    "fine-tuning training jobs."
)
DIALECT = Dialect(
    {
        "unsupported": ("unsupported_parameter", "This local twin does not take '{name}'."),
        "boolean": (None, "'{name}' must be a boolean"),
        "object": (None, "'{name}' must be an object"),
        "number": (None, "'{name}' must be number between {least} and {most}"),
        "integer": (None, "'{name}' must be integer between {least} and {most}"),
        "stop": (None, "'{name}' must be a string or a list of up to 4 strings"),
        "messages": (None, "'{name}' must be a non-empty list"),
        "role": (None, "'{name}' must be one of {roles}"),
        "text": (None, "'{name}' must be text in this local twin"),
    },
    roles=("system", "developer", "user", "assistant", "tool"),
    strict=True,
    empty=True,
)
SCHEMAS = Path(__file__).parent / "openai_schemas.json"


@functools.cache
def validator(name: str):
    """The JSON Schema validator of one schema of the extract."""
    from jsonschema import Draft202012Validator

    components = json.loads(SCHEMAS.read_text(encoding="utf-8"))["components"]
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})


def bases() -> dict[str, str]:
    """Every name a base goes by, with and without its date, and the dated name behind it."""
    dated = [model.id for model in limits.MODELS if model.service == "openai" and not model.retired]
    return {name: name for name in dated} | {re.sub(r"-\d{4}-\d\d-\d\d$", "", name): name for name in dated}


ROUTES = Map([
    Rule(f"/v1/{path}", methods=[verb], endpoint=endpoint)
    for verb, path, endpoint in (
        ("POST", "files", "create_file"), ("GET", "files", "list_files"), ("GET", "files/<id>", "get_file"),
        ("DELETE", "files/<id>", "delete_file"), ("GET", "files/<id>/content", "file_content"),
        ("POST", "fine_tuning/jobs", "create_job"), ("GET", "fine_tuning/jobs", "list_jobs"),
        ("GET", "fine_tuning/jobs/<id>", "get_job"), ("GET", "fine_tuning/jobs/<id>/events", "list_events"),
        ("GET", "fine_tuning/jobs/<id>/checkpoints", "list_checkpoints"),
        ("POST", "fine_tuning/jobs/<id>/<any(cancel, pause, resume):change>", "change_job"),
        ("GET", "models", "list_models"), ("GET", "models/<id>", "get_model"), ("DELETE", "models/<id>", "delete_model"),
        ("POST", "chat/completions", "chat"),
    )
])  # fmt: skip
# what a change makes of a job, and from which states
CHANGES = {
    "cancel": ("cancelled", (*UNFINISHED, "paused")),
    "pause": ("paused", ("queued", "running")),
    "resume": ("queued", ("paused",)),
}


class OpenAI:
    """The WSGI application under /v1. `twin` is the server's `Twin`."""

    def __init__(self, twin):
        self.twin, self.store = twin, twin.store
        (self.store.folder / "files").mkdir(exist_ok=True)

    def __call__(self, environ, start_response):
        request = Request(environ)
        try:
            response = self._answer(request)
        except ApiError as error:
            response = _json(error.body, error.status)
        except HTTPException as error:
            what = f"{request.method} {request.path}"
            text = f"Invalid URL ({what})" if error.code == 404 else f"{error.description} ({what})"
            response = _json(ApiError(error.code or 400, text).body, error.code or 400)
        response.headers["x-request-id"] = new_id("req_local_")
        response.headers["openai-organization"] = ORGANIZATION
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not secrets.compare_digest(given.encode(), self.twin.openai_key.encode()):
            raise ApiError(401, "Incorrect API key provided.", "invalid_api_key")
        endpoint, values = ROUTES.bind_to_environ(request.environ).match()
        request.max_content_length = UPLOAD_LIMIT if endpoint == "create_file" else BODY_LIMIT
        request.max_form_memory_size = BODY_LIMIT
        try:
            answer = getattr(self, endpoint)(request, **values)
        except RequestEntityTooLarge as error:
            raise ApiError(413, "The request is larger than this local twin takes.", "file_too_large") from error
        return answer if isinstance(answer, Response) else _json(answer)

    # --- files -------------------------------------------------------------------------------------------------------

    def create_file(self, request: Request) -> dict:
        upload, purpose = request.files.get("file"), request.form.get("purpose")
        if upload is None:
            raise ApiError(400, "'file' is a required property", param="file")
        if purpose not in PURPOSES:
            raise ApiError(400, f"'{purpose}' is not one of {list(PURPOSES)}", param="purpose")
        name = os.path.basename((upload.filename or "upload").replace("\\", "/")) or "upload"
        if purpose == "fine-tune" and not name.endswith(".jsonl"):
            message = f"Invalid file format for Fine-Tuning API. Must be .jsonl (got {name[-20:]!r})"
            raise ApiError(400, message, "invalid_file_format", "file")
        file = file_record(name, purpose, 0)
        if (expires_at := _expiry(request.form)) is not None:
            file["expires_at"] = expires_at
        path = self.path_of(file["id"])  # the id is ours: nothing of the file name reaches the disk
        with whole.new_path(path) as aside:
            upload.save(aside)
            file["bytes"] = aside.stat().st_size
        return self.store.add("file", file["id"], file)

    def content_of(self, file_id: str) -> bytes | None:
        return self.path_of(file_id).read_bytes() if self.find_file(file_id) else None

    def path_of(self, file_id: str) -> Path:
        return self.store.folder / "files" / file_id

    def find_file(self, id: str) -> dict | None:
        file = self.store.get("file", id)
        if file and file.get("expires_at", now() + 1) <= now():
            self._remove(id)
            return None
        return file

    def _remove(self, id: str) -> bool:
        gone = self.store.delete("file", id)
        if gone:
            self.path_of(id).unlink(missing_ok=True)
        return gone

    def list_files(self, request: Request) -> dict:
        purpose = request.args.get("purpose")
        files = [file for file in self.store.all("file") if purpose in (None, file["purpose"])]
        order = request.args.get("order", "desc")
        if order not in ("asc", "desc"):
            raise ApiError(400, f"'{order}' is not one of ['asc', 'desc']", param="order")
        page = _page(files, request, default=10_000, most=10_000, newest_first=order == "desc")
        ids = [file["id"] for file in page["data"]]
        return page | {"first_id": ids[0] if ids else "", "last_id": ids[-1] if ids else ""}

    def get_file(self, request: Request, id: str) -> dict:
        return self.find_file(id) or _missing(f"No such File object: {id}", param="id")

    def delete_file(self, request: Request, id: str) -> dict:
        if not self._remove(id):
            _missing(f"No such File object: {id}", param="id")
        return {"id": id, "object": "file", "deleted": True}

    def file_content(self, request: Request, id: str) -> Response:
        file = self.get_file(request, id)
        return Response(self.path_of(file["id"]).read_bytes(), mimetype="application/octet-stream")

    # --- jobs --------------------------------------------------------------------------------------------------------

    def create_job(self, request: Request) -> dict:
        asked = _body(request)
        _check("CreateFineTuningJobRequest", asked)
        if not self.twin.training_available:
            raise ApiError(403, WIND_DOWN, "training_not_available")
        base, layers = self._trainable(asked["model"])
        for field in ("training_file", "validation_file"):
            self._check_training_file(asked.get(field), field)
        metadata = asked.get("metadata") or {}
        if len(metadata) > 16 or any(len(key) > 64 or len(value) > 512 for key, value in metadata.items()):
            message = "'metadata' takes 16 pairs, of up to 64 and 512 characters"
            raise ApiError(400, message, param="metadata")
        if asked.get("integrations"):
            message = "This local twin sends nothing to Weights & Biases: leave out 'integrations'."
            raise ApiError(400, message, "integration_not_available", "integrations")
        method, hyperparameters = _method(asked)
        nothing = dict.fromkeys(("finished_at", "fine_tuned_model", "trained_tokens", "error"))
        job: dict = nothing | {
            "id": new_id("ftjob-"), "service": "openai", "status": "validating_files", "created_at": now(),
            "model": asked["model"] if layers else base, "family": base, "layers": layers, "result_files": [],
            "method": method, "format": "openai-dpo" if method == "dpo" else "openai-chat",
            "hyperparameters": hyperparameters, "suffix": asked.get("suffix"), "metadata": asked.get("metadata"),
            "seed": secrets.randbelow(2**31) if asked.get("seed") is None else asked["seed"],
            "training_file": asked["training_file"], "validation_file": asked.get("validation_file"),
        }  # fmt: skip
        slug = re.sub(r"[^a-z0-9-]+", "-", (job["suffix"] or "").lower()).strip("-")
        job["new_model"] = f"ft:{base}:local:{slug}:{new_id('', 8)}"
        self.store.add("job", job["id"], job)
        job_event(self.store, job["id"], f"Created fine-tuning job: {job['id']}")
        files = f"Validating training file: {job['training_file']}"
        if job["validation_file"]:
            files += f" and validation file: {job['validation_file']}"
        job_event(self.store, job["id"], files)
        self.twin.wake()
        return job_view(job)

    def _trainable(self, name: str) -> tuple[str, list[str]]:
        """(dated base, adapters below the new one): a base, or a tuned model to go on from."""
        if name in bases():
            return bases()[name], []
        tuned = self.store.get("model", name)
        if tuned is None or tuned["service"] != "openai":
            message = f"Model {name} is not available for fine-tuning or does not exist."
            raise ApiError(400, message, "model_not_available", "model")
        return tuned["base"], tuned["layers"]

    def _check_training_file(self, id: str | None, field: str) -> None:
        if id is None:
            return
        file = self.find_file(id)
        if file is None:
            raise ApiError(400, f"File {id} does not exist.", "file_not_found", field)
        if file["purpose"] != "fine-tune":
            message = f"File {id} has purpose '{file['purpose']}' and a fine-tuning job needs 'fine-tune'."
            raise ApiError(400, message, "invalid_file_purpose", field)

    def find_job(self, id: str) -> dict:
        job = self.store.get("job", id)
        if job is None or job["service"] != "openai":
            _missing(f"Could not find fine tune: {id}", "fine_tune_not_found", "fine_tune_id")
        return job

    def list_jobs(self, request: Request) -> dict:
        found = (re.fullmatch(r"metadata\[(.+)\]", key) for key in request.args)
        wanted = {match[1]: request.args[match[0]] for match in found if match}
        jobs = [job for job in self.store.all("job") if job["service"] == "openai"]
        jobs = [job for job in jobs if wanted.items() <= (job["metadata"] or {}).items()]
        page = _page(jobs, request, default=20)
        return page | {"data": [job_view(job) for job in page["data"]]}

    def get_job(self, request: Request, id: str) -> dict:
        return job_view(self.find_job(id))

    def change_job(self, request: Request, id: str, change: str) -> dict:
        to, allowed = CHANGES[change]

        def changed(job: dict) -> None:
            if job["status"] not in allowed:
                raise ApiError(400, f"Job {id} is {job['status']}: it cannot be {to}.", "invalid_job_status")
            job["status"] = to
            if to == "cancelled":
                job["finished_at"] = now()

        self.find_job(id)
        job = self.store.edit("job", id, changed)
        job_event(self.store, id, f"Fine-tuning job {'resumed' if change == 'resume' else to}")
        self.twin.wake()
        return job_view(job)

    def list_events(self, request: Request, id: str) -> dict:
        self.find_job(id)
        return _page(self.store.all("event", id), request, default=20)

    def list_checkpoints(self, request: Request, id: str) -> dict:
        self.find_job(id)
        return _page(self.store.all("checkpoint", id), request, default=10)

    # --- models ------------------------------------------------------------------------------------------------------

    def list_models(self, request: Request) -> dict:
        tuned = [m for m in self.store.all("model") if m["service"] == "openai" and not m["checkpoint"]]
        views = [model_view(name, base) for name, base in bases().items()]
        return {"object": "list", "data": views + [model_view(m["id"], m["base"], m["created_at"]) for m in tuned]}

    def get_model(self, request: Request, id: str) -> dict:
        if id in bases():
            return model_view(id, bases()[id])
        model = self._tuned(id)
        return model_view(id, model["base"], model["created_at"])

    def delete_model(self, request: Request, id: str) -> dict:
        if id in bases():
            raise ApiError(403, f"The model '{id}' is not yours to delete.", "insufficient_permissions", "model")
        self._tuned(id)
        forget_model(self.store, id)
        return {"id": id, "object": "model", "deleted": True}

    def _tuned(self, id: str) -> dict:
        model = self.store.get("model", id)
        if model is None or model["service"] != "openai":
            message = f"The model '{id}' does not exist or you do not have access to it."
            _missing(message, "model_not_found", "model")
        return model

    # --- chat --------------------------------------------------------------------------------------------------------

    def chat(self, request: Request) -> dict | Response:
        body = _body(request)
        name = body.get("model")
        if not isinstance(name, str):
            raise ApiError(400, "you must provide a model parameter", param="model")
        asked = read_chat(body, DIALECT)
        layers = () if name in bases() else tuple(self._tuned(name)["layers"])
        for turn in asked.turns:
            turn.layers = layers
        streams = [self.twin.speaker.say(turn) for turn in asked.turns]
        head = {
            "id": new_id("chatcmpl-local"),
            "created": now(),
            "model": f"{bases()[name]}:local" if name in bases() else name,
            "system_fingerprint": "fp_afina_local",
        }
        try:
            if not asked.stream:
                return completion(head, asked.turns, ["".join(stream) for stream in streams])
            firsts = [next(stream, "") for stream in streams]  # a refusal must come before the 200
        except Refused as error:
            raise ApiError(400, str(error), error.code, "messages") from error
        events = _events(
            ChunkWriter(head, asked), [itertools.chain([a], b) for a, b in zip(firsts, streams, strict=True)]
        )
        return Response(events, mimetype="text/event-stream", headers={"Cache-Control": "no-cache"})


def _events(chunks: ChunkWriter, streams: Sequence[Iterable[str]]) -> Iterator[bytes]:
    for index, stream in enumerate(streams):
        yield chunks.start(index)
        for piece in filter(None, stream):
            yield chunks.piece(index, piece)
        yield chunks.end(index)
    yield chunks.last()


# --- views: what the service shows of what we keep ---------------------------------------------------------------------


def job_view(job: dict) -> dict:
    values = job["hyperparameters"]
    view: dict = {"object": "fine_tuning.job", "organization_id": ORGANIZATION}
    kept = (
        "id", "created_at", "error", "fine_tuned_model", "finished_at", "model", "result_files", "seed", "status",
        "trained_tokens", "training_file", "validation_file", "metadata",
    )  # fmt: skip
    view |= {key: job[key] for key in kept}
    view["hyperparameters"] = {key: value for key, value in values.items() if key != "beta"}
    view["method"] = {"type": job["method"], job["method"]: {"hyperparameters": values}}
    view["estimated_finish"] = job.get("estimated_finish") if job["status"] == "running" else None
    return view | {"integrations": [], "user_provided_suffix": job["suffix"]}


def model_view(name: str, base: str, created: int = 1744588800) -> dict:  # 2025-04-14, the date in the bases' names
    return {"id": name, "object": "model", "created": created, "owned_by": OWNER, "shutdown_date": SHUTDOWN}


# --- requests ----------------------------------------------------------------------------------------------------------


def _json(body: dict, status: int = 200) -> Response:
    return Response(json.dumps(body), status=status, mimetype="application/json")


def _missing(message: str, code: str | None = None, param: str | None = None):
    raise ApiError(404, message, code, param)


def _body(request: Request) -> dict:
    try:
        return parse_json(request.get_data())
    except ValueError as error:
        raise ApiError(400, "We could not parse the JSON body of your request.") from error


def _check(schema: str, body: dict) -> None:
    """Refuse what the published schema refuses; the deepest complaint is the one that helps."""
    from jsonschema.exceptions import best_match

    error = best_match(validator(schema).iter_errors(body))
    if error is not None:
        param = ".".join(str(part) for part in error.absolute_path) or None
        if error.validator == "required" and param is None:
            param = error.message.split("'")[1]
        raise ApiError(400, error.message[:300], param=param)


def _method(asked: dict) -> tuple[str, dict]:
    """(type, hyperparameters) of a request; ranges that the document gives in prose are checked here."""
    method = asked.get("method") or {"type": "supervised"}
    kind = method["type"]
    if kind == "reinforcement":
        message = f"Model {asked['model']} does not support method 'reinforcement'."
        raise ApiError(400, message, "unsupported_method", "method.type")
    own = method.get(kind) or {}
    values = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    if kind == "dpo":
        values["beta"] = "auto"
    values |= asked.get("hyperparameters") or {}
    values |= {key: value for key, value in (own.get("hyperparameters") or {}).items() if key in values}
    return kind, values


def _expiry(form) -> int | None:
    seconds, anchor = form.get("expires_after[seconds]"), form.get("expires_after[anchor]")
    if seconds is None and anchor is None:
        return None
    if anchor != "created_at" or not re.fullmatch(r"\d{1,7}", seconds or "") or not 3600 <= int(seconds) <= 2_592_000:
        message = "'expires_after' takes anchor 'created_at' and seconds from 3600 to 2592000"
        raise ApiError(400, message, param="expires_after")
    return now() + int(seconds)


def _page(items: list[dict], request: Request, default: int, most: int = 1000, newest_first: bool = True) -> dict:
    """A page of `items` (oldest first) by the request's `limit` and `after`."""
    text = request.args.get("limit", str(default))
    if not re.fullmatch(r"\d{1,6}", text) or not 1 <= int(text) <= most:
        raise ApiError(400, f"'limit' must be an integer between 1 and {most}", param="limit")
    if newest_first:
        items = items[::-1]
    after = request.args.get("after")
    if after:
        places = [place for place, item in enumerate(items) if item["id"] == after]
        if not places:
            raise ApiError(400, f"'{after[:100]}' is not the id of an item of this list", param="after")
        items = items[places[0] + 1 :]
    return {"object": "list", "data": items[: int(text)], "has_more": len(items) > int(text)}
