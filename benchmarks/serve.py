"""How fast does the server answer, and whom does it make wait? Writes benchmarks/results/serve.json.

    python benchmarks/serve.py [--rounds 3] [--seconds 60] [--checkpoint models/llama-base ...]

Throughput: the same prompts, greedy, the same number of tokens, answered one at a time by `generate()` in this process
(transformers' own; for the hand GPT the course's cached one too) and by the server with 1, 4, 8 and 16 clients, streaming
and not, in interleaved rounds. First token: from the request to the first piece of text, one client. Load: 16 clients that
ask without pause for --seconds; every answer must be whole. Clients, server and `generate()` share this machine's cores.
Weight: what Starlette and uvicorn take on disk.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import random
import statistics
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import torch
from common import about, save

from afina.data import shop
from afina.gpt.generate import generate as hand_generate
from afina.gpt.weights import load_gpt
from afina.runtime import course_root
from afina.serve import Server, load_checkpoint, serving

TOKENS = 48  # new tokens of each answer in the throughput rounds
CLIENTS = (1, 4, 8, 16)
ANSWERS = 64  # in each measurement


def prompts(count: int) -> list[str]:
    titles = (title for title, _ in shop.shop_products(7, "test"))
    return list(itertools.islice(titles, count))


class Client:
    """One kept-open connection: the client should cost as little as it can beside the server."""

    def __init__(self, server: Server):
        address = urllib.parse.urlsplit(server.url)
        self.server, self.wire = server, HTTPConnection(address.hostname, address.port, timeout=120)

    def ask(self, text: str, tokens: int, stream: bool, temperature: float = 0.0) -> dict:
        """{"first", "all"} in seconds, "tokens" written and "end", the reason it gave for ending."""
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": tokens, "temperature": temperature}
        body["ignore_eos"] = True  # so that every answer has the length that was asked for
        body |= {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        head = {"Authorization": f"Bearer {self.server.api_key}", "Content-Type": "application/json"}
        start = time.perf_counter()
        self.wire.request("POST", "/v1/chat/completions", json.dumps(body), head)
        answer = self.wire.getresponse()
        assert answer.status == 200, answer.read()
        if not stream:
            told = json.loads(answer.read())
            seconds = time.perf_counter() - start
            used = told["usage"]["completion_tokens"]
            return {"first": seconds, "all": seconds, "tokens": used, "end": told["choices"][0]["finish_reason"]}
        first, used, end, done = None, 0, None, False
        for line in answer:
            if not line.startswith(b"data: "):
                continue
            if line == b"data: [DONE]\n":
                done = True
                continue
            if first is None and b'"content":"' in line and b'"content":""' not in line:
                first = time.perf_counter() - start
            if b'"finish_reason":"' in line or b'"completion_tokens"' in line or b'"error"' in line:
                told = json.loads(line[6:])
                assert "error" not in told, told
                used = (told.get("usage") or {}).get("completion_tokens", used)
                end = told["choices"][0]["finish_reason"] if told["choices"] else end
        assert done and end in ("stop", "length"), (done, end)
        return {"first": first, "all": time.perf_counter() - start, "tokens": used, "end": end}


def one_at_a_time(checkpoint, texts: list[str]) -> float:
    """Tokens per second of transformers' generate()."""
    written, start = 0, time.perf_counter()
    for text in texts:
        ids = torch.tensor([checkpoint.prompts.ids([{"role": "user", "content": text}])])
        out = checkpoint.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False,
            pad_token_id=0,
        )  # fmt: skip
        written += out.shape[1] - ids.shape[1]
    return written / (time.perf_counter() - start)


def by_hand(gpt, checkpoint, texts: list[str]) -> float:
    """Tokens per second of afina.gpt.generate.generate, with its cache."""
    written, start = 0, time.perf_counter()
    for text in texts:
        ids = torch.tensor([checkpoint.prompts.ids([{"role": "user", "content": text}])])
        out = hand_generate(gpt, ids, min(TOKENS, gpt.config.context - ids.size(1)), stop=None)
        written += out.size(1) - ids.size(1)
    return written / (time.perf_counter() - start)


def crowd(server: Server, clients: int, texts: list[str], stream: bool) -> dict[str, float]:
    """Tokens per second of `clients` that share the texts, and the median time of an answer."""
    rows, queue, lock = [], iter(texts), threading.Lock()

    def work() -> None:
        client = Client(server)
        while True:
            with lock:
                text = next(queue, None)
            if text is None:
                return
            rows.append(client.ask(text, TOKENS, stream))

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(work) for _ in range(clients)]:
            done.result()
    seconds = time.perf_counter() - start
    return {
        "tokens_per_second": sum(row["tokens"] for row in rows) / seconds,
        "answer_ms": 1000 * statistics.median(row["all"] for row in rows),
        "first_ms": 1000 * statistics.median(row["first"] or row["all"] for row in rows),
    }


def load(server: Server, seconds: float, clients: int = 16) -> dict:
    """`clients` ask without pause for `seconds`, streaming, answers of 8 to 64 tokens; how many, how fast, how fair."""
    end, rows, errors = time.perf_counter() + seconds, [[] for _ in range(clients)], []
    texts = prompts(400)

    def work(number: int) -> None:
        draw, client = random.Random(number), Client(server)
        while time.perf_counter() < end:
            try:
                rows[number].append(client.ask(draw.choice(texts), draw.randint(8, 64), True, draw.choice((0.0, 0.8))))
            except Exception as error:
                errors.append(repr(error))
                client = Client(server)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, range(clients)))
    every = [row for mine in rows for row in mine]
    firsts = sorted(1000 * (row["first"] or row["all"]) for row in every)
    alls = sorted(1000 * row["all"] for row in every)
    counts = [len(mine) for mine in rows]
    return {
        "clients": clients,
        "seconds": seconds,
        "answers": len(every),
        "errors": len(errors),
        "first_errors": errors[:3],
        "tokens_per_second": round(sum(row["tokens"] for row in every) / seconds),
        "first_ms": {"median": round(statistics.median(firsts), 1), "p99": round(firsts[int(0.99 * len(firsts))], 1)},
        "answer_ms": {"median": round(statistics.median(alls), 1), "p99": round(alls[int(0.99 * len(alls))], 1)},
        "answers_by_client": {"fewest": min(counts), "most": max(counts)},
    }


def measure(path: Path, rounds: int, seconds: float) -> dict:
    checkpoint = load_checkpoint(path)
    gpt = load_gpt(path) if checkpoint.about.startswith("GPT feito") else None
    checkpoint.model.generation_config.eos_token_id = None  # every answer of TOKENS tokens, here and there
    texts = prompts(ANSWERS)
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    with serving(path, show=False) as server:
        crowd(server, 4, texts[:8], True)  # warm
        one_at_a_time(checkpoint, texts[:4])
        for _ in range(rounds):
            note("generate", one_at_a_time(checkpoint, texts[: ANSWERS // 2]))
            if gpt:
                note("generate_by_hand", by_hand(gpt, checkpoint, texts[: ANSWERS // 2]))
            for clients in CLIENTS:
                for stream in (True, False):
                    got = crowd(server, clients, texts, stream)
                    way = "stream" if stream else "whole"
                    note(f"{way}_{clients}", got["tokens_per_second"])
                    note(f"{way}_{clients}_answer_ms", got["answer_ms"])
                    note(f"{way}_{clients}_first_ms", got["first_ms"])
            first = Client(server)
            for text in texts[:20]:
                note("first_token_ms", 1000 * first.ask(text, 8, True)["first"])
            print({name: round(values[-1]) for name, values in found.items() if "_ms" not in name}, flush=True)
        heavy = load(server, seconds)
        print(heavy, flush=True)
        complaints = server.log()
    firsts = sorted(found.pop("first_token_ms"))
    rivals = ["generate", *(["generate_by_hand"] if gpt else [])]
    return {
        "tokens_per_second": {n: round(statistics.median(v)) for n, v in found.items() if "_ms" not in n},
        "tokens_per_second_each_round": {n: [round(x) for x in v] for n, v in found.items() if "_ms" not in n},
        "ms": {name: round(statistics.median(values), 1) for name, values in found.items() if "_ms" in name},
        "times_8_clients": {
            f"{way}_over_{rival}": round(
                statistics.median(a / b for a, b in zip(found[f"{way}_8"], found[rival], strict=True)), 2
            )
            for way in ("stream", "whole")
            for rival in rivals
        },
        "first_token_ms": {"median": round(statistics.median(firsts), 1), "worst": round(firsts[-1], 1)},
        "load": heavy,
        "server_log": complaints[-500:],
    }


def kilobytes(*names: str) -> int:
    files = (file for name in names for file in importlib.metadata.files(name) or [])
    return round(sum(file.locate().stat().st_size for file in files if file.locate().is_file()) / 1024)


def main() -> None:
    models = course_root() / "models"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--checkpoint", type=Path, nargs="+", default=[models / "llama-base", models / "gpt-pt"])
    args = parser.parse_args()
    torch.set_num_threads(1)  # as the server does for models this small
    taken = about("torch", "transformers", "starlette", "uvicorn")
    result = {
        **taken,
        "tokens_of_an_answer": TOKENS,
        "server_kb_on_disk": kilobytes("starlette", "uvicorn"),
        "checkpoints": {path.name: measure(path, args.rounds, args.seconds) for path in args.checkpoint},
        "load_after": os.getloadavg() if taken["load_before"] else None,
    }
    save("serve", result)
    for name, row in result["checkpoints"].items():
        print(name, row["times_8_clients"], "first token", row["first_token_ms"])


if __name__ == "__main__":
    main()
