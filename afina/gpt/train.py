"""Pretraining: windows of text, the loop (forward, loss, backward, update), its diary, its checkpoints."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from afina.errors import CourseError, require
from afina.gpt.loader import Windows, pack, pad, ribbon
from afina.gpt.model import GPT, check_sizes, next_token_loss
from afina.gpt.tokenizer import Tokenizer
from afina.gpt.weights import fill, read_tensors, write_tensors
from afina.runtime import SEED


def windows(tokenizer: Tokenizer, texts: list[str], context: int) -> Windows:
    """The documents, one after the other, cut into windows."""
    return Windows(ribbon([tokenizer.encode(text) for text in texts], tokenizer.end), context)


def whole_documents(tokenizer: Tokenizer, texts: list[str], context: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Rows of `context` tokens that hold whole documents: each row begins where a document does."""
    require(texts, "não há nenhum texto.", "O corpus está vazio: confira o arquivo.", where="whole_documents")
    rows = pack([[*tokenizer.encode(text), tokenizer.end] for text in texts], context)
    return list(zip(*pad([[tokenizer.end, *row] for row in rows], tokenizer.end), strict=True))


@dataclass(frozen=True)
class Recipe:
    """How to train. Steps are updates; `warmup` of them climb to `learning_rate`, the rest come down to a tenth of it."""

    steps: int
    batch_size: int = 16
    learning_rate: float = 3e-3
    warmup: int = 50
    weight_decay: float = 0.1
    clip: float = 1.0
    evaluate_every: int = 50
    precision: str = "fp32"
    seed: int = SEED

    def __post_init__(self):
        check_sizes(self, "steps", "batch_size", "evaluate_every")


def learning_rate_at(step: int, recipe: Recipe) -> float:
    """Warm-up in a straight line, then half a cosine down to a tenth (Loshchilov and Hutter, 2016)."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * (0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2)


def make_optimizer(model: GPT, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2017). Only matrices decay: a bias or a norm has nothing to unlearn."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)


def batch_of(step: int, rows: Sequence, recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """(inputs, targets), each (batch, tokens), of this step. Every pass over the rows has an order of its own.

    Nothing is remembered from the step before, so a run that continues draws what the killed one would have drawn.
    """
    a_pass, place = divmod(step, max(1, len(rows) // recipe.batch_size))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(recipe.seed + a_pass))
    chosen = order[place * recipe.batch_size : (place + 1) * recipe.batch_size].tolist()
    inputs, targets = zip(*(rows[number] for number in chosen), strict=True)
    return torch.stack(inputs), torch.stack(targets)


@torch.no_grad()
def evaluate(model: GPT, rows: Sequence, batch_size: int = 32) -> float:
    """Mean loss of one token over all rows, in nats. CourseError where no token counts."""
    was_training, device = model.training, model.tokens.weight.device
    model.eval()
    total = count = 0
    for start in range(0, len(rows), batch_size):
        some = [rows[number] for number in range(start, min(start + batch_size, len(rows)))]
        inputs, targets = (torch.stack(column).to(device) for column in zip(*some, strict=True))
        counted = int((targets != -100).sum())
        total += next_token_loss(model(inputs), targets).item() * counted
        count += counted
    model.train(was_training)
    require(count, "não há nenhum token em que medir a perda.", "Dê ao menos uma linha.", where="evaluate")
    return total / count


def train(
    model: GPT, rows: Sequence, validation: Sequence, recipe: Recipe, checkpoint: Path | None = None
) -> Iterator[dict[str, float]]:
    """Train `model` where it stands; gives the diary, one entry a step, while it goes: `list(train(...))` runs it all.

    `rows` and `validation` hold pairs (inputs, targets) of equal length. Every `evaluate_every` steps, and at the end,
    the entry has a "validation_loss" and, where asked, `checkpoint` is written; if it exists, the run continues there.
    """
    if not len(rows) or not len(validation):
        raise CourseError("não há nenhuma janela de texto.", "O corpus está vazio ou é curto demais.", where="train")
    device = model.tokens.weight.device
    optimizer = make_optimizer(model, recipe)
    saved = checkpoint is not None and checkpoint.exists()
    start = load_checkpoint(checkpoint, model, optimizer, recipe) if saved else 0
    for step in range(start, recipe.steps):
        torch.manual_seed(recipe.seed + step)  # dropout, too, must be the same in a run that continues
        model.train()
        inputs, targets = (part.to(device) for part in batch_of(step, rows, recipe))
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = next_token_loss(model(inputs), targets)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        rate = learning_rate_at(step, recipe)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        entry = {"step": step + 1, "loss": loss.item(), "learning_rate": rate, "gradient": norm.item()}
        if (step + 1) % recipe.evaluate_every == 0 or step + 1 == recipe.steps:
            entry["validation_loss"] = evaluate(model, validation)
            if checkpoint:
                save_checkpoint(checkpoint, model, optimizer, step + 1, recipe)
        yield entry


def _run(model: GPT, recipe: Recipe) -> dict[str, str]:
    """What must agree for a checkpoint to belong to a run."""
    return {name: str(value) for name, value in (asdict(model.config) | asdict(recipe)).items()}


def save_checkpoint(path: Path, model: GPT, optimizer: torch.optim.Optimizer, step: int, recipe: Recipe) -> None:
    """Weights, the optimizer's moments, the step and the recipe, in one safetensors file."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
    write_tensors(tensors, path, _run(model, recipe) | {"step": str(step)})


def load_checkpoint(path: Path, model: GPT, optimizer: torch.optim.Optimizer, recipe: Recipe) -> int:
    """Put model and optimizer back where the checkpoint left them; returns the steps done.

    CourseError, with both as they were, for another run's checkpoint and for one with a part missing.
    """
    tensors, written = read_tensors(path)
    step = written.pop("step", None)
    for name, value in _run(model, recipe).items():
        was = written.get(name, "desconhecido")
        problem = f"o ponto salvo é de outra corrida: {name} era {was}, agora é {value}."
        require(was == value, problem, "Apague o arquivo para começar de novo, ou volte à receita dele.", where=path)
    learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {f"optimizer.{n}.{part}": p.shape for n, p in enumerate(learning) for part in ("exp_avg", "exp_avg_sq")}
    if step is None or any(name not in tensors or tensors[name].shape != shape for name, shape in moments.items()):
        raise CourseError("o ponto salvo está incompleto.", "Apague o arquivo para começar de novo.", where=path)
    fill(model, {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}, path)
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, part = name.split(".")
            state.setdefault(int(number), {})[part] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(step)
