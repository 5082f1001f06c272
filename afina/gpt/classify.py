"""A GPT that classifies: its last vector of a text goes through a new head, one score a class.

Spam or not, in Portuguese: lesson 11. A causal model has read the whole text only at its last token, so the head reads
there; rows are padded at the right, and the padding, which comes later, cannot be seen.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from afina.errors import CourseError, require
from afina.gpt.lora import LoRASettings, add_lora, count_weights
from afina.gpt.model import GPT
from afina.gpt.tokenizer import Tokenizer
from afina.gpt.train import Recipe, learning_rate_at, make_optimizer
from afina.runtime import SEED, progress, read_split

NAMES = ("normal", "spam")
MODES = ("head", "last block", "all", "LoRA")
Examples = tuple[list[str], list[int]]  # texts and classes, 0 or 1


def read_messages(split: str) -> Examples:
    """(texts, classes) of one split of data/messages.jsonl.gz: train, validation or test. The class is 1 for spam."""
    rows = read_split("messages", split, "São train, validation e test.")
    return [row["text"] for row in rows], [NAMES.index(row["label"]) for row in rows]


class Classifier(nn.Module):
    """A GPT without its word head and with one of `classes` scores, read at each row's last real token."""

    def __init__(self, gpt: GPT, classes: int = 2, seed: int = SEED):
        super().__init__()
        self.gpt = gpt
        self.head = nn.Linear(gpt.config.d_model, classes)
        nn.init.normal_(self.head.weight, std=0.02, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(batch, tokens) padded at the right, and each row's real tokens (batch,) -> logits (batch, classes)."""
        hidden = self.gpt.hidden(ids)
        rows = torch.arange(len(ids), device=ids.device)
        return self.head(hidden[rows, lengths - 1])


def encode_texts(texts: Sequence[str], tokenizer: Tokenizer, context: int) -> list[list[int]]:
    """One row a text: the end token, after which every document of the pretraining began, and the text's own.

    CourseError for an empty text and for one that does not fit in the context: cutting it would hide its end.
    """
    rows = []
    for number, text in enumerate(texts, 1):
        where = f"texto {number}"
        require(text and text.strip(), "o texto está vazio.", "Retire a linha, ou complete-a.", where)
        row = [tokenizer.end, *tokenizer.encode(text)]
        require(len(row) <= context, f"são {len(row)} tokens, e o modelo lê até {context}.", "Encurte-o.", where)
        rows.append(row)
    return rows


def make_batch(rows: Sequence[list[int]], filler: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids (batch, longest), lengths (batch,)): filled at the right."""
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=filler)
    return ids, torch.tensor([len(row) for row in rows])


def choose_what_learns(model: Classifier, mode: str, lora: LoRASettings | None = None) -> tuple[int, int]:
    """Freeze for one of MODES, in place; the head always learns. Returns (weights that learn, all weights)."""
    model.requires_grad_(False)
    if mode == "last block":
        model.gpt.blocks[-1].requires_grad_(True)
        model.gpt.norm.requires_grad_(True)
    elif mode == "all":
        model.gpt.requires_grad_(True)
    elif mode == "LoRA":
        add_lora(model.gpt, lora or LoRASettings())
    elif mode != "head":
        raise CourseError(f"não conheço o modo {mode!r}.", f"São {', '.join(MODES)}.", where="choose_what_learns")
    model.head.requires_grad_(True)
    return count_weights(model)


def freeze_first(model: Classifier, layers: int) -> tuple[int, int]:
    """Freeze the tables and the first `layers` blocks, in place. Returns (weights that learn, all weights)."""
    blocks, n = model.gpt.blocks, len(model.gpt.blocks)
    require(0 <= layers <= n, f"o modelo tem {n} blocos.", f"Congele de 0 a {n}.", where="freeze_first")
    for part in (model.gpt.tokens, model.gpt.positions, *blocks[:layers]):
        part.requires_grad_(False)
    return count_weights(model)


def epoch_of(rows: Sequence[list[int]], batch_size: int, seed: int) -> list[list[int]]:
    """The numbers of the rows in batches, all once, in an order of the seed's; rows of like length share a batch."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    pool = 10 * batch_size
    pools = (sorted(order[start : start + pool], key=lambda i: len(rows[i])) for start in range(0, len(order), pool))
    ordered = [i for some in pools for i in some]
    cut = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
    return [cut[i] for i in torch.randperm(len(cut), generator=torch.Generator().manual_seed(seed + 1)).tolist()]


def check_classes(examples: Examples, classes: int) -> None:
    """CourseError for nothing to learn from: no text, a class without a column, a single class."""
    texts, labels = examples
    n, m = len(texts), len(labels)
    require(n == m, f"há {n} textos e {m} classes.", "Dê uma a cada texto.", where="dados")
    for i, label in enumerate(labels, 1):
        require(label in range(classes), f"a classe {label!r} não existe.", f"Use de 0 a {classes - 1}.", f"texto {i}")
    remedy = "Um classificador aprende diferenças: dê exemplos de duas ou mais."
    require(len(set(labels)) > 1, "os exemplos são todos da mesma classe, ou não há nenhum.", remedy, where="dados")


def fine_tune(
    model: Classifier, tokenizer: Tokenizer, train: Examples, validation: Examples | None, recipe: Recipe
) -> list[dict[str, float]]:
    """Train what learns in `model`, in place. Returns the diary, one entry a step, as in `afina.gpt.train.train`.

    Every `evaluate_every` steps and at the end the entry has "validation_loss", the mean cross-entropy of `validation`.
    """
    classes, device = model.head.out_features, model.head.weight.device
    check_classes(train, classes)
    rows, labels = encode_texts(train[0], tokenizer, model.gpt.config.context), torch.tensor(train[1])
    optimizer = make_optimizer(model, recipe)
    diary: list[dict[str, float]] = []
    batches: list[list[int]] = []
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for step in progress(range(recipe.steps), desc="ajuste"):
        batches = batches or epoch_of(rows, recipe.batch_size, recipe.seed + step)
        chosen = batches.pop()
        torch.manual_seed(recipe.seed + step)
        model.train()
        ids, lengths = make_batch([rows[i] for i in chosen], tokenizer.end)
        loss = F.cross_entropy(model(ids.to(device), lengths.to(device)), labels[chosen].to(device))
        loss.backward()
        nn.utils.clip_grad_norm_(learning, recipe.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, recipe)
        optimizer.step()
        optimizer.zero_grad()
        diary.append({"step": step + 1, "loss": loss.item()})
        if validation and ((step + 1) % recipe.evaluate_every == 0 or step + 1 == recipe.steps):
            chances = predict(model, tokenizer, validation[0])[range(len(validation[1])), validation[1]]
            diary[-1]["validation_loss"] = float(-np.log(np.maximum(chances, 1e-12)).mean())
    model.eval()
    return diary


@torch.no_grad()
def predict(model: Classifier, tokenizer: Tokenizer, texts: Sequence[str], batch_size: int = 100) -> np.ndarray:
    """The chance of each class, (texts, classes), in float64; each row adds up to 1."""
    model.eval()
    device = model.head.weight.device
    rows = encode_texts(texts, tokenizer, model.gpt.config.context)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # less padding to compute
    out = np.zeros((len(rows), model.head.out_features))
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        ids, lengths = make_batch([rows[i] for i in some], tokenizer.end)
        out[some] = model(ids.to(device), lengths.to(device)).double().softmax(-1).cpu().numpy()
    return out


def measure(truth: Sequence[int], chances: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """Accuracy and F1 at a threshold, and average precision, which needs none. `chances` (texts,) are of class 1."""
    truth, said = np.asarray(truth), np.asarray(chances) >= threshold
    return {
        "accuracy": float((truth == said).mean()),
        "f1": float(f1_score(truth, said, zero_division=0)),
        "average_precision": float(average_precision_score(truth, chances)),
    }


def best_threshold(truth: Sequence[int], chances: np.ndarray) -> float:
    """The threshold of the highest F1: choose it on validation, never on the test."""
    precision, recall, thresholds = precision_recall_curve(truth, chances)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[f1[:-1].argmax()])


def reliability(truth: Sequence[int], chances: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """For each band of chance that is not empty: the mean chance said, how often it was true, and how many texts."""
    truth, chances = np.asarray(truth), np.asarray(chances)
    band = np.minimum((chances * bins).astype(int), bins - 1)
    each = [(chances[band == b], truth[band == b]) for b in np.unique(band)]
    return [{"said": float(said.mean()), "true": float(true.mean()), "count": len(said)} for said, true in each]


def expected_calibration_error(truth: Sequence[int], chances: np.ndarray, bins: int = 10) -> float:
    """Mean gap between what was said and what was true, weighted by texts (Naeini et al., 2015); 0 is honest."""
    return sum(row["count"] * abs(row["said"] - row["true"]) for row in reliability(truth, chances, bins)) / len(truth)
