"""Which way of tuning a GPT classifies best, and what does pretraining bring? Writes benchmarks/results/classify.json.

    python benchmarks/classify.py [--seeds 5]

Lesson 11 runs each once; here is every one of them over several seeds, which draw the head, the order of the rows, LoRA's
A, the random weights and the few labels. The same steps, batch and rates as the lesson, on the same data.

spam: TF-IDF against the four modes and the freezing of the first blocks, on bodies that the training texts do not have.
labels: 50, 200 and 1,000 labels; TF-IDF, gpt-pt and the same GPT from random weights.
adjectives: reviews whose adjectives no label shows; the same three.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from common import about, save
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from afina.gpt.classify import Classifier, choose_what_learns, fine_tune, freeze_first, measure, predict, read_messages
from afina.gpt.lora import LoRASettings
from afina.gpt.model import GPT
from afina.gpt.tokenizer import load_tokenizer
from afina.gpt.train import Recipe
from afina.gpt.weights import load_gpt
from afina.runtime import course_root
from afina.tune.bert import SENTIMENTS, read_reviews

BASE = course_root() / "models" / "gpt-pt"
RATES = {"head": 3e-2, "last block": 1e-3, "all": 5e-4, "LoRA": 2e-3}
LABELS = (50, 200, 1000)


def classifier(seed: int, classes: int = 2, pretrained: bool = True) -> Classifier:
    gpt = load_gpt(BASE)
    if not pretrained:
        torch.manual_seed(seed)
        gpt = GPT(gpt.config)
    return Classifier(gpt, classes, seed)


def tfidf_of(examples):
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10, max_iter=2000))
    return model.fit(*examples)


def few(examples, n: int, seed: int):
    chosen = torch.randperm(len(examples[0]), generator=torch.Generator().manual_seed(seed))[:n].tolist()
    return [examples[0][i] for i in chosen], [examples[1][i] for i in chosen]


def spam(tokenizer, train, test, seed: int):
    """One row for each way of tuning."""
    ways = {**{mode: (mode, None, rate) for mode, rate in RATES.items()}, "two blocks frozen": (None, 2, 1e-3)}
    for name, (mode, frozen, rate) in ways.items():
        model = classifier(seed)
        weights, _ = choose_what_learns(model, mode, LoRASettings(seed=seed)) if mode else freeze_first(model, frozen)
        start = time.perf_counter()
        fine_tune(model, tokenizer, train, None, Recipe(120, 32, rate, 10, seed=seed))
        seconds = time.perf_counter() - start
        scores = measure(test[1], predict(model, tokenizer, test[0])[:, 1])
        yield {"model": name, "seed": seed, **scores, "seconds": seconds, "weights": weights}


def few_labels(tokenizer, train, test, seed: int):
    """One row for each model and number of labels."""
    for n in LABELS:
        some = few(train, n, seed)
        yield {
            "model": "TF-IDF",
            "labels": n,
            "seed": seed,
            **measure(test[1], tfidf_of(some).predict_proba(test[0])[:, 1]),
        }
        for name, pretrained in (("gpt-pt", True), ("random", False)):
            model = classifier(seed, pretrained=pretrained)
            fine_tune(model, tokenizer, some, None, Recipe(60, 16, 5e-4, 10, seed=seed))
            scores = measure(test[1], predict(model, tokenizer, test[0])[:, 1])
            yield {"model": name, "labels": n, "seed": seed, **scores}


def adjectives(tokenizer, train, test, seed: int):
    """One row for each model: accuracy on adjectives that no label shows."""
    for name, pretrained in (("gpt-pt", True), ("random", False)):
        model = classifier(seed, 3, pretrained)
        fine_tune(model, tokenizer, train, None, Recipe(120, 32, 1e-3, 10, seed=seed))
        right = predict(model, tokenizer, test[0]).argmax(1) == np.array(test[1])
        yield {"model": name, "seed": seed, "accuracy": float(right.mean())}


def numbered(split: str):
    texts, labels = read_reviews(split)
    return texts, [SENTIMENTS.index(label) for label in labels]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    taken = about("torch", "scikit-learn")
    tokenizer = load_tokenizer(BASE / "tokenizer.json")
    messages = read_messages("train"), read_messages("test")
    reviews = numbered("train"), numbered("test_adjectives")
    by_words = measure(messages[1][1], tfidf_of(messages[0]).predict_proba(messages[1][0])[:, 1])
    found = {
        "spam": [{"model": "TF-IDF", "seed": seed, **by_words} for seed in range(args.seeds)],
        "labels": [],
        "adjectives": [{"model": "TF-IDF", "seed": 0, "accuracy": tfidf_of(reviews[0]).score(*reviews[1])}],
    }
    for seed in range(args.seeds):
        found["spam"] += spam(tokenizer, *messages, seed)
        found["labels"] += few_labels(tokenizer, *messages, seed)
        found["adjectives"] += adjectives(tokenizer, *reviews, seed)
        print("seed", seed, flush=True)
    result = {
        **taken,
        "threads": torch.get_num_threads(),
        **found,
    }
    save("classify", result)
    for model in dict.fromkeys(row["model"] for row in found["spam"]):
        f1 = [row["f1"] for row in found["spam"] if row["model"] == model]
        print(f"{model:<18} F1 {statistics.mean(f1):.3f}, from {min(f1):.3f} to {max(f1):.3f}")


if __name__ == "__main__":
    main()
