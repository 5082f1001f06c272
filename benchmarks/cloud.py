"""How long do the twins make a student wait? Writes benchmarks/results/cloud.json.

    python benchmarks/cloud.py [--rounds 3]

Start: from `local_cloud()` to the first answer, each time a new process. Job: from `jobs.create` to `succeeded` for 60
examples and 3 epochs on models/llama-base, with a twin just started (its training process imports everything) and with
one that has trained before. Beside it, in the same interleaved rounds, the same rows trained by `afina.tune.sft` in a
fresh Python process: what the twin adds is the difference. Crowd: 100 chats and 100 uploads at once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import psutil
from common import about, save

from afina.cloud import local_cloud
from afina.runtime import course_root

MODEL = "gpt-4.1-mini"
EXAMPLES, EPOCHS = 60, 3
DIRECT = """
import os, sys
os.environ.update(AFINA_PROFILE="cpu", AFINA_PROGRESS="0", HF_HUB_OFFLINE="1")
from pathlib import Path
import torch
torch.set_num_threads(1)
from afina.cloud.train import RANK, SFT_UNIT, read_rows
from afina.tune.load import LoraSettings, load_for_sft
from afina.tune.sft import TrainSettings, train
base, file, out = sys.argv[1:4]
model, tokenizer = load_for_sft(base, 512, False, LoraSettings(r=RANK, alpha=RANK))
rows = read_rows(Path(file), "openai-chat", tokenizer)
settings = TrainSettings(epochs=3, batch_size=4, accumulation=1, warmup_steps=0, optimizer="adamw_torch",
                         learning_rate=2 * SFT_UNIT, max_seq_length=512, sampling="random")
train(model, tokenizer, rows, settings)
model.save_pretrained(out)
"""


def timed(what) -> float:
    start = time.perf_counter()
    what()
    return round(time.perf_counter() - start, 2)


def start() -> float:
    def first_answer():
        cloud = local_cloud(show=False)
        openai.OpenAI().models.list()
        clouds.append(cloud)

    clouds = []
    seconds = timed(first_answer)
    loaded = psutil.Process(clouds[0].process.pid).memory_info().rss >> 20
    clouds[0].close()
    assert loaded < 150, f"{loaded} MB: torch was loaded"
    return seconds


def job(client: openai.OpenAI, file: str) -> float:
    def run():
        method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": EPOCHS}}}
        made = client.fine_tuning.jobs.create(model=MODEL, training_file=file, seed=7, method=method)
        while (now := client.fine_tuning.jobs.retrieve(made.id)).status in ("validating_files", "queued", "running"):
            time.sleep(0.1)
        assert now.status == "succeeded", now.error

    return timed(run)


def crowd(client: openai.OpenAI) -> float:
    def one(number: int) -> None:
        if number % 2:
            ask = [{"role": "user", "content": f"Describe product {number}"}]
            assert client.chat.completions.create(model=MODEL, messages=ask, max_tokens=20, temperature=0).choices
        else:
            text = f"file {number}".encode()
            file = client.files.create(file=(f"{number}.jsonl", text), purpose="fine-tune")
            assert client.files.content(file.id).read() == text

    with ThreadPoolExecutor(200) as pool:
        return timed(lambda: list(pool.map(one, range(200))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    taken = about("torch", "transformers", "trl", "openai", "moto")
    lines = (course_root() / "data" / "train.jsonl").read_bytes().splitlines(keepends=True)[:EXAMPLES]
    times = {"start": [], "job_first": [], "job_next": [], "direct": [], "crowd": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        path.write_bytes(b"".join(lines))
        command = [sys.executable, "-c", DIRECT, str(course_root() / "models" / "llama-base"), str(path), folder]
        for number in range(args.rounds):

            def direct():
                times["direct"].append(timed(lambda: subprocess.run(command, check=True, capture_output=True)))

            if number % 2:  # neither always runs first
                direct()
            times["start"].append(start())
            with local_cloud(show=False):
                client = openai.OpenAI(max_retries=0, timeout=600)
                file = client.files.create(file=path, purpose="fine-tune").id
                times["job_first"].append(job(client, file))
                times["job_next"].append(job(client, file))
                client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}], max_tokens=1)
                times["crowd"].append(crowd(client))
            if not number % 2:
                direct()
            print({name: values[-1] for name, values in times.items()}, flush=True)
    pairs = [ours / theirs for ours, theirs in zip(times["job_first"], times["direct"], strict=True)]
    result = {
        **taken,
        "load_after": os.getloadavg() if taken["load_before"] else None,
        "examples": EXAMPLES,
        "epochs": EPOCHS,
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "seconds_each_round": times,
        "times_direct": round(statistics.median(pairs), 2),
        "times_direct_each_round": [round(pair, 2) for pair in pairs],
    }
    save("cloud", result)
    print(result["seconds"], f"first job / direct: {result['times_direct']} times")


if __name__ == "__main__":
    main()
