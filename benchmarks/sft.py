"""What each choice of lesson 14 is worth, over seeds. Writes benchmarks/results/sft.json and the short data/sft_tables.json.

    python benchmarks/sft.py [--seeds 3] [--steps 80] [--part methods] …

All runs start from models/llama-base, take the same number of steps of 8 rows and differ in one thing from "qlora_words", the
lesson's own settings (NF4 base, adapter of rank 16 on every matrix, a trained copy of the embeddings). Seeds are interleaved:
every seed goes through all choices before the next one. Each choice is judged on the same validation products, never seen:
loss per answer token, and what 40 written descriptions say. Parts: methods (full, LoRA, QLoRA, QLoRA with embeddings),
loss (answer only or everything), packing, rows (random, stratified, longest), split (duplicates on both sides or not).

Peak memory is sampled in a process of its own that loads and trains five steps, less what it used before it loaded: the median
of five processes, as two of them differ by tens of MB.
One thread throughout. A part given alone replaces its own figures and keeps the others.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import multiprocessing
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence

import psutil
import torch
from common import about, read, save

from afina.data.rows import prepare as prepare_block
from afina.runtime import course_root
from afina.tune import evaluate, sft
from afina.tune.sft import ALPACA, INSTRUCTION, LoraSettings, TrainSettings

TABLES = course_root() / "data" / "sft_tables.json"
BASE = course_root() / "models" / "llama-base"
FITS = 160  # tokens
WORDS = LoraSettings(r=16, alpha=16, modules_to_save=("embed_tokens",))
PLAIN = LoraSettings(r=16, alpha=16)
# (4 bits, adapter, learning rate). Rates come from a few trial runs each, not from a search: 2e-2 with a larger alpha diverged.
METHODS = {
    "full": (False, None, 4e-3),
    "lora": (False, PLAIN, 1e-2),
    "qlora": (True, PLAIN, 1e-2),
    "qlora_words": (True, WORDS, 5e-3),
}
PARTS = ("methods", "loss", "packing", "rows", "split", "memory")


def pairs() -> dict[str, list[tuple[str, str]]]:
    """{split: (title, description)} of data/amazon_sample.json.gz, cleaned, exact duplicates out."""
    with gzip.open(course_root() / "data" / "amazon_sample.json.gz") as file:
        table = prepare_block(file.read())
    out, seen = {}, set()
    for row, split, key in zip(table.rows, table.split, table.key, strict=True):
        if key not in seen:
            seen.add(key)
            out.setdefault(split, []).append((row.title, row.content))
    return out


def as_rows(products) -> list[dict[str, str]]:
    return [{"prompt": ALPACA.format(INSTRUCTION, title, ""), "completion": text} for title, text in products]


def run(method: str, products, seed: int, args, held_out, **changes) -> dict:
    """Train one model and judge it; figures only."""
    four_bits, lora, rate = METHODS[method]
    model, tokenizer = sft.load_for_sft(BASE, 256, four_bits, lora, seed=seed)
    settings = TrainSettings(
        **{
            "batch_size": 8,
            "accumulation": 1,
            "learning_rate": rate,
            "warmup_steps": 10,
            "schedule": "cosine",
            "max_grad_norm": 1.0,
            "max_steps": args.steps,
            "epochs": 1,
            "seed": seed,
            **changes,
        }
    )
    start = time.process_time()
    trained = sft.train(model, tokenizer, as_rows(products), settings)
    seconds = time.process_time() - start
    test = as_rows(held_out)
    loss = evaluate.held_out(model, tokenizer, test, 256)
    some = held_out[:40]
    said = evaluate.generate(model, tokenizer, [row["prompt"] for row in test[:40]], 200)
    texts, ended = zip(*(evaluate.finished(text, tokenizer.eos_token) for text in said), strict=True)
    scores = evaluate.judge([title for title, _ in some], texts, [text for _, text in some])
    learn, every = sft.trainable(model)
    return {
        "seed": seed,
        "held_out_loss": round(loss.loss, 4),
        **{name: round(scores[name], 4) for name in ("attributes", "category", "all", "invented", "chrf")},
        "ended": round(statistics.mean(ended), 4),
        "cpu_seconds": round(seconds, 1),
        "tokens": trained.tokens,
        "cut": trained.prepared.cut,
        "last_training_loss": round(statistics.mean(trained.losses[-10:]), 4),
        "trainable": learn,
        "weights": every,
        "bytes": sft.training_bytes(model),
    }


def duplicates(args, seed: int) -> dict:
    """The same number of test rows with and without a twin in training: what a split that leaks lets a model look like."""
    products = pairs()["train"]
    draw = random.Random(seed)
    draw.shuffle(products)
    known, fresh = products[:150], products[150:250]
    model, tokenizer = sft.load_for_sft(BASE, 256, False, None, seed=seed)
    settings = TrainSettings(
        batch_size=8, accumulation=1, learning_rate=4e-3, schedule="cosine", max_grad_norm=1.0, epochs=6, seed=seed
    )
    trained = sft.train(model, tokenizer, as_rows(known), settings)
    seen = evaluate.held_out(model, tokenizer, as_rows(known[:100]), 256).loss
    unseen = evaluate.held_out(model, tokenizer, as_rows(fresh), 256).loss
    return {
        "seed": seed,
        "training_loss": round(statistics.mean(trained.losses[-10:]), 4),
        "twin_in_training": round(seen, 4),
        "never_seen": round(unseen, 4),
    }


def peak(method: str) -> float:
    """MB of resident memory, sampled every 2 ms, that loading and five steps add to a process with its libraries in place."""
    torch.set_num_threads(1)
    four_bits, lora, rate = METHODS[method]
    settings = TrainSettings(batch_size=8, accumulation=1, learning_rate=rate, max_steps=1)
    rows = as_rows(pairs()["train"][:200])
    warm, tokenizer = sft.load_for_sft(BASE, 256, True, PLAIN)
    sft.train(warm, tokenizer, rows[:1], TrainSettings(**{**vars(settings), "batch_size": 1}))
    del warm
    gc.collect()
    process, seen, over = psutil.Process(), [], threading.Event()

    def watch():
        while not over.wait(0.002):
            seen.append(process.memory_info().rss)

    before = process.memory_info().rss
    watcher = threading.Thread(target=watch)
    watcher.start()
    model, tokenizer = sft.load_for_sft(BASE, 256, four_bits, lora)
    sft.train(model, tokenizer, rows, TrainSettings(**{**vars(settings), "max_steps": 5}))
    over.set()
    watcher.join()
    return round((max(seen) - before) / 1e6, 1)


def summary(runs: list[dict]) -> dict:
    """Mean and spread of each figure over the seeds."""
    numbers = [name for name, value in runs[0].items() if isinstance(value, int | float) and name != "seed"]
    return {name: {"mean": round(statistics.mean(r[name] for r in runs), 4), "min": min(r[name] for r in runs),
                   "max": max(r[name] for r in runs)} for name in numbers}  # fmt: skip


def one_seed(
    args, parts: Sequence[str], seed: int, products: dict, short: list, held_out: list, note: Callable
) -> None:
    """All choices of the parts that were asked for, on the rows that this seed draws."""
    n = 8 * args.steps
    draw = random.Random(seed)
    drawn = draw.sample(short, min(len(short), 4 * n))
    reference = None
    if {"methods", "loss", "packing"} & set(parts):
        reference = run("qlora_words", drawn[:n], seed, args, held_out)
    if "methods" in parts:
        for method in METHODS:
            same = method == "qlora_words"
            note("methods", method, reference if same else run(method, drawn[:n], seed, args, held_out))
    if "loss" in parts:
        note("loss", "answer", reference)
        note("loss", "everything", run("qlora_words", drawn[:n], seed, args, held_out, answer_only=False))
    if "packing" in parts:  # by tokens: a packed step holds more rows, so fewer steps read the same ones
        note("packing", "off", reference)
        packed = run("qlora_words", drawn[:n], seed, args, held_out, packing=True, batch_size=4, max_steps=-1)
        note("packing", "on", packed)
    if "rows" in parts:
        lengths = [len(text) for _, text in products["train"]]
        for how in ("random", "stratified", "longest"):
            chosen = [products["train"][i] for i in sft.choose(lengths, n, how, seed)]
            note("rows", how, run("qlora_words", chosen, seed, args, products["validation"][:80]))
    if "split" in parts:
        note("split", "random", duplicates(args, seed))


def memory(result: dict) -> None:
    """Put the peaks of each method, and their median, into `result`."""
    context = multiprocessing.get_context("spawn")
    result["peak_mb"], result["peaks_mb"] = {}, {}
    for method in METHODS:
        peaks = []
        for _ in range(5):
            with context.Pool(1) as pool:
                peaks.append(pool.apply(peak, (method,)))
        result["peak_mb"][method] = statistics.median(peaks)
        result["peaks_mb"][method] = peaks
        print("memory", method, result["peak_mb"][method], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--part", choices=PARTS, action="append", help="only these (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    taken = about("torch", "transformers", "trl", "peft", "bitsandbytes")
    products = pairs()
    tokenizer = sft.load_base(BASE)[1]

    def fits(rows):
        lengths = tokenizer([row["prompt"] + row["completion"] for row in as_rows(rows)])["input_ids"]
        return [row for row, ids in zip(rows, lengths, strict=True) if len(ids) < FITS]

    short, held_out = fits(products["train"]), fits(products["validation"])[:80]
    parts = args.part or PARTS
    result = read("sft") or {"runs": {}}
    runs = {part: {} for part in parts if part != "memory"}

    def note(part: str, name: str, figures: dict) -> None:
        runs[part].setdefault(name, []).append(figures)
        print(part, name, figures, flush=True)

    for seed in range(args.seeds):
        one_seed(args, parts, seed, products, short, held_out, note)
    if "memory" in parts:
        memory(result)
    result["runs"] |= runs
    if "memory" in parts:
        result["peak_date"] = taken["date"]
    if not runs:  # memory alone leaves the day and the load of the runs as they were
        for name in ("date", "load_before", "busy_before"):
            del taken[name]
    result |= {
        **taken,
        "threads": torch.get_num_threads(),
        "seeds": args.seeds,
        "steps": args.steps,
        "summary": {part: {k: summary(v) for k, v in by.items()} for part, by in result["runs"].items()},
    }
    save("sft", result, indent=1)
    tables = {key: result[key] for key in ("date", "seeds", "steps", "summary") if key in result}
    TABLES.write_text(json.dumps({**tables, "peak_mb": result.get("peak_mb")}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
