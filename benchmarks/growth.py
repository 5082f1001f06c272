"""How does the time of each main path grow with its size? Writes benchmarks/results/growth.json.

    python benchmarks/growth.py [--rounds 5] [--paths prep validate train_step serve bpe grade]

Each path at three sizes or more, in interleaved rounds, the order turned round every other one; the time of a size is the median
of its rounds. The exponent is the slope of log time over log size, by least squares on the medians, with its standard error:
1 is linear, 2 quadratic. At three or four points that error says how straight the line is as well as how noisy the clock was.

prep         lines of a catalogue through `afina prep`, a fresh process each, its start included
validate     lines of chat examples through `afina validate`, a fresh process each, imports not counted
train_step   one update of the hand GPT (benchmarks/gpt.py's) against the length of a sequence, always 8 sequences: the tokens of
             a step grow with the length. Beside it, the share of the step that attention's quadratic term takes at each length, from
             seconds = linear x length + quadratic x length squared, fitted without a constant
serve        clients that ask at once, 4 answers of 48 tokens each: time until the last one has its answers
bpe          bytes of made-up words, nearly all different, through the hand-written `train_bpe`, 1,024 tokens: its worst case. Beside it,
             the exponent of its operations: pieces rewritten by all the merges, counted
grade        submissions of task 01, two at a time

One thread, but for prep and grade, which use two processes.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import itertools
import math
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from common import about, read, save
from scipy.stats import linregress

Timed = Callable[[int], float]  # size -> seconds


@contextlib.contextmanager
def prep(folder: Path, sizes: list[int]) -> Iterator[Timed]:
    from data_prep import catalogue, measure

    with gzip.open(catalogue(folder, max(sizes))) as file:
        every = file.readlines()
    sources = {lines: folder / f"{lines}.json.gz" for lines in sizes}
    for lines, source in sources.items():
        source.write_bytes(gzip.compress(b"".join(every[:lines]), compresslevel=1))

    def once(lines: int) -> float:
        sources[lines].read_bytes()  # the file is in the system's cache
        try:
            return measure("afina", sources[lines], folder / "out")["wall_s"]
        finally:
            shutil.rmtree(folder / "out")

    yield once


@contextlib.contextmanager
def validate(folder: Path, sizes: list[int]) -> Iterator[Timed]:
    from validator import make_file, measure

    for lines in sizes:
        make_file(folder / f"{lines}.jsonl", lines=lines)
    yield lambda lines: measure("afina", folder / f"{lines}.jsonl")["wall_s"]


@contextlib.contextmanager
def train_step(folder: Path, sizes: list[int]) -> Iterator[Timed]:
    import torch
    from gpt import CONFIG, ours, train_seconds

    from afina.gpt.model import GPT

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = GPT(type(CONFIG)(**vars(CONFIG) | {"context": max(sizes)}))
    steps, sequences = 3, 8

    def once(length: int) -> float:
        batches = list(torch.randint(CONFIG.vocab_size, (steps, sequences, length + 1)))
        train_seconds(model, ours, batches[:1])
        return train_seconds(model, ours, batches)[0] / steps

    yield once


@contextlib.contextmanager
def serve(folder: Path, sizes: list[int]) -> Iterator[Timed]:
    import torch
    from serve import crowd, prompts

    from afina.runtime import course_root
    from afina.serve import serving

    torch.set_num_threads(1)
    each = 4
    texts = prompts(each * max(sizes))
    with serving(course_root() / "models" / "llama-base", show=False) as server:
        crowd(server, 4, texts[:16], True)  # warm

        def once(clients: int) -> float:
            start = time.perf_counter()
            crowd(server, clients, texts[: each * clients], True)
            return time.perf_counter() - start

        yield once


@contextlib.contextmanager
def bpe(folder: Path, sizes: list[int]) -> Iterator[Timed]:
    from afina.gpt.tokenizer import train_bpe

    parts = made_up_words(sizes)

    def once(size: int) -> float:
        start = time.perf_counter()
        train_bpe(parts[size], 1024)
        return time.perf_counter() - start

    yield once


def made_up_words(sizes: list[int]) -> dict[int, list[str]]:
    from bpe import corpora

    words = corpora()["made_up"]
    ends = list(itertools.accumulate(len(text.encode()) for text in words))
    return {size: words[: 1 + next(i for i, end in enumerate(ends) if end >= size)] for size in sizes}


def bpe_operations(sizes: list[int]) -> list[int]:
    """Pieces that all the merges rewrite at each size, and those that are counted once at the start."""
    from afina.gpt import tokenizer

    plain, rewritten = tokenizer.replace_pair, []

    def counted(best, new, words, times, counts, where):
        rewritten[-1] += len(where[best])
        return plain(best, new, words, times, counts, where)

    tokenizer.replace_pair = counted
    try:
        for texts in made_up_words(sizes).values():
            rewritten.append(len(tokenizer.count_pieces(texts, 1024, 0)))
            tokenizer.train_bpe(texts, 1024)
    finally:
        tokenizer.replace_pair = plain
    return rewritten


@contextlib.contextmanager
def grade(folder: Path, sizes: list[int]) -> Iterator[Timed]:
    import nbformat

    from workshop.grade import grade_folder
    from workshop.tasks import solution, tasks

    (task,) = tasks(wanted=["t01"])
    for size in sizes:
        (folder / str(size)).mkdir()
        for number in range(size):
            nbformat.write(solution(task), str(folder / str(size) / f"student-{number:02d}.ipynb"))

    def once(size: int) -> float:
        start = time.perf_counter()
        results = grade_folder(folder / str(size), [task], 2)
        seconds = time.perf_counter() - start
        assert len(results) == size and all(result.points == 10 for result in results)
        return seconds

    yield once


# path: (what sizes are, the sizes, the most rounds it needs)
PATHS = {
    "prep": (prep, "lines", [100_000, 200_000, 400_000], 5),
    "validate": (validate, "lines", [50_000, 100_000, 200_000, 400_000], 5),
    "train_step": (train_step, "tokens of a sequence", [64, 128, 256, 512], 9),
    "serve": (serve, "clients", [1, 2, 4, 8, 16], 5),
    "bpe": (bpe, "bytes", [125_000, 250_000, 500_000, 1_000_000], 3),
    "grade": (grade, "submissions", [2, 4, 8], 2),
}


def fit(sizes: list[int], seconds: list[float]) -> dict[str, float]:
    """The slope in log-log and its standard error."""
    line = linregress([math.log(size) for size in sizes], [math.log(value) for value in seconds])
    return {"exponent": round(float(line.slope), 3), "standard_error": round(float(line.stderr), 3)}


def quadratic_share(sizes: list[int], seconds: list[float]) -> list[float]:
    """Share of the time at each size that the quadratic term takes, in seconds = a x size + b x size², each point of equal weight.

    No term is below zero: where the clock was noisier than the term is large, its share is 0.
    """
    per_unit = linregress(sizes, [value / size for size, value in zip(sizes, seconds, strict=True)])  # a + b x size
    return [
        round(float(max(0.0, per_unit.slope) * size**2 / value), 3) for size, value in zip(sizes, seconds, strict=True)
    ]


def grow(name: str, rounds: int) -> dict:
    path, unit, sizes, most = PATHS[name]
    seen: dict[int, list[float]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory() as folder, path(Path(folder), sizes) as once:
        once(sizes[0])  # warm-up
        for number in range(min(rounds, most) if rounds else most):
            for size in sizes[:: 1 if number % 2 == 0 else -1]:
                seen[size].append(once(size))
    seconds = [statistics.median(values) for values in seen.values()]
    result = {
        "size": unit,
        "points": [
            {"size": size, "seconds": round(middle, 4), "each_round": [round(value, 4) for value in seen[size]]}
            for size, middle in zip(sizes, seconds, strict=True)
        ],
        **fit(sizes, seconds),
    }
    if name == "train_step":
        result["quadratic_share"] = quadratic_share(sizes, seconds)
    if name == "bpe":
        result["operations"] = fit(sizes, bpe_operations(sizes))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="no more than these of each path (default: what each path needs)")
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    args = parser.parse_args()
    os.environ["AFINA_PROGRESS"] = "0"
    taken = about("torch", "msgspec", "starlette")
    when = {name: taken[name] for name in ("date", "busy_before")}  # of each path, since one may be renewed alone
    result = read("growth") | taken
    for name in args.paths:
        result[name] = when | grow(name, args.rounds)
        print(f"{name:<11}{result[name]['exponent']:.2f} ± {result[name]['standard_error']:.2f}", flush=True)
    save("growth", result)


if __name__ == "__main__":
    main()
