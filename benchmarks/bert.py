"""Does padding to the longest of the batch pay, and does pretraining? Writes benchmarks/results/bert.json.

    python benchmarks/bert.py [--rounds 3] [--epochs 3]

Speed. Two roads tune the same models/bert-pt on the same reviews, in interleaved rounds, one seed a round: ours (dynamic padding,
length grouping) and a plain Trainer (random order, every batch padded to the model's maximum of 64 tokens). The seconds are
those of `Trainer.train()`, without evaluation. The accuracy is that of validation and of both tests: it must be the same
within noise, so each seed's stands beside it.

Ordering. With the same seeds: TF-IDF of words and pairs, the same BERT from random weights (eight epochs), and "ours".
One thread throughout: a model this small gains nothing from a second one, and the figures do not hang on who else works.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from common import about, save
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from transformers import BertConfig, BertTokenizerFast

from afina.runtime import course_root
from afina.tune.bert import accuracy, classifier, fine_tune, read_reviews

SPLITS = ("validation", "test_templates", "test_adjectives")
MAXIMUM = 64
ROADS = {"ours": {"sampling": "group_by_length"}, "plain": {"sampling": "random", "pad_to": MAXIMUM}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    source = course_root() / "models" / "bert-pt"
    tokenizer = BertTokenizerFast.from_pretrained(source)
    train = read_reviews("train")
    held_out = {split: read_reviews(split) for split in SPLITS}
    taken = about("torch", "transformers", "accelerate")
    warm_up = tuple(column[:640] for column in train)
    fine_tune(classifier(source), tokenizer, warm_up, epochs=1)
    runs = {road: [] for road in ROADS}
    for seed in range(args.rounds):
        for road in list(ROADS)[:: 1 if seed % 2 == 0 else -1]:  # neither always runs first
            model = classifier(source, seed=seed)
            tuned = fine_tune(model, tokenizer, train, epochs=args.epochs, seed=seed, **ROADS[road])
            scores = {split: round(accuracy(model, tokenizer, rows), 4) for split, rows in held_out.items()}
            runs[road].append({"seed": seed, "samples_per_second": round(tuned.samples_per_second, 1), **scores})
            print(road, runs[road][-1], flush=True)
    tfidf = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10, max_iter=2000)).fit(*train)
    ordering = []
    for seed in range(args.rounds):
        ordering.append({"model": "tfidf", "seed": seed, **{s: tfidf.score(*rows) for s, rows in held_out.items()}})
        model = classifier(BertConfig.from_pretrained(source), seed=seed)
        fine_tune(model, tokenizer, train, epochs=8, seed=seed)
        ordering.append(
            {"model": "random", "seed": seed, **{s: accuracy(model, tokenizer, rows) for s, rows in held_out.items()}}
        )
        ordering.append({"model": "pretrained", "seed": seed, **{s: runs["ours"][seed][s] for s in SPLITS}})
        print(*ordering[-3:], sep="\n", flush=True)
    medians = {road: statistics.median(run["samples_per_second"] for run in rows) for road, rows in runs.items()}
    by_round = zip(runs["ours"], runs["plain"], strict=True)
    pairs = [ours["samples_per_second"] / plain["samples_per_second"] for ours, plain in by_round]
    means = {
        road: {split: round(statistics.mean(run[split] for run in rows), 4) for split in SPLITS}
        for road, rows in runs.items()
    }
    result = {
        **taken,
        "threads": torch.get_num_threads(),
        "examples": len(train[0]),
        "epochs": args.epochs,
        "fixed_tokens": MAXIMUM,
        "samples_per_second": medians,
        "times_plain": round(statistics.median(pairs), 2),
        "times_plain_each_round": [round(pair, 2) for pair in pairs],
        "mean_accuracy": means,
        "runs": runs,
        "ordering": ordering,
    }
    save("bert", result)
    print(f"ours / plain: {result['times_plain']} times; accuracy {means}")


if __name__ == "__main__":
    main()
