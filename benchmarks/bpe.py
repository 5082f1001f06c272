"""How slow is BPE by hand? Writes benchmarks/results/bpe.json.

    python benchmarks/bpe.py [--rounds 5]

Our `train_bpe` and the Rust trainer of `tokenizers` learn from the same 1 MB of text, with the same settings, in
interleaved rounds: Portuguese prose, English product descriptions, and made-up words, nearly all of them different, which
is the worst case for us because every piece has to be merged by itself. Before a figure counts, merges must be equal. Then both
encode that text with the same vocabulary. `tokenizers` uses as many threads as it likes, ours one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import time

import tokenizers
from common import about, save

from afina.data.rows import prepare
from afina.gpt.loader import read_documents
from afina.gpt.tokenizer import END, split, train_bpe, visible
from afina.runtime import course_root

MEGABYTE = 1_000_000
VOCABULARIES = (1024, 4096)


def one_megabyte(texts: list[str]) -> list[str]:
    """The first texts that make up 1 MB of UTF-8."""
    kept, size = [], 0
    for text in texts:
        if size >= MEGABYTE:
            break
        kept.append(text)
        size += len(text.encode())
    return kept


def corpora() -> dict[str, list[str]]:
    data = course_root() / "data"
    rng = random.Random(42)
    letters = "aaaeeeooiiusrntdmclpvgh"
    words = (" ".join("".join(rng.choices(letters, k=rng.randint(2, 11))) for _ in range(40)) for _ in range(9000))
    english = [row.content for row in prepare(gzip.decompress((data / "amazon_sample.json.gz").read_bytes())).rows]
    return {
        "portuguese": one_megabyte(read_documents(data / "prose_train.txt.gz")),
        "english": one_megabyte(english),
        "made_up": one_megabyte(list(words)),
    }


def train_library(texts: list[str], vocab_size: int) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def timed(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def same_merges(ours, library) -> bool:
    names = [visible(token) for token in ours.tokens]
    theirs = json.loads(library.to_str())["model"]["merges"]
    return theirs == [[names[left], names[right]] for left, right in ours.merges]


def compare(texts: list[str], vocab_size: int, rounds: int) -> dict:
    train_times, encode_times = {"ours": [], "tokenizers": []}, {"ours": [], "tokenizers": []}
    for turn in range(rounds):
        learned = {}
        for engine in ("ours", "tokenizers") if turn % 2 == 0 else ("tokenizers", "ours"):
            train = train_bpe if engine == "ours" else train_library
            seconds, learned[engine] = timed(lambda train=train: train(texts, vocab_size))
            train_times[engine].append(seconds)
        ours, library = learned["ours"], learned["tokenizers"]
        seconds, ids = timed(lambda ours=ours: [ours.encode(text) for text in texts])
        encode_times["ours"].append(seconds)
        seconds, encoded = timed(lambda library=library: library.encode_batch(texts))
        encode_times["tokenizers"].append(seconds)
        if not same_merges(ours, library) or ids != [each.ids for each in encoded]:
            raise SystemExit("the two tokenizers differ: no figure counts")
    return {
        "asked": vocab_size,
        "tokens": len(ours),
        "pieces": len({piece for text in texts for piece in split(text)}),
        "train": ratios(train_times),
        "encode": ratios(encode_times),
    }


def ratios(times: dict[str, list[float]]) -> dict:
    """Medians in seconds and the ratio of ours to the library's, round by round."""
    pairs = [ours / theirs for ours, theirs in zip(times["ours"], times["tokenizers"], strict=True)]
    medians = {engine: round(statistics.median(each), 3) for engine, each in times.items()}
    return {
        "seconds": medians,
        "times_tokenizers": round(statistics.median(pairs), 2),
        "each_round": [round(p, 2) for p in pairs],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    taken = about("tokenizers", "regex")
    texts_of, rows = corpora(), {}
    train_library(texts_of["portuguese"], 300)  # warm-up: threads and caches of the library
    for name, texts in texts_of.items():
        rows[name] = [compare(texts, size, args.rounds) for size in VOCABULARIES]
        for row in rows[name]:
            print(name, row, flush=True)
    result = {
        **taken,
        "bytes": {name: sum(len(text.encode()) for text in texts) for name, texts in texts_of.items()},
        "corpora": rows,
        "worst_training_ratio": max(row["train"]["times_tokenizers"] for each in rows.values() for row in each),
    }
    save("bpe", result)
    print(f"training, ours / tokenizers: {result['worst_training_ratio']} times at worst")


if __name__ == "__main__":
    main()
