"""What `afina train` is asked to do: lesson 09, 13 or 14 with the settings of a YAML file."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from afina.errors import CourseError
from afina.runtime import SEED


@dataclass(frozen=True)
class GPTJob:
    """Lesson 09: pretrain a GPT by hand on text documents. Steps, context and rows are counts; a row is `context` tokens."""

    out: str = "build/train_gpt"
    corpus: str = "data/prose_train.txt.gz"
    validation: str = "data/prose_validation.txt.gz"
    validation_rows: int = 256
    tokenizer: str = "models/gpt-pt/tokenizer.json"
    context: int = 64
    d_model: int = 96
    n_heads: int = 4
    n_layers: int = 3
    dropout: float = 0.0
    steps: int = 400
    batch_size: int = 16
    learning_rate: float = 4e-3
    warmup: int = 50
    save_every: int = 50  # steps; the validation loss is measured then too
    seed: int = SEED


@dataclass(frozen=True)
class BertJob:
    """Lesson 13: tune a BERT into a classifier of reviews."""

    out: str = "build/train_bert"
    model: str = "models/bert-pt"
    epochs: float = 3.0
    examples: int = 0  # of the training split; 0: all
    batch_size: int = 32
    learning_rate: float = 1e-3
    save_every: int = 50
    seed: int = SEED


@dataclass(frozen=True)
class SftJob:
    """Lesson 14: an adapter on a Llama that describes products. `data` is a shard of `afina prep`, or a catalogue to prepare."""

    out: str = "build/train_sft"
    model: str = "models/llama-base"
    data: str = "data/amazon_sample.json.gz"
    rows: int = 2400
    max_seq_length: int = 160
    load_in_4bit: bool = True
    rank: int = 16
    alpha: int = 16
    train_embeddings: bool = True
    epochs: float = 1.0
    max_steps: int = -1
    batch_size: int = 8
    accumulation: int = 1
    learning_rate: float = 5e-3
    warmup_steps: int = 10
    save_every: int = 20
    seed: int = SEED


JOBS = {"gpt": GPTJob, "bert": BertJob, "sft": SftJob}
Job = GPTJob | BertJob | SftJob
_LEAST = {"max_steps": -1} | dict.fromkeys(
    ("warmup", "warmup_steps", "seed", "examples", "dropout", "learning_rate", "epochs"), 0
)
_NAMES = {"int": "um inteiro", "float": "um número", "bool": "true ou false", "str": "um texto"}


def read_job(kind: str, path: str | Path | None = None) -> Job:
    """The job that a YAML file asks for; what it leaves out is as in the lesson. CourseError names every bad key at once."""
    kinds = {field.name: str(field.type) for field in fields(JOBS[kind])}
    if path is None:
        return JOBS[kind]()
    path = Path(path)
    if not path.is_file():
        raise CourseError("não há este arquivo.", f"O do curso é train/{kind}.yaml.", where=path)
    try:
        asked = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f"{path}, linha {place.line + 1}" if place else path
        raise CourseError("não é YAML.", 'Escreva uma chave por linha, como "steps: 400".', where=where) from error
    if not isinstance(asked, dict):
        raise CourseError("não há chaves neste arquivo.", 'Escreva uma por linha, como "steps: 400".', where=path)
    given = {key: _typed(value, kinds[key]) for key, value in asked.items() if key in kinds}
    if problems := [said for key, value in asked.items() if (said := _problem(key, value, kinds.get(key), given))]:
        raise CourseError("; ".join(problems) + ".", f"As chaves de {kind} são {', '.join(kinds)}.", where=path)
    return JOBS[kind](**given)


def _problem(key: str, value: object, kind: str | None, given: dict) -> str:
    if kind is None:
        return f'a chave "{key}" não existe'
    if given[key] is None:
        return f"{key} é {value!r}, e precisa ser {_NAMES[kind]}"
    least = _LEAST.get(key, 1)
    return f"{key} é {value!r}, e começa em {least}" if kind in ("int", "float") and given[key] < least else ""


def _typed(value: object, kind: str) -> object:
    """`value` as `kind`, or None. YAML reads 5e-3 as text; whoever writes it means the number."""
    if kind == "float" and isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    if kind == "float" and type(value) is int:
        return float(value)
    return value if type(value).__name__ == kind else None
