"""BERT with the library's own classes: a WordPiece tokenizer, pretraining by masked words, and fine-tuning a classifier.

Each function is one step of lesson 13. On `cpu` the pretrained encoder is the course's own, `models/bert-pt`; on `gpu` the
same calls take BERTimbau.

Source: Devlin et al. (2019), "BERT", arXiv 1810.04805.
"""

import json
import os
import random
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer
from torch.utils.data import DataLoader
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertTokenizerFast,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    PreTrainedModel,
)

from afina import compat, whole
from afina.data.lexicon import SENTIMENTS
from afina.errors import CourseError, require
from afina.ptbr import decimal
from afina.runtime import SEED, course_root, read_split
from afina.tune.measure import trainable
from afina.tune.quiet import captured_log
from afina.tune.rows import refuse_rows
from afina.tune.trainer import machine_arguments, run_from_last

with compat.no_kernel_warning():
    from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments, get_scheduler

VOCABULARY = 2_000
# A BERT of half a million weights. The library's initial spread, 0.02, is meant for 768 columns; 128 learn faster from
# 0.06. No dropout: so small a model does not memorise this much text.
SIZES = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "max_position_embeddings": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.06,
}
Examples = tuple[Sequence[str], Sequence[str]]  # texts and their labels


def read_reviews(split: str) -> Examples:
    """(texts, labels) of one split of data/reviews.jsonl.gz; the labels of `unlabelled` are None."""
    rows = read_split("reviews", split, "Veja as divisões em data/README.md.")
    return [row["text"] for row in rows], [row["label"] for row in rows]


def check_examples(
    texts: Sequence[str], labels: Sequence[str] | None = None, names: Sequence[str] = SENTIMENTS
) -> None:
    """Raise a CourseError that lists every empty text and every label outside `names`, or says that one class is alone."""
    problems = [f"linha {i}: o texto está vazio" for i, text in enumerate(texts, 1) if not text or not text.strip()]
    if labels is not None:
        if len(labels) != len(texts):
            problems.append(f"há {len(texts)} textos e {len(labels)} rótulos")
        known = ", ".join(names)
        wrong = ((i, label) for i, label in enumerate(labels, 1) if label not in names)
        problems += [f'linha {i}: o rótulo "{label}" não está entre {known}' for i, label in wrong]
    refuse_rows(problems, "Conserte ou retire essas linhas.")
    if labels is not None and len(set(labels)) < 2:
        only = f'só há a classe "{labels[0]}"' if len(labels) else "não há nenhum exemplo"
        raise CourseError(f"{only}.", "Um classificador aprende diferenças: dê exemplos de duas ou mais.", "dados")


def encode(
    texts: Sequence[str], tokenizer: BertTokenizerFast, limit: int, truncation: bool = False
) -> list[dict[str, list[int]]]:
    """One row a text, {"input_ids", "attention_mask"}, not padded. Texts over `limit` tokens are refused, not cut in silence."""
    check_examples(texts)
    encoded = tokenizer(list(texts), truncation=truncation, max_length=limit if truncation else None, verbose=False)
    long = [(i, len(ids)) for i, ids in enumerate(encoded["input_ids"], 1) if len(ids) > limit]
    remedy = "Encurte os textos, ou peça truncation=True para que o fim deles seja cortado."
    refuse_rows([f"linha {i}: {n} tokens, e o modelo lê até {limit}" for i, n in long], remedy)
    masks = encoded["attention_mask"]
    return [{"input_ids": a, "attention_mask": b} for a, b in zip(encoded["input_ids"], masks, strict=True)]


def labelled_rows(
    examples: Examples, tokenizer: BertTokenizerFast, model: PreTrainedModel, truncation: bool = False
) -> list[dict]:
    """`encode` with each row's label as the number the model uses."""
    texts, labels = examples
    check_examples(texts, labels, tuple(model.config.label2id))
    rows = encode(texts, tokenizer, model.config.max_position_embeddings, truncation)
    return [{**row, "labels": model.config.label2id[x]} for row, x in zip(rows, labels, strict=True)]


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> BertTokenizerFast:
    """A WordPiece tokenizer of at most `vocabulary` pieces that keeps capitals and accents."""
    wordpiece = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    wordpiece.train_from_iterator(iter(texts), vocab_size=vocabulary, min_frequency=2, show_progress=False)
    return BertTokenizerFast(
        tokenizer_object=Tokenizer.from_str(wordpiece.to_str()),
        do_lower_case=False,
        strip_accents=False,
        model_max_length=SIZES["max_position_embeddings"],
    )


def new_config(tokenizer: BertTokenizerFast, **changes) -> BertConfig:
    """The course's small BERT for this tokenizer; `changes` override SIZES."""
    return BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **(SIZES | changes))


@dataclass
class Tuned:
    """A trained model, what `Trainer` logged on the way, and what it cost."""

    model: PreTrainedModel
    history: list[dict]  # rows with "step" and "loss", and rows with "step", "eval_loss" and "eval_accuracy"
    seconds: float
    samples_per_second: float
    resumed_after: int = 0  # steps that an earlier run had done


def pretrain(
    texts: Sequence[str],
    tokenizer: BertTokenizerFast,
    epochs: float = 1,
    learning_rate: float = 3e-3,
    masked: float = 0.4,
    model: BertForMaskedLM | None = None,
    seed: int = SEED,
) -> Tuned:
    """Teach a BERT to fill in `masked` of the tokens; from random weights, or going on with `model`.

    BERT hides 15 %; Wettig et al. (2023), "Should You Mask 15%", arXiv 2202.08005, find that 40 % teaches faster.
    """
    torch.manual_seed(seed)
    model = model or BertForMaskedLM(new_config(tokenizer))
    rows = encode(texts, tokenizer, model.config.max_position_embeddings)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=masked)
    return _train(model, rows, collate, num_train_epochs=epochs, learning_rate=learning_rate, seed=seed)


@torch.no_grad()
def masked_accuracy(model: BertForMaskedLM, tokenizer: BertTokenizerFast, texts: Sequence[str], seed: int = 0) -> float:
    """Share of hidden tokens that the model names exactly, with 15 % of each text's tokens hidden (at least one)."""
    draw, right, total = random.Random(seed), 0, 0
    rows = encode(texts, tokenizer, model.config.max_position_embeddings)
    model.eval()
    for start in range(0, len(rows), 64):
        batch = tokenizer.pad(rows[start : start + 64], return_tensors="pt").to(model.device)
        hidden = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
        for i, n in enumerate(batch["attention_mask"].sum(1).tolist()):
            places = range(1, n - 1)  # not [CLS], not [SEP]
            hidden[i, draw.sample(places, max(1, round(0.15 * len(places))))] = True
        ids = batch["input_ids"].masked_fill(hidden, tokenizer.mask_token_id)
        guess = model(input_ids=ids, attention_mask=batch["attention_mask"]).logits.argmax(-1)
        right += (guess == batch["input_ids"])[hidden].sum().item()
        total += hidden.sum().item()
    return right / total


def classifier(
    source: BertConfig | Path | str, names: Sequence[str] = SENTIMENTS, seed: int = SEED, **options
) -> BertForSequenceClassification:
    """A classifier over `names`. A BertConfig gives random weights; a folder or hub name, a pretrained encoder and a new head.

    `options` go to the library, such as attn_implementation="eager".
    """
    if isinstance(source, Path) and not (whole.mend(source) / "config.json").is_file():
        raise CourseError("não há modelo nesta pasta.", "Rode `make models` para refazê-lo.", where=source)
    torch.manual_seed(seed)  # the new head is random
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    if isinstance(source, BertConfig):
        return BertForSequenceClassification(BertConfig(**(source.to_dict() | labels)))
    with captured_log():
        return BertForSequenceClassification.from_pretrained(source, **labels, **options)


def freeze(model: PreTrainedModel, layers: int) -> tuple[int, int]:
    """Stop the embeddings and the first `layers` encoder layers from learning; return (trainable, all) weights."""
    encoder = model.base_model
    depth = len(encoder.encoder.layer)
    problem = f"o modelo tem {depth} camadas, e foram pedidas {layers}."
    require(0 <= layers <= depth, problem, f"Use de 0 a {depth}.", where="freeze")
    for part in (encoder.embeddings, *encoder.encoder.layer[:layers]):
        part.requires_grad_(False)
    return trainable(model)


class Teller(TrainerCallback):
    """For a terminal: a line for each tenth of the steps, from the first process."""

    def on_log(self, args, state, control, logs=None, **more):
        every = max(1, state.max_steps // 10)
        if state.is_world_process_zero and "loss" in (logs or {}) and state.global_step % every == 0:
            print(f"passo {state.global_step} de {state.max_steps}: perda {decimal(float(logs['loss']))}", flush=True)


def fine_tune(
    model: PreTrainedModel,
    tokenizer: BertTokenizerFast,
    train: Examples,
    validation: Examples | None = None,
    epochs: float = 4,
    learning_rate: float = 1e-3,
    patience: int | None = None,
    sampling: str = "group_by_length",
    pad_to: int | None = None,
    truncation: bool = False,
    seed: int = SEED,
    checkpoints: Path | None = None,
    save_to: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    **arguments,
) -> Tuned:
    """Tune `model`, which is changed in place. Batches are padded to their longest text, or all to `pad_to` tokens.

    With `validation`, each epoch is measured; with `patience` too, training stops after so many epochs without a better
    accuracy and the best weights come back. `sampling` is Trainer's: "group_by_length", "random" or "sequential".
    With `checkpoints`, state is kept there (each `save_steps`), and a run that finds some goes on from the last; `save_to`
    gets the model and the tokenizer, from all processes where several were launched. `arguments` go to TrainingArguments.
    """
    rows = labelled_rows(train, tokenizer, model, truncation)
    held_out = validation and labelled_rows(validation, tokenizer, model, truncation)
    stops = held_out or not patience
    require(stops, "parada antecipada sem validação.", "Dê também os exemplos de validação.", "fine_tune")
    padding = {"padding": "max_length", "max_length": pad_to} if pad_to else {}
    collate = DataCollatorWithPadding(tokenizer, **padding)
    arguments |= {"num_train_epochs": epochs, "learning_rate": learning_rate, "train_sampling_strategy": sampling}
    watched = list(callbacks)
    if patience:
        watched.append(EarlyStoppingCallback(patience))
        best = {"load_best_model_at_end": True, "metric_for_best_model": "accuracy"}
        arguments = {"save_strategy": "steps" if checkpoints else "epoch"} | best | arguments
    return _train(model, rows, collate, held_out, tokenizer, watched, checkpoints, save_to, seed=seed, **arguments)


def _accuracy(prediction) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def _train(
    model, rows, collate, held_out=None, tokenizer=None, callbacks=(), checkpoints=None, save_to=None, **arguments
) -> Tuned:
    """Trainer with the course's settings: quiet, no dropout of columns, nothing left on disk that was not asked for."""
    settings = machine_arguments() | {
        "per_device_train_batch_size": 32,
        "per_device_eval_batch_size": 100,
        "train_sampling_strategy": "group_by_length",
        "warmup_steps": 0.05,
        "logging_steps": 20,
        "eval_strategy": "epoch" if held_out else "no",
        "save_strategy": "steps" if checkpoints else "no",
        "save_total_limit": 2 if checkpoints else 1,
        # Trainer would count tokens over all processes and scale a loss that is a mean of examples: twice too much for two.
        "average_tokens_across_devices": False,
    }
    with tempfile.TemporaryDirectory() as folder, captured_log():
        trainer = Trainer(
            model=model,
            args=TrainingArguments(output_dir=str(checkpoints or folder), **(settings | arguments)),
            train_dataset=rows,
            eval_dataset=held_out,
            data_collator=collate,
            compute_metrics=_accuracy if held_out else None,
            callbacks=list(callbacks),
            processing_class=tokenizer if save_to else None,
        )
        seconds, begun = run_from_last(trainer, checkpoints, save_to)
    samples = (trainer.state.global_step - begun) * trainer.args.per_device_train_batch_size * trainer.args.world_size
    return Tuned(model, trainer.state.log_history[:-1], seconds, samples / seconds, begun)


@torch.no_grad()
def predict(
    model: PreTrainedModel, tokenizer: BertTokenizerFast, texts: Sequence[str], truncation: bool = False
) -> np.ndarray:
    """Probabilities, (texts, classes), in the order of model.config.id2label."""
    rows = encode(texts, tokenizer, model.config.max_position_embeddings, truncation)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))  # texts of like length share a batch
    out = np.zeros((len(rows), model.config.num_labels), dtype=np.float32)
    model.eval()
    for start in range(0, len(order), 100):
        places = order[start : start + 100]
        batch = tokenizer.pad([rows[i] for i in places], return_tensors="pt").to(model.device)
        out[places] = model(**batch).logits.float().softmax(-1).cpu().numpy()
    return out


def accuracy(model: PreTrainedModel, tokenizer: BertTokenizerFast, examples: Examples) -> float:
    """Share of the examples whose most probable class is the right one."""
    texts, labels = examples
    check_examples(texts, labels, tuple(model.config.label2id))
    guesses = predict(model, tokenizer, texts).argmax(-1)
    return float(np.mean([model.config.id2label[int(g)] == x for g, x in zip(guesses, labels, strict=True)]))


def train_by_hand(model, rows, collate, learning_rate, batch_size=32, cpu=True):
    """One epoch in the order of `rows`, in as many processes as were launched; returns the loss of each step."""
    shared = DataLoaderConfiguration(split_batches=True)  # two processes take half of each batch
    accelerator = Accelerator(cpu=cpu, dataloader_config=shared)
    loader = DataLoader(rows, batch_size=batch_size, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    schedule = get_scheduler("linear", optimizer, 0, len(loader))
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    losses = []
    model.train()
    for batch in loader:
        loss = model(**batch).loss
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(accelerator.gather(loss.detach()).mean().item())
    return losses


def write_steps(out: Path, steps: int = 8) -> None:
    """Some steps of 32 examples from models/bert-pt, in each launched process; the first one writes the losses as JSON."""
    source = course_root() / "models" / "bert-pt"
    model, tokenizer = classifier(source), BertTokenizerFast.from_pretrained(source)
    texts, labels = read_reviews("train")
    rows = labelled_rows((texts[: 32 * steps], labels[: 32 * steps]), tokenizer, model)
    losses = train_by_hand(model, rows, DataCollatorWithPadding(tokenizer), 1e-3)
    if int(os.environ.get("RANK", "0")) == 0:
        whole.write(out, json.dumps({"processes": int(os.environ.get("WORLD_SIZE", "1")), "losses": losses}))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # left open, its threads now and then abort the process at exit
