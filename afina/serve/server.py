"""The serving process: `python -m afina.serve.server`, started by `serving`, ended with its parent.

Starlette and uvicorn carry the requests; the model lives in a thread of its own (`afina.chat.batch`), so that no request
waits for another's tokens. Every route that costs anything wants the key. Errors are OpenAI's in form, and say in
Portuguese what to do.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import secrets
import socket
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from afina.chat.batch import BatchRow, Busy
from afina.chat.checkpoint import SMALL, Checkpoint, load_checkpoint
from afina.chat.protocol import ApiError, ChunkWriter, completion, demand, has_key, plain_text, read_chat, read_dialect
from afina.chat.turn import Refused, Turn
from afina.child import listening, options, refusing, tell, wait_for_parent
from afina.errors import CourseError
from afina.serve.feedback import Feedback
from afina.serve.mailbox import Classified, LoopDesk, start

BODY_LIMIT = 256 << 10  # bytes
BODY_SECONDS = 10.0  # to send it
READ_SECONDS = 5.0  # beyond the deadline, for a client to read what is left
CONNECTIONS = 512
KEEP_ALIVE = 30  # seconds that a quiet connection stays open
# what a model of each kind does, and where
KINDS = {
    "chat": ("conversa, não classifica", "/v1/chat/completions"),
    "classifier": ("classifica, não conversa", "/v1/classify"),
}
PAGE = Path(__file__).parent / "page"
PAGE_FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
DIALECT = read_dialect("serve")


def _error(request: Request, error: ApiError) -> JSONResponse:
    headers = {503: {"Retry-After": "1"}, 401: {"WWW-Authenticate": "Bearer"}}
    return JSONResponse(error.body, error.status, headers.get(error.status))


async def read_json(request: Request) -> dict:
    """The body as an object. ApiError: too large, too slow, not JSON, not an object."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                message = f"O pedido passa de {BODY_LIMIT >> 10} KB. Encurte-o."
                demand(len(body) <= BODY_LIMIT, message, "request_too_large", status=413)
    except TimeoutError:
        raise ApiError(408, "O corpo do pedido não chegou inteiro a tempo.", "request_timeout") from None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        message = f"O corpo do pedido não é JSON ({error}). Confira aspas, vírgulas e a codificação, que é UTF-8."
        raise ApiError(400, message, "invalid_json") from None
    demand(isinstance(found, dict), "O corpo do pedido deve ser um objeto JSON, entre chaves.", "invalid_json")
    return found


class Service:
    """One checkpoint, behind its routes. `timeout` is what a request may take in all, in seconds, waiting included."""

    def __init__(self, checkpoint: Checkpoint, key: str, store: Feedback, batch: int, queue: int, timeout: float):
        self.checkpoint, self.key, self.store = checkpoint, key, store
        self.batch, self.queue, self.timeout = batch, queue, timeout
        self.created = int(time.time())
        self.dialect = dataclasses.replace(DIALECT, most_answers=min(8, batch + queue))

    def application(self) -> Starlette:
        gets = dict.fromkeys(PAGE_FILES, self.page) | {"/health": self.health}
        gets |= {"/v1/models": self.models, "/v1/models/{name:path}": self.models}
        posts = {"/v1/chat/completions": self.chat, "/v1/feedback": self.feedback}
        posts |= {"/v1/classify": self.classify, "/classify": self.classify}  # the second is where vLLM has it
        routes = [Route(path, does) for path, does in gets.items()]
        routes += [Route(path, does, methods=["POST"]) for path, does in posts.items()]
        handlers: dict[type[Exception], Any] = {
            ApiError: _error,
            HTTPException: self.no_route,
            ClientDisconnect: lambda request, error: Response(status_code=499),
            Exception: self.broken,
        }
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self.lifespan)

    @contextlib.asynccontextmanager
    async def lifespan(self, _):
        self.desk = LoopDesk(self.batch + self.queue, asyncio.get_running_loop())
        self.thread = start(self.checkpoint, self.desk, self.batch)
        yield

    def no_route(self, request: Request, error: HTTPException) -> Response:
        what = f"{request.method} {request.url.path}"
        faults = {405: ("este endereço não aceita este método", "method_not_allowed")}
        problem, code = faults.get(error.status_code, ("não há nada neste endereço", "unknown_url"))
        return _error(request, ApiError(error.status_code, f"{what}: {problem}.", code))

    def broken(self, request: Request, error: Exception) -> Response:
        traceback.print_exception(error)
        return _error(request, ApiError(500, "O servidor falhou neste pedido: veja o registro dele.", "internal_error"))

    def has_key(self, request: Request) -> bool:
        return has_key(request.headers.get("Authorization", ""), self.key)

    def want_key(self, request: Request) -> None:
        message = "Chave errada ou ausente. Mande o cabeçalho Authorization: Bearer CHAVE."
        demand(self.has_key(request), message, "invalid_api_key", status=401)

    async def body_of(self, request: Request, kind: str) -> dict:
        """The body of a question to a model of this kind, from somebody who has the key."""
        self.want_key(request)
        body = await read_json(request)
        self.check_name(body.get("model"))
        c = self.checkpoint
        does, route = KINDS[c.kind]
        demand(c.kind == kind, f"{c.name} {does}. Use {route}.", "wrong_kind_of_model", "model")
        return body

    async def page(self, request: Request) -> Response:
        return FileResponse(PAGE / PAGE_FILES[request.url.path], headers=HEADERS)

    async def health(self, request: Request) -> Response:
        """200 as long as the model's thread lives; who has the key is told how busy it is."""
        alive = self.thread.is_alive()
        report: dict[str, object] = {"status": "ok" if alive else "down"}
        if self.has_key(request):
            report |= {"model": self.checkpoint.name, "active": self.desk.active, "waiting": len(self.desk.waiting)}
        return JSONResponse(report, 200 if alive else 503)

    async def models(self, request: Request) -> Response:
        """The list of the one model here or, with its name in the path, the model itself."""
        self.want_key(request)
        c, name = self.checkpoint, request.path_params.get("name")
        card = {"id": c.name, "object": "model", "created": self.created, "owned_by": "afina", "kind": c.kind}
        card |= {"context": c.context, "labels": c.labels, "about": c.about}
        self.check_name(name)
        return JSONResponse({"object": "list", "data": [card]} if name is None else card)

    def check_name(self, name) -> None:
        message = f"Não conheço o modelo {str(name)[:100]!r}. Aqui há {self.checkpoint.name!r}."
        demand(name in (None, self.checkpoint.name), message, "model_not_found", "model", status=404)

    def hand_in(self, *works: BatchRow | Classified) -> None:
        try:
            self.desk.hand_in(*works)
        except Busy:
            message = f"O servidor está cheio: {self.desk.limit} pedidos por responder. Tente de novo daqui a pouco."
            raise ApiError(503, message, "server_overloaded") from None

    async def feedback(self, request: Request) -> Response:
        self.want_key(request)
        body = await read_json(request)
        known = ("messages", "answer", "model", "rating", "correction", "id")
        for name in body:
            demand(name in known, f'Não conheço o campo "{name}". Há {", ".join(known)}.', "invalid_value", name)
        for name in ("messages", "answer"):
            demand(name in body, f'Falta o campo "{name}".', "missing_field", name)
        try:
            id = await asyncio.to_thread(self.store.add, **{"model": self.checkpoint.name} | body)
        except CourseError as error:
            raise ApiError(400, str(error), "invalid_value", error.where) from None
        return JSONResponse({"id": id, "object": "feedback"})

    async def classify(self, request: Request) -> Response:
        """{"input": text or list} -> {"data": [{"index", "label", "probs", "num_classes"}]}, as vLLM's /classify."""
        body = await self.body_of(request, "classifier")
        from afina.tune.bert import encode  # only where there is a classifier: its thread has loaded it

        given: Any = body.get("input")
        texts = [given] if isinstance(given, str) else given
        fits = isinstance(texts, list) and 0 < len(texts) <= self.queue
        demand(fits, f'"input" deve ser um texto, ou uma lista de 1 a {self.queue}.', "invalid_value", "input")
        texts = [plain_text(text, f"input[{place}]", self.dialect) for place, text in enumerate(texts)]
        try:
            rows = await asyncio.to_thread(encode, texts, self.checkpoint.tokenizer, self.checkpoint.context)
        except CourseError as error:
            long = "tokens" in error.problem
            raise ApiError(400, str(error), "context_length_exceeded" if long else "invalid_value", "input") from None
        works = [Classified(text, self.desk.mailbox()) for text in texts]
        found = await self.answers(request, works, works)
        labels = self.checkpoint.labels
        data = [
            {"index": i, "label": labels[row.index(max(row))], "probs": row, "num_classes": len(row)}
            for i, (row,) in enumerate(found)
        ]
        tokens = sum(len(row["input_ids"]) for row in rows)
        usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
        head = self.new_head("classify-") | {"object": "list", "labels": labels}
        return JSONResponse(head | {"data": data, "usage": usage})

    async def answers(self, request: Request, works: Sequence, asked: Sequence[Turn | Classified]) -> list[list]:
        """The pieces of each, in time. ApiError: no room, or the time is over. ClientDisconnect: it left before."""

        async def all_pieces() -> list[list]:
            return [[piece async for piece in one.pieces.pieces()] for one in asked]

        self.hand_in(*works)
        task, gone = asyncio.ensure_future(all_pieces()), asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait((task, gone), timeout=self.timeout, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if gone.done():
                raise ClientDisconnect
            raise self.late()
        finally:
            for work in works:
                work.abandoned = True
            for one in (task, gone):
                one.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    def new_head(self, prefix: str) -> dict:
        return {"id": prefix + secrets.token_hex(12), "created": int(time.time()), "model": self.checkpoint.name}

    def late(self) -> ApiError:
        message = f"A resposta passou de {self.timeout:g} s. Peça menos tokens, ou tente quando houver menos gente."
        return ApiError(504, message, "timeout")

    async def chat(self, request: Request) -> Response:
        body = await self.body_of(request, "chat")
        asked = read_chat(body, self.dialect)
        for turn in asked.turns:
            turn.pieces = self.desk.mailbox()
        ends = () if body.get("ignore_eos") is True else None  # vLLM's, to measure answers of one length
        try:
            rows = await asyncio.to_thread(self.checkpoint.rows, asked.turns, ends)
        except Refused as error:
            raise ApiError(400, str(error), error.code, "messages") from None
        head = self.new_head("chatcmpl-")
        if asked.stream:
            self.hand_in(*rows)
            return _Stream(self, rows, _events(ChunkWriter(head, asked)))
        texts = ["".join(pieces) for pieces in await self.answers(request, rows, asked.turns)]
        return JSONResponse(completion(head, asked.turns, texts))


async def _events(chunks: ChunkWriter) -> AsyncIterator[bytes]:
    for index, turn in enumerate(chunks.request.turns):
        yield chunks.start(index)
        async for piece in turn.pieces.pieces():
            yield chunks.piece(index, piece)
        yield chunks.end(index)
    yield chunks.last()


class _Stream(StreamingResponse):
    """Events with one deadline for the whole answer, a reader who does not read included; errors become the last event."""

    def __init__(self, service: Service, rows: Sequence[BatchRow], events: AsyncIterator[bytes]):
        super().__init__(self.watched(events), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self.service, self.rows = service, rows
        self.deadline = asyncio.get_running_loop().time() + service.timeout

    async def watched(self, events):
        try:
            while True:
                async with asyncio.timeout_at(self.deadline):
                    chunk = await anext(events)
                yield chunk
        except StopAsyncIteration:
            return
        except TimeoutError:
            yield self.service.late().event
        except Exception as error:
            traceback.print_exception(error)
            yield ApiError(500, "O modelo falhou no meio desta resposta.", "internal_error").event

    async def __call__(self, scope, receive, send) -> None:
        try:
            async with asyncio.timeout_at(self.deadline + READ_SECONDS):
                await super().__call__(scope, receive, send)
        except TimeoutError:  # it did not read: uvicorn closes the connection
            return
        finally:
            for row in self.rows:
                row.abandoned = True


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


def main() -> int:
    given = options()
    out, sys.stdout = sys.stdout, sys.stderr
    with refusing(out):
        door = listening(given["host"], given["port"])
        store = Feedback(given["feedback"])
        checkpoint = load_checkpoint(given["checkpoint"], given["base"], given["load_in_4bit"])
        weights = sum(parameter.numel() for parameter in checkpoint.model.parameters())
        if given["threads"] or weights < SMALL:
            torch.set_num_threads(given["threads"] or 1)
        key = os.environ.get("AFINA_API_KEY") or "sk-afina-" + secrets.token_urlsafe(24)
        service = Service(checkpoint, key, store, given["batch"], given["queue"], given["timeout"])
        config = uvicorn.Config(
            service.application(), lifespan="on", log_level="warning", access_log=False, server_header=False,
            limit_concurrency=CONNECTIONS, timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=1,
            backlog=CONNECTIONS,
        )  # fmt: skip
        server = uvicorn.Server(config)

        def end_with_parent() -> None:
            wait_for_parent()
            server.should_exit = True

        threading.Thread(target=end_with_parent, daemon=True, name="parent").start()
        door.listen(CONNECTIONS)  # who knocks before uvicorn runs waits a moment
        told = {"url": _address(door), "api_key": key, "model": checkpoint.name}
        tell(told | {"feedback": str(store.path.resolve())}, out)
    asyncio.run(server.serve([door]))
    sys.stdout.flush()
    os._exit(0)  # without waiting for the model's thread


def _address(door: socket.socket) -> str:
    host, port = door.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    raise SystemExit(main())
