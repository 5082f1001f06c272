"""The OpenAI side of the twin: files, fine-tuning jobs, events, checkpoints, models and chat, as the service speaks them.

Source: OpenAI's published OpenAPI document (the extract beside this file) and the official client. Requests to create
a job are checked against that document; error texts that no source gives are our own words.
"""

import functools
import itertools
import json
import os
import re
import secrets
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from afina.chat.protocol import ApiError, ChunkWriter, completion, demand, has_key, read_chat, read_dialect
from afina.chat.turn import Refused
from afina.cloud.intake import BODY_LIMIT, UPLOAD_LIMIT, add_file, forget_model, job_event, parse_json
from afina.cloud.store import new_id, now
from afina.jsonl import limits

ORGANIZATION, JSON = "org-local", "application/json"
_DATED = [model.id for model in limits.MODELS if model.service == "openai" and not model.retired]
# every name a base goes by, with and without its date, and the dated name behind it
BASES = {name: name for name in _DATED} | {re.sub(r"-\d{4}-\d\d-\d\d$", "", name): name for name in _DATED}
FACTS = tomllib.loads(Path(__file__).with_name("openai.toml").read_text(encoding="utf-8"))
DIALECT = read_dialect("twin")


@functools.cache
def validator(name: str):
    """The JSON Schema validator of one schema of the extract."""
    from jsonschema import Draft202012Validator

    components = json.loads(Path(__file__).with_name("openai_schemas.json").read_text(encoding="utf-8"))["components"]
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})


ROUTES = Map([Rule(f"/v1/{path}", methods=[verb], endpoint=name) for name, (verb, path) in FACTS["routes"].items()])


class OpenAI:
    """The WSGI application under /v1. `twin` is the server's `Twin`."""

    def __init__(self, twin):
        self.twin, self.store = twin, twin.store
        (self.store.folder / "files").mkdir(exist_ok=True)

    def __call__(self, environ, start_response):
        request = Request(environ)
        try:
            answer = self._answer(request)
        except RequestEntityTooLarge:
            answer = ApiError(413, "The request is larger than this local twin takes.", "file_too_large")
        except HTTPException as error:
            what = f"{request.method} {request.path}"
            text = f"Invalid URL ({what})" if error.code == 404 else f"{error.description} ({what})"
            answer = ApiError(error.code or 400, text)
        except ApiError as error:
            answer = error
        body, status = (answer.body, answer.status) if isinstance(answer, ApiError) else (answer, 200)
        response = body if isinstance(body, Response) else Response(json.dumps(body), status, mimetype=JSON)
        response.headers["x-request-id"] = new_id("req_local_")
        response.headers["openai-organization"] = ORGANIZATION
        return response(environ, start_response)

    def _answer(self, request: Request) -> dict | Response:
        allowed = has_key(request.headers.get("Authorization", ""), self.twin.openai_key)
        demand(allowed, "Incorrect API key provided.", "invalid_api_key", status=401)
        endpoint, values = ROUTES.bind_to_environ(request.environ).match()
        request.max_content_length = UPLOAD_LIMIT if endpoint == "create_file" else BODY_LIMIT
        request.max_form_memory_size = BODY_LIMIT
        return getattr(self, endpoint)(request, **values)

    def create_file(self, request: Request) -> dict:
        upload, form = request.files.get("file"), request.form
        asked: dict = {"purpose": str(form.get("purpose"))}
        if upload is not None:
            asked["file"] = os.path.basename((upload.filename or "upload").replace("\\", "/")) or "upload"
        for key in ("anchor", "seconds"):
            if text := form.get(f"expires_after[{key}]"):
                asked.setdefault("expires_after", {})[key] = int(text) if re.fullmatch(r"\d{1,7}", text) else text
        _check("CreateFileRequest", asked)
        assert upload is not None, "the schema asks for it"
        name, purpose = asked["file"], asked["purpose"]
        message = f"Invalid file format for Fine-Tuning API. Must be .jsonl (got {name[-20:]!r})"
        demand(purpose != "fine-tune" or name.endswith(".jsonl"), message, "invalid_file_format", "file")
        expiry = {"expires_at": now() + asked["expires_after"]["seconds"]} if "expires_after" in asked else {}
        return add_file(self.store, name, purpose, upload.read(), **expiry)

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

    def _remove(self, id: str) -> None:
        if self.store.delete("file", id):
            self.path_of(id).unlink(missing_ok=True)

    def list_files(self, request: Request) -> dict:
        purpose, order = request.args.get("purpose"), request.args.get("order", "desc")
        demand(order in ("asc", "desc"), f"'{order}' is not one of ['asc', 'desc']", param="order")
        files = [file for file in self.store.all("file") if purpose in (None, file["purpose"])]
        page = _page(files, request, default=10_000, most=10_000, newest_first=order == "desc")
        ids = [file["id"] for file in page["data"]]
        return page | {"first_id": ids[0] if ids else "", "last_id": ids[-1] if ids else ""}

    def get_file(self, request: Request, id: str) -> dict:
        return self.find_file(id) or _missing(f"No such File object: {id}", param="id")

    def delete_file(self, request: Request, id: str) -> dict:
        self.get_file(request, id)
        self._remove(id)
        return {"id": id, "object": "file", "deleted": True}

    def file_content(self, request: Request, id: str) -> Response:
        self.get_file(request, id)
        return Response(self.path_of(id).read_bytes(), mimetype="application/octet-stream")

    def create_job(self, request: Request) -> dict:
        asked = _body(request)
        _check("CreateFineTuningJobRequest", asked)
        demand(self.twin.training_available, FACTS["wind_down"], "training_not_available", status=403)
        below = self.find_model(asked["model"])  # a base, or a tuned model to go on from
        if below is None:
            message = f"Model {asked['model']} is not available for fine-tuning or does not exist."
            raise ApiError(400, message, "model_not_available", "model")
        base, layers = below["base"], below["layers"]
        for field in ("training_file", "validation_file"):
            if (file_id := asked.get(field)) is not None:
                purpose = (self.find_file(file_id) or {}).get("purpose")
                demand(purpose, f"File {file_id} does not exist.", "file_not_found", field)
                message = f"File {file_id} has purpose '{purpose}' and a fine-tuning job needs 'fine-tune'."
                demand(purpose == "fine-tune", message, "invalid_file_purpose", field)
        metadata = asked.get("metadata") or {}
        fits = len(metadata) <= 16 and all(len(key) <= 64 and len(value) <= 512 for key, value in metadata.items())
        demand(fits, "'metadata' takes 16 pairs, of up to 64 and 512 characters", param="metadata")
        message = "This local twin sends nothing to Weights & Biases: leave out 'integrations'."
        demand(not asked.get("integrations"), message, "integration_not_available", "integrations")
        method, hyperparameters = _method(asked)
        job: dict = dict.fromkeys(("finished_at", "fine_tuned_model", "trained_tokens", "error")) | {
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
        more = f" and validation file: {job['validation_file']}" if job["validation_file"] else ""
        job_event(self.store, job["id"], f"Validating training file: {job['training_file']}{more}")
        self.twin.wake()
        return job_view(job)

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
        to, allowed = FACTS["changes"][change]
        self.find_job(id)
        with self.store.edit("job", id) as job:
            message = f"Job {id} is {job['status']}: it cannot be {to}."
            demand(job["status"] in allowed, message, "invalid_job_status")
            job["status"] = to
            if to == "cancelled":
                job["finished_at"] = now()
        job_event(self.store, id, f"Fine-tuning job {'resumed' if change == 'resume' else to}")
        self.twin.wake()
        return job_view(job)

    def list_of_job(self, request: Request, id: str, what: str) -> dict:
        self.find_job(id)
        kind, default = {"events": ("event", 20), "checkpoints": ("checkpoint", 10)}[what]
        return _page(self.store.all(kind, id), request, default)

    def find_model(self, name: str) -> dict | None:
        """A base or a tuned model, with the dated name of its base and the adapters over it; None: there is none."""
        if name in BASES:
            return {"id": name, "base": BASES[name], "layers": [], "created_at": FACTS["bases_created"]}
        model = self.store.get("model", name)
        return model if model and model["service"] == "openai" else None

    def _model(self, name: str) -> dict:
        message = f"The model '{name}' does not exist or you do not have access to it."
        return self.find_model(name) or _missing(message, "model_not_found", "model")

    def list_models(self, request: Request) -> dict:
        tuned = [m for m in self.store.all("model") if m["service"] == "openai" and not m["checkpoint"]]
        return {"object": "list", "data": [model_view(m) for m in [*map(self._model, BASES), *tuned]]}

    def get_model(self, request: Request, id: str) -> dict:
        return model_view(self._model(id))

    def delete_model(self, request: Request, id: str) -> dict:
        message = f"The model '{id}' is not yours to delete."
        demand(self._model(id)["layers"], message, "insufficient_permissions", "model", status=403)
        forget_model(self.store, id)
        return {"id": id, "object": "model", "deleted": True}

    def chat(self, request: Request) -> dict | Response:
        body = _body(request)
        demand(isinstance(body.get("model"), str), "you must provide a model parameter", param="model")
        asked, model = read_chat(body, DIALECT), self._model(body["model"])
        for turn in asked.turns:
            turn.layers = tuple(model["layers"])
        streams = [self.twin.speaker.say(turn) for turn in asked.turns]
        head = {
            "id": new_id("chatcmpl-local"),
            "created": now(),
            "model": model["id"] if model["layers"] else f"{model['base']}:local",
            "system_fingerprint": "fp_afina_local",
        }
        try:
            if not asked.stream:
                return completion(head, asked.turns, ["".join(stream) for stream in streams])
            # a refusal must come before the 200
            streams = [itertools.chain([next(stream, "")], stream) for stream in streams]
        except Refused as error:
            raise ApiError(400, str(error), error.code, "messages") from error
        events = _events(ChunkWriter(head, asked), streams)
        return Response(events, mimetype="text/event-stream", headers={"Cache-Control": "no-cache"})


def _events(chunks: ChunkWriter, streams: Sequence[Iterator[str]]) -> Iterator[bytes]:
    for index, stream in enumerate(streams):
        yield chunks.start(index)
        for piece in filter(None, stream):
            yield chunks.piece(index, piece)
        yield chunks.end(index)
    yield chunks.last()


def job_view(job: dict) -> dict:
    values = job["hyperparameters"]
    return {key: job[key] for key in FACTS["job_fields"]} | {
        "object": "fine_tuning.job", "organization_id": ORGANIZATION, "integrations": [],
        "hyperparameters": {key: value for key, value in values.items() if key != "beta"},
        "method": {"type": job["method"], job["method"]: {"hyperparameters": values}},
        "estimated_finish": job.get("estimated_finish") if job["status"] == "running" else None,
        "user_provided_suffix": job["suffix"],
    }  # fmt: skip


def model_view(model: dict) -> dict:
    head = {"id": model["id"], "object": "model", "created": model["created_at"]}
    return head | {"owned_by": "afina-local", "shutdown_date": FACTS["shutdown_date"]}


def _missing(message: str, code: str | None = None, param: str | None = None):
    raise ApiError(404, message, code, param)


def _body(request: Request) -> dict:
    return parse_json(request.get_data(), ApiError(400, "We could not parse the JSON body of your request."))


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
    message = f"Model {asked['model']} does not support method 'reinforcement'."
    demand(kind != "reinforcement", message, "unsupported_method", "method.type")
    names = ("n_epochs", "batch_size", "learning_rate_multiplier", *(["beta"] if kind == "dpo" else []))
    values = dict.fromkeys(names, "auto")
    values |= asked.get("hyperparameters") or {}
    values |= {
        key: value for key, value in ((method.get(kind) or {}).get("hyperparameters") or {}).items() if key in values
    }
    return kind, values


def _page(items: list[dict], request: Request, default: int, most: int = 1000, newest_first: bool = True) -> dict:
    """A page of `items` (oldest first) by the request's `limit` and `after`."""
    text = request.args.get("limit", str(default))
    fits = re.fullmatch(r"\d{1,6}", text) and 1 <= int(text) <= most
    demand(fits, f"'limit' must be an integer between 1 and {most}", param="limit")
    items = items[::-1] if newest_first else items
    after = request.args.get("after")
    if after:
        ids = [item["id"] for item in items]
        demand(after in ids, f"'{after[:100]}' is not the id of an item of this list", param="after")
        items = items[ids.index(after) + 1 :]
    return {"object": "list", "data": items[: int(text)], "has_more": len(items) > int(text)}
