"""Is the tuned model any good? Loss on rows it never saw, what its descriptions say, and three simple rivals."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from afina.data.clean import clean
from afina.data.lexicon import LEXICON
from afina.data.synthetic import parse_title
from afina.errors import CourseError
from afina.tune.load import for_inference
from afina.tune.rows import Row, prepare

ATTRIBUTES = ("brand", "item", "color", "material", "size", "series")  # those that a title may say
# what the tables of the lessons call the figures of `judge` and the choices of benchmarks/sft.py
NAMES: dict[str, str] = json.loads(Path(__file__).with_name("names.json").read_text(encoding="utf-8"))
_DEPARTMENTS = re.compile("|".join(re.escape(clean(name)) for name in LEXICON["en"]["departments"]))


@dataclass(frozen=True)
class Loss:
    """Mean loss of a token in nats, over `tokens` of them that count; `characters` are those they spell."""

    loss: float
    tokens: int
    characters: int
    cut: int

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss)

    @property
    def bits_per_character(self) -> float:
        """The only loss that models with different tokenizers may compare."""
        return self.loss * self.tokens / math.log(2) / self.characters


@torch.no_grad()
def held_out(model, tokenizer, rows: Sequence[Row], max_seq_length: int, answer_only: bool = True) -> Loss:
    """Loss on rows kept from training, in batches of like length. Every token weighs the same, whatever its row."""
    prepared = prepare(rows, tokenizer, max_seq_length)
    order = sorted(prepared.rows, key=lambda row: len(row["input_ids"]))
    total, tokens, characters = 0.0, 0, 0
    for_inference(model)
    step = max(1, min(32, 16_384 // max_seq_length))  # rows of a batch: so many tokens at most
    for start in range(0, len(order), step):
        batch = order[start : start + step]
        ids, seen = _padded([row["input_ids"] for row in batch], tokenizer.pad_token_id, model.device)
        wanted, _ = _padded([row["completion_mask"] for row in batch], 0, model.device)
        counts = (wanted if answer_only else seen)[:, 1:].bool()
        logits = model(input_ids=ids, attention_mask=seen).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        total += losses[counts].sum().item()
        tokens += counts.sum().item()
        counted = [row[1:][keep] for row, keep in zip(ids, counts, strict=True)]
        characters += sum(map(len, tokenizer.batch_decode(counted, skip_special_tokens=True)))
    return Loss(total / tokens, tokens, characters, prepared.cut)


def _padded(rows: list[list[int]], fill: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), both (rows, longest), filled on the right."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [fill] * (width - len(row)) for row in rows], device=device)
    return ids, torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)


@torch.no_grad()
def generate(
    model, tokenizer, prompts: Sequence[str], max_new_tokens: int = 160, batch_size: int = 32, streamer=None
) -> list[str]:
    """The model's continuation of each prompt, always its most probable token, up to the end token or `max_new_tokens`.

    An answer that did end is followed by the end token's text, so that it can be told; `finished` parts the two.
    """
    for_inference(model)
    out = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # prompts of like length share a batch
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        batch = tokenizer([prompts[i] for i in places], return_tensors="pt", padding=True, padding_side="left")
        batch = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
        ids = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False, streamer=streamer)
        for i, row in zip(places, ids[:, batch["input_ids"].shape[1] :].tolist(), strict=True):
            end = row.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in row else None
            text = tokenizer.decode(row[:end], skip_special_tokens=True)
            out[i] = text + (tokenizer.eos_token if end is not None else "")
    return out


def finished(text: str, eos_token: str) -> tuple[str, bool]:
    """(the answer without its end token, whether it had one)."""
    return text.removesuffix(eos_token), text.endswith(eos_token)


def says(title: str, text: str) -> dict[str, bool]:
    """For each attribute that `title` says, whether `text` says it too; whether it names the item's category; "invented",
    whether it claims an attribute of which the title says nothing.

    CourseError for a title of another shop, which nobody here can judge.
    """
    wanted, found = parse_title(title), parse_title(text)
    if wanted is None:
        raise CourseError("não reconheço o produto deste título.", "Use títulos do catálogo do curso.", where=title)
    right = {name: getattr(found, name, "") == getattr(wanted, name) for name in ATTRIBUTES if getattr(wanted, name)}
    without = _DEPARTMENTS.sub(" ", text)  # "Watches" in "Jewelry Watches" is not the category
    right["category"] = re.search(rf"(?<!\w){re.escape(clean(wanted.category))}(?!\w)", without) is not None
    right["invented"] = any(getattr(found, name, "") and not getattr(wanted, name) for name in ATTRIBUTES)
    return right


def judge(titles: Sequence[str], texts: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Shares right: of each attribute, of all attributes together, of the category, and of texts with all of it right ("all").

    Then the share of texts with something "invented", and "chrf", 0 to 100, the likeness in letters with `references`
    (Popović, 2015, as sacrebleu computes it). A rival may win one of these; "all" asks for everything.
    """
    from sacrebleu import corpus_chrf

    verdicts = [says(title, text) for title, text in zip(titles, texts, strict=True)]
    scores = {}
    for name in (*ATTRIBUTES, "category", "invented"):
        if known := [verdict[name] for verdict in verdicts if name in verdict]:
            scores[name] = sum(known) / len(known)
    every = [verdict[name] for verdict in verdicts for name in ATTRIBUTES if name in verdict]
    scores["attributes"] = sum(every) / len(every)
    right = [all(verdict[name] for name in verdict if name != "invented") for verdict in verdicts]
    scores["all"] = sum(right) / len(right)
    scores["chrf"] = corpus_chrf(list(texts), [list(references)]).score
    return scores


def nearest_descriptions(titles: Sequence[str], known: Sequence[tuple[str, str]]) -> list[str]:
    """The description of the most similar of the `known` (title, description) pairs: TF-IDF of words, cosine."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.neighbors import NearestNeighbors

    words = TfidfVectorizer(token_pattern=r"\S+")
    index = NearestNeighbors(n_neighbors=1, metric="cosine").fit(words.fit_transform([title for title, _ in known]))
    nearest = index.kneighbors(words.transform(titles), return_distance=False)[:, 0]
    return [known[i][1] for i in nearest]


def template_descriptions(titles: Sequence[str]) -> list[str]:
    """No learning at all: the title, framed by sentences that suit any product."""
    return [f"This is the {title}. It is made for people who use their things every day." for title in titles]


def benchmark_means(tables: Mapping, part: str, columns: Sequence[str]):
    """One part of data/sft_tables.json as a DataFrame: a row a choice, the mean of each column over the seeds."""
    import pandas as pd

    choices = pd.DataFrame(tables["summary"][part]).T
    return choices[list(columns)].map(lambda figures: figures["mean"]).astype(float)
