"""The serving process: `python -m afina.serve.server`, started by `serving`, ended with its parent.

Starlette and uvicorn carry the requests; the model lives in a thread of its own (`afina.serve.engine`), so that no request
waits for another's tokens. Every route that costs anything wants the key. Errors are OpenAI's in form, and say in
Portuguese what to do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from afina.chat.turn import Line, Refused, Turn
from afina.errors import CourseError
from afina.serve import engine
from afina.serve.checkpoint import SMALL, Checkpoint, load_checkpoint
from afina.serve.feedback import Feedback
from afina.tune.bert import encode

BODY_LIMIT = 256 << 10  # bytes
BODY_SECONDS = 10.0  # to send it
READ_SECONDS = 5.0  # beyond the deadline, for a client to read what is left
CONNECTIONS = 512
KEEP_ALIVE = 30  # seconds that a quiet connection stays open
PAGE = Path(__file__).parent / "page"
PAGE_FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# what would change the answer and is not done here: refused, so that nobody thinks it was
UNSUPPORTED = {
    "n": (None, 1), "tools": (None, []), "functions": (None, []), "logprobs": (None, False), "top_logprobs": (None, 0),
    "presence_penalty": (None, 0), "frequency_penalty": (None, 0), "logit_bias": (None, {}),
    "response_format": (None, {"type": "text"}),
}  # fmt: skip


class ApiError(Exception):
    """An answer of the 400s or 500s in OpenAI's form."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None):
        super().__init__(message)
        self.status, self.code, self.param = status, code, param

    @property
    def body(self) -> dict:
        kind = {401: "authentication_error", 404: "not_found_error"}.get(self.status)
        kind = kind or ("invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def _error(error: ApiError) -> JSONResponse:
    headers = {"Retry-After": "1"} if error.status == 503 else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.body, error.status, headers)


# --- what a request may say --------------------------------------------------------------------------------------------


async def read_json(request: Request) -> dict:
    """The body as an object. ApiError: too large, too slow, not JSON, not an object."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > BODY_LIMIT:
                    raise ApiError(413, f"O pedido passa de {BODY_LIMIT >> 10} KB. Encurte-o.", "request_too_large")
    except TimeoutError:
        raise ApiError(408, "O corpo do pedido não chegou inteiro a tempo.", "request_timeout") from None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        message = f"O corpo do pedido não é JSON ({error}). Confira aspas, vírgulas e a codificação, que é UTF-8."
        raise ApiError(400, message, "invalid_json") from None
    if not isinstance(found, dict):
        raise ApiError(400, "O corpo do pedido deve ser um objeto JSON, entre chaves.", "invalid_json")
    return found


def number(body: dict, name: str, least: float, most: float, kind: type = float):
    """The field `name`, within its bounds; None where it is absent."""
    value = body.get(name)
    if value is None:
        return None
    fits = isinstance(value, int | float) and not isinstance(value, bool) and (kind is float or isinstance(value, int))
    if not fits or not least <= value <= most:
        what = "um inteiro" if kind is int else "um número"
        raise ApiError(400, f'"{name}" deve ser {what} de {least:g} a {most:g}.', "invalid_value", name)
    return value


def conversation(body: dict) -> list[dict]:
    """The messages, each with its text. Parts of kind "text" are joined; pictures and sounds are refused."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, '"messages" deve ser uma lista com ao menos uma mensagem.', "invalid_value", "messages")
    found = []
    for place, message in enumerate(messages):
        field = f"messages[{place}]"
        if not isinstance(message, dict) or message.get("role") not in ("system", "developer", "user", "assistant"):
            text = f'{field}: a mensagem precisa de "role": system, developer, user ou assistant.'
            raise ApiError(400, text, "invalid_value", f"{field}.role")
        found.append({"role": message["role"], "content": plain_text(message.get("content"), f"{field}.content")})
    if not any(message["content"].strip() for message in found):
        raise ApiError(400, "Todas as mensagens estão vazias: escreva uma pergunta.", "invalid_value", "messages")
    return found


def plain_text(content, field: str) -> str:
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    if not isinstance(content, str):
        raise ApiError(400, f'"{field}" deve ser um texto: este modelo só lê textos.', "invalid_value", field)
    return content.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text


def stops(body: dict) -> tuple[str, ...]:
    given = body.get("stop") or []
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or len(given) > 4 or not all(isinstance(one, str) and one for one in given):
        raise ApiError(400, '"stop" deve ser um texto, ou uma lista de até 4.', "invalid_value", "stop")
    return tuple(given)


# --- the application ---------------------------------------------------------------------------------------------------


class Service:
    """One checkpoint, behind its routes. `timeout` is what a request may take in all, in seconds, waiting included."""

    def __init__(self, checkpoint: Checkpoint, key: str, store: Feedback, batch: int, queue: int, timeout: float):
        self.checkpoint, self.key, self.store = checkpoint, key, store
        self.batch, self.queue, self.timeout = batch, queue, timeout
        self.created = int(time.time())
        self.desk: engine.Desk | None = None
        self.thread: threading.Thread | None = None

    def application(self) -> Starlette:
        routes = [Route(path, self.page) for path in PAGE_FILES]
        routes += [
            Route("/health", self.health),
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.model),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/classify", self.classify, methods=["POST"]),
            Route("/classify", self.classify, methods=["POST"]),  # where vLLM has it
            Route("/v1/feedback", self.feedback, methods=["POST"]),
        ]
        handlers = {
            ApiError: lambda request, error: _error(error),
            HTTPException: self.no_route,
            ClientDisconnect: lambda request, error: Response(status_code=499),
            Exception: self.broken,
        }
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self.lifespan)

    @contextlib.asynccontextmanager
    async def lifespan(self, _):
        self.desk = engine.Desk(asyncio.get_running_loop(), self.batch + self.queue)
        self.thread = engine.start(self.checkpoint, self.desk, self.batch)
        yield

    def no_route(self, request: Request, error: HTTPException) -> Response:
        what = f"{request.method} {request.url.path}"
        if error.status_code == 405:
            return _error(ApiError(405, f"{what}: este endereço não aceita este método.", "method_not_allowed"))
        return _error(ApiError(error.status_code, f"{what}: não há nada neste endereço.", "unknown_url"))

    def broken(self, request: Request, error: Exception) -> Response:
        traceback.print_exception(error)
        return _error(ApiError(500, "O servidor falhou neste pedido: veja o registro dele.", "internal_error"))

    def has_key(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), self.key.encode())

    def want_key(self, request: Request) -> None:
        if not self.has_key(request):
            raise ApiError(
                401, "Chave errada ou ausente. Mande o cabeçalho Authorization: Bearer CHAVE.", "invalid_api_key"
            )

    # --- what anybody may ask --------------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        return FileResponse(PAGE / PAGE_FILES[request.url.path], headers=HEADERS)

    async def health(self, request: Request) -> Response:
        """200 as long as the model's thread lives; who has the key is told how busy it is."""
        alive = self.thread.is_alive()
        report = {"status": "ok" if alive else "down"}
        if self.has_key(request):
            report |= {"model": self.checkpoint.name, "active": self.desk.active, "waiting": len(self.desk.waiting)}
        return JSONResponse(report, 200 if alive else 503)

    # --- what wants the key ----------------------------------------------------------------------------------------

    def card(self) -> dict:
        c = self.checkpoint
        entry = {"id": c.name, "object": "model", "created": self.created, "owned_by": "afina"}
        return entry | {"kind": c.kind, "context": c.context, "labels": c.labels, "about": c.about}

    async def models(self, request: Request) -> Response:
        self.want_key(request)
        return JSONResponse({"object": "list", "data": [self.card()]})

    async def model(self, request: Request) -> Response:
        self.want_key(request)
        self.check_name(request.path_params["name"])
        return JSONResponse(self.card())

    def check_name(self, name) -> None:
        if name is not None and name != self.checkpoint.name:
            message = f"Não conheço o modelo {str(name)[:100]!r}. Aqui há {self.checkpoint.name!r}."
            raise ApiError(404, message, "model_not_found", "model")

    def check_kind(self, kind: str) -> None:
        if self.checkpoint.kind != kind:
            route = {"chat": "/v1/chat/completions", "classifier": "/v1/classify"}[self.checkpoint.kind]
            does = {"chat": "conversa, não classifica", "classifier": "classifica, não conversa"}[self.checkpoint.kind]
            raise ApiError(400, f"{self.checkpoint.name} {does}. Use {route}.", "wrong_kind_of_model", "model")

    def hand_in(self, work: Line | engine.Text) -> None:
        try:
            self.desk.hand_in(work)
        except engine.Busy:
            message = f"O servidor está cheio: {self.desk.limit} pedidos por responder. Tente de novo daqui a pouco."
            raise ApiError(503, message, "server_overloaded") from None

    async def feedback(self, request: Request) -> Response:
        self.want_key(request)
        body = await read_json(request)
        known = ("messages", "answer", "model", "rating", "correction", "id")
        if strange := [name for name in body if name not in known]:
            raise ApiError(
                400, f'Não conheço o campo "{strange[0]}". Há {", ".join(known)}.', "invalid_value", strange[0]
            )
        missing = [name for name in ("messages", "answer") if name not in body]
        if missing:
            raise ApiError(400, f'Falta o campo "{missing[0]}".', "missing_field", missing[0])
        try:
            id = await asyncio.to_thread(self.store.add, **{"model": self.checkpoint.name} | body)
        except CourseError as error:
            raise ApiError(400, str(error), "invalid_value", error.where) from None
        return JSONResponse({"id": id, "object": "feedback"})

    async def classify(self, request: Request) -> Response:
        """{"input": text or list} -> {"data": [{"index", "label", "probs", "num_classes"}]}, as vLLM's /classify."""
        self.want_key(request)
        body = await read_json(request)
        self.check_name(body.get("model"))
        self.check_kind("classifier")
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or len(texts) > self.queue:
            message = f'"input" deve ser um texto, ou uma lista de 1 a {self.queue}.'
            raise ApiError(400, message, "invalid_value", "input")
        texts = [plain_text(text, f"input[{place}]") for place, text in enumerate(texts)]
        try:
            rows = await asyncio.to_thread(encode, texts, self.checkpoint.tokenizer, self.checkpoint.context)
        except CourseError as error:
            long = "tokens" in error.problem
            raise ApiError(400, str(error), "context_length_exceeded" if long else "invalid_value", "input") from None
        works = [engine.Text(text, engine.Mailbox(self.desk)) for text in texts]

        async def answers() -> list:
            for work in works:
                self.hand_in(work)
            return [await anext(engine.listen(work)) for work in works]

        try:
            found = await self.while_connected(request, answers())
        finally:
            for work in works:
                work.abandoned = True
        if found is None:
            return Response(status_code=499)
        labels = self.checkpoint.labels
        data = [
            {
                "index": i,
                "label": labels[max(range(len(row)), key=row.__getitem__)],
                "probs": row,
                "num_classes": len(row),
            }
            for i, row in enumerate(found)
        ]
        tokens = sum(len(row["input_ids"]) for row in rows)
        usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
        id = "classify-" + secrets.token_hex(12)
        head = {"id": id, "object": "list", "created": int(time.time()), "model": self.checkpoint.name}
        return JSONResponse(head | {"labels": labels, "data": data, "usage": usage})

    async def while_connected(self, request: Request, work):
        """What `work` returns, in time; None where the client left before. ApiError where the time is over."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait((task, gone), timeout=self.timeout, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if gone.done():
                return None
            raise self.late()
        finally:
            for one in (task, gone):
                one.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    def late(self) -> ApiError:
        message = f"A resposta passou de {self.timeout:g} s. Peça menos tokens, ou tente quando houver menos gente."
        return ApiError(504, message, "timeout")

    async def chat(self, request: Request) -> Response:
        self.want_key(request)
        body = await read_json(request)
        self.check_name(body.get("model"))
        self.check_kind("chat")
        for name, fine in UNSUPPORTED.items():
            if body.get(name) not in fine:
                raise ApiError(400, f'"{name}" não existe neste servidor. Retire-o do pedido.', "unsupported", name)
        turn = Turn(
            layers=(),
            messages=conversation(body),
            max_tokens=self.most_tokens(body),
            temperature=1.0 if (found := number(body, "temperature", 0, 2)) is None else found,
            top_p=1.0 if (found := number(body, "top_p", 0, 1)) is None else found,
            stop=stops(body),
            seed=number(body, "seed", -(1 << 63), (1 << 63) - 1, int),
            pieces=engine.Mailbox(self.desk),
        )
        c = self.checkpoint
        try:
            ids = await asyncio.to_thread(c.prompt_ids, turn.messages)
        except Refused as error:
            raise ApiError(400, str(error), error.code, "messages") from None
        if not ids:
            raise ApiError(400, "Não sobrou nada para o modelo ler.", "invalid_value", "messages")
        turn.prompt_tokens = len(ids)
        ends = {-1} if body.get("ignore_eos") is True else c.ends  # vLLM's, to measure answers of one length
        line = Line(c.tokenizer, turn, ids, c.context, ends)
        head = {"id": "chatcmpl-" + secrets.token_hex(12), "created": int(time.time()), "model": c.name}
        if body.get("stream"):
            options = body.get("stream_options")
            with_usage = isinstance(options, dict) and bool(options.get("include_usage"))
            self.hand_in(line)
            return _Stream(self, turn, self.events(line, head, with_usage))

        async def whole() -> str:
            self.hand_in(line)
            return "".join([piece async for piece in engine.listen(line)])

        try:
            text = await self.while_connected(request, whole())
        finally:
            turn.abandoned = True
        if text is None:
            return Response(status_code=499)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": turn.finish_reason}
        answer = head | {"object": "chat.completion", "choices": [choice | {"logprobs": None}], "usage": usage(turn)}
        return JSONResponse(answer)

    def most_tokens(self, body: dict) -> int | None:
        names = ("max_completion_tokens", "max_tokens")
        found = [number(body, name, 1, 1 << 20, int) for name in names]
        return next((one for one in found if one is not None), None)

    async def events(self, line: Line, head: dict, with_usage: bool):
        """The answer as server-sent events: a role, the pieces, how it ended, and [DONE]."""
        base = head | {"object": "chat.completion.chunk"}

        def event(delta: dict, end: str | None = None) -> bytes:
            chunk = base | {"choices": [{"index": 0, "delta": delta, "finish_reason": end, "logprobs": None}]}
            return _data(chunk | ({"usage": None} if with_usage else {}))

        yield event({"role": "assistant", "content": ""})
        async for piece in engine.listen(line):
            yield event({"content": piece})
        yield event({}, line.turn.finish_reason)
        if with_usage:
            yield _data(base | {"choices": [], "usage": usage(line.turn)})
        yield b"data: [DONE]\n\n"


class _Stream(StreamingResponse):
    """Events with one deadline for the whole answer, a reader who does not read included; errors become the last event."""

    def __init__(self, service: Service, turn: Turn, events):
        super().__init__(self.watched(events), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self.service, self.turn = service, turn
        self.deadline = asyncio.get_running_loop().time() + service.timeout

    async def watched(self, events):
        try:
            while True:
                async with asyncio.timeout_at(self.deadline):
                    event = await anext(events)
                yield event
        except StopAsyncIteration:
            return
        except TimeoutError:
            yield _data(self.service.late().body)
        except Exception as error:
            traceback.print_exception(error)
            yield _data(ApiError(500, "O modelo falhou no meio desta resposta.", "internal_error").body)

    async def __call__(self, scope, receive, send) -> None:
        try:
            async with asyncio.timeout_at(self.deadline + READ_SECONDS):
                await super().__call__(scope, receive, send)
        except TimeoutError:  # it did not read: uvicorn closes the connection
            return
        finally:
            self.turn.abandoned = True


def _data(value: dict) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def usage(turn: Turn) -> dict:
    total = turn.prompt_tokens + turn.answer_tokens
    return {"prompt_tokens": turn.prompt_tokens, "completion_tokens": turn.answer_tokens, "total_tokens": total}


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


# --- the process -------------------------------------------------------------------------------------------------------


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. CourseError: the port is taken, or the address is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with the protocol named, asyncio sends without waiting for more (TCP_NODELAY): else each answer may wait 40 ms
    door = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name != "nt":
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
    except OSError as error:
        door.close()
        raise CourseError(
            f"não consegui abrir a porta {port} ({error.strerror or error}).",
            "Use outra com --port, ou feche o programa que a ocupa.",
            where=host,
        ) from error
    return door


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m afina.serve.server")
    parser.add_argument("checkpoint")
    parser.add_argument("--base")
    parser.add_argument("--load-in-4bit", action="store_true")
    parser.add_argument("--feedback", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C in a notebook or terminal is the parent's to handle
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        door = listening(args.host, args.port)
        store = Feedback(args.feedback)
        checkpoint = load_checkpoint(args.checkpoint, args.base, args.load_in_4bit)
    except CourseError as error:
        print(json.dumps({"error": [error.problem, error.remedy, error.where]}), file=out, flush=True)
        return 2
    weights = sum(parameter.numel() for parameter in checkpoint.model.parameters())
    if args.threads or weights < SMALL:
        torch.set_num_threads(args.threads or 1)
    key = os.environ.get("AFINA_API_KEY") or "sk-afina-" + secrets.token_urlsafe(24)
    service = Service(checkpoint, key, store, args.batch, args.queue, args.timeout)
    config = uvicorn.Config(
        service.application(), lifespan="on", log_level="warning", access_log=False, server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=1, backlog=CONNECTIONS,
    )  # fmt: skip
    asyncio.run(_serve(uvicorn.Server(config), door, service, out))
    sys.stdout.flush()
    os._exit(0)  # without waiting for the model's thread


async def _serve(server: uvicorn.Server, door: socket.socket, service: Service, out) -> None:
    """Serve until the parent closes our stdin, or dies."""
    running = asyncio.ensure_future(server.serve([door]))
    while not server.started and not running.done():
        await asyncio.sleep(0.01)
    host, port = door.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    host = f"[{host}]" if ":" in host else host
    told = {"url": f"http://{host}:{port}", "api_key": service.key, "model": service.checkpoint.name}
    print(json.dumps(told | {"feedback": str(service.store.path.resolve())}), file=out, flush=True)

    def watch():
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=watch, daemon=True, name="parent").start()
    await running


if __name__ == "__main__":
    raise SystemExit(main())
