"""Any checkpoint of the course behind an OpenAI-compatible API, with a chat page in Portuguese and a feedback store.

    afina serve models/llama-base                        # in a terminal, until Ctrl+C: prints the page's address and the key
    afina feedback export --out build/feedback           # what people said on the page, as chat JSONL and as DPO pairs

    from afina.serve import serving, load_checkpoint
    with serving("build/14_adaptador") as server:        # one child process on 127.0.0.1, a free port, a random key
        server.url                                       # "http://127.0.0.1:PORT": the page; also /health
        server.base_url, server.api_key                  # for openai.OpenAI(base_url=…, api_key=…); base_url ends in /v1
        server.client()                                  # that client, ready
        server.page                                      # the page's address with the key in its fragment
        server.feedback                                  # Path of the SQLite file where the page's feedback goes

    serving(checkpoint, *, base=None, load_in_4bit=False, feedback=None, batch=16, queue=64, timeout=60.0, threads=None,
            host="127.0.0.1", port=0, show=True)
      `checkpoint`: folder of a hand GPT, of a Llama (base, merged, or only its adapter), of a BERT classifier; a hand LoRA
      file of lesson 10 with base=…; on a GPU also a hub name. `base` overrides where an adapter looks for its base.
      `feedback`: SQLite file (default build/serve/feedback.sqlite). `batch`: answered together; `queue`: may wait beyond
      them; `timeout`: seconds for a request in all. The key is AFINA_API_KEY where that is set.

    checkpoint = load_checkpoint(path, base=None, load_in_4bit=False)    # what the server loads, in this process
      .name .kind ("chat" | "classifier") .model .tokenizer .context .labels .prompt_ids(messages)
    save_chat_gpt(model, tokenizer, folder)    # a hand GPT tuned in lesson 12, with the chat template of its prompts

    from afina.serve.feedback import Feedback
    store = Feedback(path)
    store.add(messages=[{"role": "user", "content": "…"}], answer="…", model="…", rating="up" | "down" | None,
              correction="…" | None, id=None) -> id      # the same id again updates the row: thumbs first, correction later
    store.rows() -> list[dict]                           # id, created, updated, model, messages, answer, rating, correction
    store.export(folder) -> Export                       # writes chat.jsonl and dpo.jsonl, each checked by afina.jsonl.validate
      .chat .pairs (Paths, or None where there was nothing to write) .counts (read, chat, pairs, and what was left out, why)
      .reports (one Report a file) .ok

API: GET /v1/models, POST /v1/chat/completions (stream or not), POST /v1/classify for a classifier (vLLM's /classify form),
POST /v1/feedback, GET /health; errors as {"error": {"message", "type", "code", "param"}}, messages in Portuguese.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from afina.errors import CourseError

if TYPE_CHECKING:
    from openai import OpenAI

__all__ = ["Server", "load_checkpoint", "save_chat_gpt", "serving"]


def __getattr__(name: str):
    if name in ("load_checkpoint", "save_chat_gpt"):  # with torch and transformers: only for who loads in this process
        from afina.serve import checkpoint

        return getattr(checkpoint, name)
    raise AttributeError(name)


class Server:
    """A running server. `close()`, or the end of its `with` block or of this process, ends it."""

    def __init__(self, process: subprocess.Popen, told: dict[str, str], log):
        self.process, self._log = process, log
        self.url, self.api_key, self.model = told["url"], told["api_key"], told["model"]
        self.base_url = f"{self.url}/v1"
        self.page = f"{self.url}/#key={self.api_key}"
        self.feedback = Path(told["feedback"])

    def __repr__(self) -> str:
        return f"Server({self.model}, {self.url})"

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def client(self, **options) -> OpenAI:
        """The official client, pointed here; `options` are its own."""
        from openai import OpenAI

        return OpenAI(base_url=self.base_url, api_key=self.api_key, **options)

    def log(self) -> str:
        """What the server wrote of things that went wrong."""
        self._log.seek(0)
        return self._log.read()

    def close(self) -> None:
        """End the server; a second call does nothing."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        self._log.close()


def serving(
    checkpoint: str | Path,
    *,
    base: str | Path | None = None,
    load_in_4bit: bool = False,
    feedback: str | Path | None = None,
    batch: int = 16,
    queue: int = 64,
    timeout: float = 60.0,
    threads: int | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    show: bool = True,
) -> Server:
    """Start a child process that serves `checkpoint`, and wait until it answers. The module's own text says what each is.

    CourseError: what `load_checkpoint` refuses, a port that is taken, a feedback file that is none.
    """
    for name, value, least in (("batch", batch, 1), ("queue", queue, 1), ("timeout", timeout, 0.1), ("port", port, 0)):
        if not value >= least:
            raise CourseError(f"{name} é {value!r}.", f"Use {least} ou mais.", where="serve")
    command = [sys.executable, "-m", "afina.serve.server", str(checkpoint), "--host", host, "--port", str(port)]
    command += ["--batch", str(batch), "--queue", str(queue), "--timeout", str(timeout)]
    for flag, value in (("--base", base), ("--feedback", feedback), ("--threads", threads)):
        if value is not None:
            command += [flag, str(value)]
    if load_in_4bit:
        command.append("--load-in-4bit")
    log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  lives as long as the server
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8"
    )
    told = json.loads(process.stdout.readline() or "{}")
    if "url" not in told:
        process.communicate()
        if "error" in told:
            log.close()
            raise CourseError(*told["error"])
        log.seek(0)
        complaint = log.read().strip().splitlines()
        log.close()
        reason = complaint[-1] if complaint else "sem explicação"
        raise CourseError(f"o servidor não subiu ({reason}).", "Confira a instalação com `afina doctor`.", checkpoint)
    server = Server(process, told, log)
    if show:
        print(f"{server.model} em {server.url}")
    return server


def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def main(argv: list[str]) -> int:
    """`afina serve`: a checkpoint in a terminal, until Ctrl+C."""
    parser = argparse.ArgumentParser(
        prog="afina serve", description="Serve um checkpoint do curso: API como a da OpenAI e página de conversa."
    )
    parser.add_argument("checkpoint", help="pasta do modelo, do adaptador ou do classificador")
    parser.add_argument("--base", help="a base de um adaptador, onde a nota dele não serve")
    parser.add_argument("--load-in-4bit", action="store_true", help="pesos em 4 bits (NF4)")
    parser.add_argument("--feedback", type=Path, help="onde guardar as opiniões (padrão: build/serve/feedback.sqlite)")
    parser.add_argument("--host", default="127.0.0.1", help="endereço (padrão: só esta máquina)")
    parser.add_argument("--port", type=int, default=8000, help="porta (padrão: 8000; 0 escolhe uma livre)")
    parser.add_argument("--batch", type=int, default=16, help="respostas escritas juntas (padrão: 16)")
    parser.add_argument("--queue", type=int, default=64, help="pedidos que podem esperar (padrão: 64)")
    parser.add_argument("--timeout", type=float, default=60.0, help="segundos por pedido (padrão: 60)")
    parser.add_argument("--threads", type=int, help="núcleos para o modelo (padrão: 1 para os pequenos)")
    options = vars(parser.parse_args(argv))
    print("Carregando o modelo…", flush=True)
    with serving(options.pop("checkpoint"), show=False, **options) as server:
        print(f"Página: {server.page}")
        print(f"API:    {server.base_url}   (chave: {server.api_key})")
        print(f"Opiniões em {os.path.relpath(server.feedback)}; Ctrl+C encerra.")
        if not _is_loopback(options["host"]):
            print(
                "Atenção: outras máquinas alcançam este endereço, e a conversa vai sem cifra. Ponha um proxy com TLS na frente."
            )
        sys.stdout.flush()
        try:
            server.process.wait()
        except KeyboardInterrupt:
            print("\nEncerrado.")
    return 0
