"""What `afina train` is asked to do: lesson 09, 13 or 14 with the settings of a YAML file."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from afina.errors import CourseError, require
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
_FROM_ZERO = ("warmup", "warmup_steps", "seed", "examples", "dropout", "learning_rate", "epochs")
_NAMES: dict[type, str] = {int: "um inteiro", float: "um número", bool: "true ou false", str: "um texto"}


def read_job(kind: str, path: str | Path | None = None) -> Job:
    """The job that a YAML file asks for; what it leaves out is as in the lesson. CourseError names every bad key at once."""
    if path is None:
        return JOBS[kind]()
    require(Path(path).is_file(), "não há este arquivo.", f"O do curso é train/{kind}.yaml.", path)
    remedy = 'Escreva uma chave por linha, como "steps: 400".'
    try:
        asked = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        raise CourseError("não é YAML.", remedy, f"{path}, linha {place.line + 1}" if place else path) from error
    require(isinstance(asked, dict), "não há chaves neste arquivo.", remedy, path)
    kinds = get_type_hints(JOBS[kind])
    read = {key: _read(key, value, kinds.get(key)) for key, value in asked.items()}
    problems = "; ".join(problem for _, problem in read.values() if problem)
    require(not problems, f"{problems}.", f"As chaves de {kind} são {', '.join(kinds)}.", path)
    return JOBS[kind](**{key: value for key, (value, _) in read.items()})


def _read(key: str, value: Any, kind: type | None) -> tuple[Any, str]:
    """(the value as `kind`, what is wrong with it). YAML reads 5e-3 as text; whoever writes it means the number."""
    if kind is None:
        return value, f'a chave "{key}" não existe'
    written = isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value)
    given = float(value) if kind is float and (type(value) is int or written) else value
    if type(given) is not kind:
        return given, f"{key} é {value!r}, e precisa ser {_NAMES[kind]}"
    least = -1 if key == "max_steps" else int(key not in _FROM_ZERO)
    low = kind is not bool and isinstance(given, int | float) and given < least
    return given, f"{key} é {value!r}, e começa em {least}" if low else ""
