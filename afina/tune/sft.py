"""Supervised fine-tuning of a language model with LoRA or QLoRA: one call to load it, one to train it, on a GPU or a laptop.

    model, tokenizer = load_for_sft(folder, max_seq_length=256, load_in_4bit=True, lora=LoraSettings())
    trained = train(model, tokenizer, rows, TrainSettings(epochs=1))

On CUDA the loading is Unsloth's `FastLanguageModel`; elsewhere transformers, PEFT and bitsandbytes. The trainer is TRL's on
both roads. A row is {"prompt", "completion"}, whose loss counts on the answer alone, or {"text"}, whose loss counts on all.

Sources: Hu et al. (2021), "LoRA", arXiv 2106.09685; Dettmers et al. (2023), "QLoRA", arXiv 2305.14314; Rafailov et al.
(2023), "Direct Preference Optimization", arXiv 2305.18290.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError

from afina.errors import CourseError
from afina.runtime import SEED, Runtime
from afina.tune.bert import captured_log

ALPACA = "### Instruction:\n{}\n\n### Input:\n{}\n\n### Response:\n{}"
INSTRUCTION = "Describe the product"
# The question form: the same description answers them all. The last two train nothing: they test phrasings never seen.
QUESTIONS = (
    INSTRUCTION,
    "What is this product?",
    "Tell me about this item.",
    "Descreva o produto",
    "O que é este produto?",
    "Fale deste item.",
)
NEW_QUESTIONS = ("What can you say about this product?", "O que você sabe sobre este produto?")
EVERY_MATRIX = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

Row = Mapping[str, str]
OnStep = Callable[[int, int, float], None]  # step, steps in all, loss


# --- the template ----------------------------------------------------------------------------------------------------


def add_instruction_column(example):
    """The seed's column: the same instruction for every product."""
    return {"instruction": INSTRUCTION}


def formatting_prompts_func(examples, eos_token):
    """A batch with instruction, title and content gets three columns: prompt, completion (which ends in EOS), and both as text."""
    columns = (examples["instruction"], examples["title"])
    prompts = [ALPACA.format(instruction, title, "") for instruction, title in zip(*columns, strict=True)]
    completions = [content + eos_token for content in examples["content"]]
    texts = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    return {"prompt": prompts, "completion": completions, "text": texts}


def add_question_column(example, index):
    """The question form: row `index` asks in the phrasing whose turn it is."""
    return {"instruction": QUESTIONS[index % len(QUESTIONS)]}


# --- loading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoraSettings:
    """What the adapter is: rank, scale (alpha / r multiplies its output), dropout and the matrices it sits beside.

    `modules_to_save` are trained whole, as copies: ("embed_tokens",) for a base that hardly knows the words of the task.
    """

    r: int = 16
    alpha: int = 16
    dropout: float = 0.0
    target_modules: Sequence[str] = EVERY_MATRIX
    modules_to_save: Sequence[str] = ()


def load_for_sft(
    model: str | Path,
    max_seq_length: int,
    load_in_4bit: bool,
    lora: LoraSettings | None = LoraSettings(),
    gradient_checkpointing: bool = False,
    seed: int = SEED,
):
    """(model, tokenizer) ready to train: the base frozen (in NF4 with `load_in_4bit`) and a new adapter; all weights with `lora=None`.

    `model` is a folder or a hub name. `gradient_checkpointing` recomputes activations instead of keeping them: less memory,
    more time. CourseError when the model is not there, does not fit these settings, or needs a GPU that is absent.
    """
    if lora is None and load_in_4bit:
        raise CourseError(
            "pesos de 4 bits não treinam: não dá para somar um passo pequeno a um número de 4 bits.",
            "Use lora=LoraSettings(), que treina um adaptador ao lado, ou load_in_4bit=False.",
            where="load_for_sft",
        )
    on_cuda = Runtime.here(show=False).device == "cuda"
    if not on_cuda and str(model).startswith("unsloth/"):
        raise CourseError(
            f"{model} vem pronto para GPU (Unsloth, 4 bits), e aqui não há CUDA.",
            "No Colab, escolha Ambiente de execução › T4 GPU; sem GPU, use rt.models / 'llama-base'.",
            where="load_for_sft",
        )
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1  # several processes: Accelerate, without Unsloth
    road = _load_unsloth if on_cuda and lora is not None and alone else _load_peft
    try:
        with model_errors(model), quiet():
            torch.manual_seed(seed)  # LoRA's A is random
            loaded, tokenizer = road(model, max_seq_length, load_in_4bit, lora, gradient_checkpointing, seed)
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        remedy = "Use um modelo menor." if load_in_4bit else "Use load_in_4bit=True, ou um modelo menor."
        raise CourseError("faltou memória para carregar o modelo.", remedy, where="load_for_sft") from error
    limit = loaded.config.max_position_embeddings
    if max_seq_length > limit:
        raise CourseError(
            f"max_seq_length={max_seq_length}, e este modelo lê até {limit} tokens.",
            f"Use max_seq_length={limit} ou menos.",
            where="load_for_sft",
        )
    there = {name.rpartition(".")[2] for name, _ in loaded.named_modules()}
    if lora and (unknown := {*lora.target_modules, *lora.modules_to_save} - there):  # PEFT passes over these in silence
        raise CourseError(
            f"este modelo não tem a matriz {' nem a '.join(sorted(unknown))}.",
            f"Os nomes usuais são {', '.join(EVERY_MATRIX)}, e embed_tokens em modules_to_save.",
            where="load_for_sft",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    loaded.generation_config.pad_token_id = tokenizer.pad_token_id
    loaded.generation_config.eos_token_id = tokenizer.eos_token_id
    return loaded, tokenizer


def _load_unsloth(model, max_seq_length, load_in_4bit, lora, gradient_checkpointing, seed):
    from unsloth import FastLanguageModel  # asks for CUDA the moment it is imported

    loaded, tokenizer = FastLanguageModel.from_pretrained(
        model_name=str(model),
        max_seq_length=max_seq_length,
        dtype=None,  # bfloat16 where the GPU has it, else float16
        load_in_4bit=load_in_4bit,
    )
    loaded = FastLanguageModel.get_peft_model(
        loaded,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        modules_to_save=list(lora.modules_to_save) or None,
        bias="none",
        use_gradient_checkpointing="unsloth" if gradient_checkpointing else False,
        random_state=seed,
    )
    return loaded, tokenizer


def _load_peft(model, max_seq_length, load_in_4bit, lora, gradient_checkpointing, seed):
    from peft import LoraConfig, get_peft_model

    loaded, tokenizer = load_base(model, load_in_4bit)
    if gradient_checkpointing:
        loaded.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        loaded.enable_input_require_grads()
    if lora is not None:
        config = LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(lora.target_modules),
            modules_to_save=list(lora.modules_to_save) or None,
            ensure_weight_tying=bool(lora.modules_to_save) and loaded.config.tie_word_embeddings,
            bias="none",
            task_type="CAUSAL_LM",
        )
        loaded = get_peft_model(loaded, config)
    return loaded, tokenizer


def load_base(model: str | Path, load_in_4bit: bool = False):
    """(model, tokenizer) with transformers alone: float32, or NF4 with double quantisation through bitsandbytes."""
    runtime = Runtime.here(show=False)
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[runtime.precision]
    here = {"": torch.cuda.current_device()} if runtime.device == "cuda" else runtime.device  # each process its own GPU
    options = {"dtype": torch.float32, "device_map": here}
    if load_in_4bit:
        options["dtype"] = dtype
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, **options)
    for module in loaded.modules():
        # Some processors would repack the 4-bit weights when they first write, and compute in bfloat16: another model.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return loaded, tokenizer


def for_inference(model) -> None:
    """Ready to write: dropout off and, with Unsloth, its faster decoding."""
    if "unsloth" in sys.modules:
        sys.modules["unsloth"].FastLanguageModel.for_inference(model)
    model.eval()


@contextlib.contextmanager
def model_errors(model: str | Path) -> Iterator[None]:
    """What a library says about a model it cannot load, as one Portuguese sentence."""
    try:
        yield
    except (OSError, ImportError, ValueError, SafetensorError) as error:
        if isinstance(error, CourseError):
            raise
        here = isinstance(model, Path) or Path(model).exists()
        if here and not (Path(model) / "config.json").is_file():
            raise CourseError("não há modelo nesta pasta.", "Rode `make models` para refazê-lo.", model) from error
        if isinstance(error, OSError) and not here:
            raise CourseError(
                "este modelo não está nesta máquina, e não consegui baixá-lo.",
                "Confira o nome e a internet; sem rede, use um modelo de rt.models.",
                where=model,
            ) from error
        if isinstance(error, ImportError) or "target modules" in str(error).lower():
            remedy = (
                "Instale o que falta com `make setup`."
                if isinstance(error, ImportError)
                else f"Os nomes usuais são {', '.join(EVERY_MATRIX)}."
            )
            raise CourseError(str(error).splitlines()[0], remedy, where=model) from error
        if isinstance(error, OSError | SafetensorError) or "tokenizer" in str(error).lower():
            raise CourseError(
                "falta um arquivo deste modelo, ou ele está estragado.",
                "Copie a pasta de novo; os modelos do curso, `make models` refaz.",
                where=model,
            ) from error
        raise


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No chatter of the training libraries on either stream: bars off, and only errors logged."""
    import datasets

    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    loggers = [logging.getLogger(name) for name in ("trl", "peft", "accelerate", "datasets")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with captured_log(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()


# --- what is trained -------------------------------------------------------------------------------------------------


def trainable(model) -> tuple[int, int]:
    """(weights that learn, all weights). A matrix packed in 4 bits counts its weights, not its bytes."""
    learn = every = 0
    for parameter in model.parameters():
        packed = parameter.quant_state.shape.numel() if hasattr(parameter, "quant_state") else parameter.numel()
        every += packed
        learn += packed if parameter.requires_grad else 0
    return learn, every


def training_bytes(model) -> dict[str, int]:
    """Bytes that training must hold: the weights, and for each weight that learns a gradient and Adam's two averages.

    Activations come on top: they grow with batch and length, and an adapter adds its own.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    learn = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return {"weights": weights, "gradients": learn, "optimizer": 2 * learn}


def fingerprints(model, part: str) -> dict[str, str]:
    """{name: first digits of the SHA-256 of its bytes} of each parameter whose name contains `part` ("lora_B", "base_layer"…)."""
    found = {}
    for name, parameter in model.named_parameters():
        if part in name:
            data = parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
            found[name] = hashlib.sha256(data).hexdigest()[:12]
    return found


# --- which rows ------------------------------------------------------------------------------------------------------


def read_shard(path: str | Path) -> list[dict[str, str]]:
    """The rows of one shard of `afina prep`, with title and content, both text.

    CourseError for an empty shard, and for the first line that is not JSON or lacks a column.
    """
    path = Path(path)
    remedy = "Use um fragmento .jsonl escrito por `afina prep`."
    if not path.is_file():
        raise CourseError("não há este fragmento.", "Rode `afina prep` e confira o nome.", where=path)
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, linha {number}"
        try:
            row = json.loads(line)
        except ValueError as error:  # a byte that is not UTF-8 too
            raise CourseError("não é JSON.", remedy, where=place) from error
        if missing := [n for n in ("title", "content") if not isinstance(row, dict) or not isinstance(row.get(n), str)]:
            raise CourseError(f"falta a coluna {' e a coluna '.join(missing)}.", remedy, where=place)
        rows.append(row)
    if not rows:
        raise CourseError("o fragmento está vazio.", "Escolha outro, ou rode `afina prep` de novo.", where=path)
    return rows


def choose(lengths: Sequence[int], n: int, how: str, seed: int = SEED) -> list[int]:
    """Places of `n` of the rows whose lengths are given: "random", "stratified" by length (ten equal bands), or the "longest"."""
    if not 0 < n <= len(lengths):
        raise CourseError(f"pediram {n} linhas de {len(lengths)}.", f"Peça de 1 a {len(lengths)}.", where="choose")
    draw = random.Random(seed)
    by_length = sorted(range(len(lengths)), key=lambda i: (lengths[i], draw.random()))
    if how == "longest":
        return by_length[-n:]
    if how == "random":
        return draw.sample(range(len(lengths)), n)
    if how != "stratified":
        raise CourseError(f'o modo "{how}" não existe.', 'Use "random", "stratified" ou "longest".', where="choose")
    edges = [round(k * len(lengths) / 10) for k in range(11)]
    parts = [round((k + 1) * n / 10) - round(k * n / 10) for k in range(10)]
    bands = [by_length[a:b] for a, b in itertools.pairwise(edges)]
    return [i for band, part in zip(bands, parts, strict=True) for i in draw.sample(band, min(part, len(band)))]


# --- rows to tokens --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """Rows as token ids, and the account: `cut` lost their end, `dropped` had no room left for any answer."""

    rows: list[dict[str, list[int]]]  # input_ids and completion_mask, of one length
    cut: int
    dropped: int

    @property
    def tokens(self) -> int:
        return sum(len(row["input_ids"]) for row in self.rows)

    def __str__(self) -> str:
        return f"{len(self.rows)} exemplos, {self.tokens} tokens; {self.cut} cortados, {self.dropped} sem lugar para a resposta"


def prepare(rows: Sequence[Row], tokenizer, max_seq_length: int, add_eos: bool = True) -> Prepared:
    """Rows to ids; nothing is cut or dropped without being counted. The mask is 1 where the loss may count.

    `add_eos` ends each row in the end token where it lacks it. CourseError lists every row without the columns, and an
    empty list.
    """
    if not len(rows):
        raise CourseError("não há nenhum exemplo.", "Confira o fragmento: ele pode estar vazio.", where="dados")
    _check_columns(rows)
    heads = [row.get("prompt", "") if "completion" in row else "" for row in rows]
    bodies = [row["completion"] if "completion" in row else row["text"] for row in rows]
    end = tokenizer.eos_token if add_eos else ""
    wholes = [a + b + ("" if b.endswith(end) else end) for a, b in zip(heads, bodies, strict=True)]
    encoded = tokenizer(wholes, verbose=False)["input_ids"]
    before = tokenizer(heads, verbose=False)["input_ids"]
    out, cut, dropped = [], 0, 0
    for ids, head, prompt in zip(encoded, before, heads, strict=True):
        answer = _common(head, ids) if prompt else 0
        cut += len(ids) > max_seq_length
        if answer >= max_seq_length:
            dropped += 1
            continue
        mask = [0] * answer + [1] * (len(ids) - answer)
        out.append({"input_ids": ids[:max_seq_length], "completion_mask": mask[:max_seq_length]})
    if not out:
        raise CourseError(
            f"nenhum dos {len(rows)} exemplos cabe: os pedidos já ocupam max_seq_length={max_seq_length}.",
            "Aumente max_seq_length ou encurte os pedidos.",
            where="dados",
        )
    return Prepared(out, cut, dropped)


def _check_columns(rows: Sequence[Row], names: Sequence[str] = ()) -> None:
    """Every row must have text in the columns `names`; without names, in prompt and completion, or in text."""
    bad = []
    for i, row in enumerate(rows, 1):
        wanted = names or (("text",) if "text" in row and "completion" not in row else ("prompt", "completion"))
        if missing := [f'"{name}"' for name in wanted if not row.get(name)]:
            bad.append(f"linha {i}: falta {' e '.join(missing)}")
    if bad:
        more = f"; e mais {len(bad) - 5}" if len(bad) > 5 else ""
        forms = " e ".join(f'"{name}"' for name in names) or '"prompt" e "completion", ou "text"'
        raise CourseError("; ".join(bad[:5]) + more + ".", f"Dê a cada linha {forms}, com texto dentro.", where="dados")


def _common(one: list[int], other: list[int]) -> int:
    """How many ids the two begin with in common: tokens may merge across the seam of prompt and answer."""
    n = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        n += 1
    return n


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainSettings:
    """The seed's arguments under their names of today, with its values. `batch_size * accumulation` rows make one step."""

    epochs: float = 1
    batch_size: int = 2
    accumulation: int = 22
    learning_rate: float = 2e-4
    warmup_steps: int = 5
    max_grad_norm: float = 0.6
    optimizer: str = "adamw_8bit"
    weight_decay: float = 0.01
    schedule: str = "linear"
    sampling: str = "group_by_length"
    packing: bool = False
    answer_only: bool = True
    add_eos: bool = True
    max_seq_length: int = 256
    max_steps: int = -1  # -1: as many as the epochs ask
    save_every: int = 20  # steps between checkpoints, where a folder for them is given
    seed: int = SEED


@dataclass
class Trained:
    """What `train` did. `history` has a row a step: step, loss, learning_rate, grad_norm, epoch, and more that TRL logs."""

    history: list[dict]
    seconds: float
    steps: int  # optimizer steps, those of earlier runs included when it resumed
    tokens: int  # read in this run, padding left out (the share of the epochs done, of the tokens of one)
    prepared: Prepared
    stopped: bool = False  # should_stop said so
    skipped: int = 0  # steps of this run that moved no weight: in fp16 a gradient overflowed and the scale came down
    resumed_after: int = 0  # steps that an earlier run had done

    @property
    def losses(self) -> list[float]:
        return [row["loss"] for row in self.history]


def sft_config(settings: TrainSettings, folder: str | Path, checkpoints: bool, gradient_checkpointing: bool = False):
    """TRL's SFTConfig for these settings: what `train` uses."""
    from trl import SFTConfig

    return SFTConfig(
        **_arguments(settings, folder, checkpoints, gradient_checkpointing),
        max_length=settings.max_seq_length,
        packing=settings.packing,
        completion_only_loss=settings.answer_only,
    )


def _arguments(settings: TrainSettings, folder, checkpoints: bool, gradient_checkpointing: bool) -> dict:
    """What SFTConfig and DPOConfig share."""
    runtime = Runtime.here(show=False)
    return {
        "output_dir": str(folder),
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.accumulation,
        "learning_rate": settings.learning_rate,
        "warmup_steps": settings.warmup_steps,
        "lr_scheduler_type": settings.schedule,
        "optim": settings.optimizer,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "train_sampling_strategy": settings.sampling,
        "gradient_checkpointing": gradient_checkpointing,
        "bf16": runtime.precision == "bf16",
        "fp16": runtime.precision == "fp16",
        "use_cpu": runtime.device == "cpu",
        "seed": settings.seed,
        "logging_steps": 1,
        "save_strategy": "steps" if checkpoints else "no",
        "save_steps": settings.save_every,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "ddp_find_unused_parameters": False,
    }


def train(
    model,
    tokenizer,
    rows: Sequence[Row],
    settings: TrainSettings,
    on_step: OnStep | None = None,
    should_stop: Callable[[], bool] | None = None,
    checkpoints: str | Path | None = None,
    save_to: Path | None = None,
    callbacks: Sequence[transformers.TrainerCallback] = (),
) -> Trained:
    """Tune `model` in place on `rows` with TRL's SFTTrainer. Same seed and machine: the same losses, bit for bit.

    `on_step(step, steps, loss)` is called after each optimizer step; `should_stop()` True ends the run after the present one.
    With a `checkpoints` folder, state is kept there every `settings.save_every` steps, and a run that finds some goes on
    from the last. `save_to` gets the model (the adapter alone where there is one) and the tokenizer, from all processes where
    several were launched; each of them then takes `batch_size` rows. CourseError on bad rows and where memory runs out.
    """
    from datasets import Dataset
    from trl import SFTTrainer

    prepared = prepare(rows, tokenizer, settings.max_seq_length, settings.add_eos)
    data = Dataset.from_list(prepared.rows)
    with tempfile.TemporaryDirectory() as scratch, quiet(), memory_errors(settings):
        _trl_on_this_device()
        config = sft_config(settings, checkpoints or scratch, checkpoints is not None, _recomputes(model))
        more = {"processing_class": tokenizer, "callbacks": list(callbacks)}
        trainer = SFTTrainer(model=model, args=config, train_dataset=data, **more)
        trained = _run(trainer, prepared, on_step, should_stop, checkpoints)
        if save_to:
            trainer.save_model(str(save_to))
            (save_to / "training_args.bin").unlink(missing_ok=True)  # a pickle that says nothing of the model
        return trained


def train_dpo(
    model,
    tokenizer,
    rows: Sequence[Row],
    settings: TrainSettings,
    beta: float = 0.1,
    on_step: OnStep | None = None,
    should_stop: Callable[[], bool] | None = None,
    checkpoints: str | Path | None = None,
) -> Trained:
    """Tune a model with an adapter on preferences, {"prompt", "chosen", "rejected"}, with TRL's DPOTrainer; the rest as `train`.

    The reference is the adapter as it came. `beta` is how dearly leaving it costs. History rows bring rewards/accuracies
    and rewards/margins too. Answers get the end token where they lack it.
    """
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    if not hasattr(model, "peft_config"):
        raise CourseError(
            "o ajuste por preferências precisa de um adaptador: a referência é o modelo sem o que ele aprender agora.",
            "Carregue o modelo com lora=LoraSettings().",
            where="train_dpo",
        )
    names = ("prompt", "chosen", "rejected")
    _check_columns(rows, names)
    chosen, rejected = ([{"prompt": row["prompt"], "completion": row[name]} for row in rows] for name in names[1:])
    prepared = prepare(chosen, tokenizer, settings.max_seq_length)
    other = prepare(rejected, tokenizer, settings.max_seq_length)
    prepared = replace(prepared, cut=prepared.cut + other.cut, dropped=prepared.dropped + other.dropped)
    data = Dataset.from_list([{name: row[name] for name in names} for row in rows])
    with tempfile.TemporaryDirectory() as scratch, quiet(), memory_errors(settings):
        _trl_on_this_device()
        config = DPOConfig(
            **_arguments(
                replace(settings, sampling="random"),
                checkpoints or scratch,
                checkpoints is not None,
                _recomputes(model),
            ),
            max_length=settings.max_seq_length,
            beta=beta,
        )
        trainer = DPOTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
        try:
            return _run(trainer, prepared, on_step, should_stop, checkpoints)
        finally:
            if "ref" in getattr(model, "peft_config", {}):
                model.delete_adapter("ref")  # TRL's frozen copy: a second run makes its own


class _PlainLogProbs:
    """The head's log-probabilities in plain torch: (log_probs, entropy, None, mean_logits, is_top1) of n tokens.

    TRL 1.15 computes them in a Triton kernel and has no other road, so that it trains on CUDA alone. This stands in for that
    kernel on a CPU; the formula is the same, and a test holds its loss and gradients to those of the model's own loss.
    """

    @staticmethod
    def apply(hidden, weight, bias, targets, temperature, chunk_size, softcap, scale, outputs):
        logits = torch.nn.functional.linear(hidden, weight, bias).float() * scale
        if softcap:
            logits = softcap * torch.tanh(logits / softcap)
        logits = logits / temperature
        every = logits.log_softmax(-1)
        seen = every.detach()
        entropy = -(seen.exp() * seen).sum(-1) if "entropy" in outputs else None
        top = seen.argmax(-1) == targets if "is_top1" in outputs else None
        mean = logits.detach().mean(-1) if "mean_logits" in outputs else None
        return every.gather(-1, targets[:, None])[:, 0], entropy, None, mean, top


def _trl_on_this_device() -> None:
    if Runtime.here(show=False).device == "cpu":
        import trl.trainer.utils

        trl.trainer.utils._ChunkedLogProbFunction = _PlainLogProbs


def _recomputes(model) -> bool:
    return bool(getattr(model, "is_gradient_checkpointing", False))


def _run(trainer, prepared: Prepared, on_step, should_stop, checkpoints) -> Trained:
    from transformers.trainer_utils import get_last_checkpoint

    # TRL keeps the adapter of a 4-bit base in bfloat16; without hardware for it that is slow and loses small steps.
    if Runtime.here(show=False).device == "cpu":
        for parameter in trainer.model.parameters():
            if parameter.requires_grad and parameter.dtype == torch.bfloat16:
                parameter.data = parameter.data.float()
    trainer.remove_callback(transformers.PrinterCallback)
    watch = _Watch(on_step, should_stop)
    trainer.add_callback(watch)
    last = get_last_checkpoint(str(checkpoints)) if checkpoints and Path(checkpoints).is_dir() else None
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=last)
    seconds = time.perf_counter() - start
    history = [row for row in trainer.state.log_history if "loss" in row]
    tokens = round(prepared.tokens * ((trainer.state.epoch or 0) - watch.first_epoch))
    begun = int(last.rpartition("-")[2]) if last else 0
    return Trained(history, seconds, trainer.state.global_step, tokens, prepared, watch.stopped, watch.skipped, begun)


class _Watch(transformers.TrainerCallback):
    """After each step: tells `on_step` what the trainer logged, then asks `should_stop`; counts skipped steps."""

    def __init__(self, on_step: OnStep | None, should_stop: Callable[[], bool] | None):
        self.on_step, self.should_stop = on_step, should_stop
        self.first_epoch, self.stopped, self.skipped = 0.0, False, 0

    def on_train_begin(self, args, state, control, **more):
        self.first_epoch = state.epoch or 0.0  # not zero in a run that goes on from a checkpoint

    def on_optimizer_step(self, args, state, control, optimizer=None, **more):
        self.skipped += bool(
            getattr(optimizer, "step_was_skipped", False)
        )  # the trainer counts such a step all the same

    def on_log(self, args, state, control, logs=None, **more):
        if "loss" not in (logs or {}):
            return
        if self.on_step:
            self.on_step(state.global_step, state.max_steps, logs["loss"])
        if self.should_stop and self.should_stop():
            control.should_training_stop = self.stopped = True


def _lacks_memory(error: Exception) -> bool:
    # the last is what torch says on a CPU
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "you tried to allocate" in str(error)


@contextlib.contextmanager
def memory_errors(settings: TrainSettings) -> Iterator[None]:
    """An allocator that gives up becomes a sentence with the argument to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        half = max(1, settings.batch_size // 2)
        remedy = (
            f"Use batch_size={half} e accumulation={settings.accumulation * settings.batch_size // half}: o passo é o mesmo."
            if settings.batch_size > 1
            else f"Use max_seq_length={settings.max_seq_length // 2}, ou gradient_checkpointing=True ao carregar."
        )
        raise CourseError("faltou memória para treinar com estes argumentos.", remedy, where="train") from error


# --- before a long run -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forecast:
    """What a whole run should take, from a few steps of it. `cost` is in the currency of the price given."""

    steps: int
    seconds: float
    peak_mb: float
    cost: float

    def __str__(self) -> str:
        minutes = f"{self.seconds / 60:.1f} min".replace(".", ",")
        cost = f"{self.cost:.2f}".replace(".", ",")
        return f"{self.steps} passos, {minutes}, {self.peak_mb:.0f} MB de memória, custo {cost}"


def forecast(
    model, tokenizer, rows: Sequence[Row], settings: TrainSettings, price_per_hour: float = 0.0, steps: int = 3
) -> Forecast:
    """Time a few steps of this very run, put the weights back, and multiply. The first step, which warms up, is not counted.

    The steps are taken evenly from the shortest rows to the longest where the run groups rows by length, else as they come.
    """
    prepared = prepare(rows, tokenizer, settings.max_seq_length, settings.add_eos)
    size = settings.batch_size * settings.accumulation
    order = list(range(len(rows)))
    if settings.sampling == "group_by_length":
        order.sort(key=lambda i: sum(map(len, (rows[i].get(name, "") for name in ("prompt", "completion", "text")))))
    room = max(0, len(order) - size)
    starts = [room // 2, *(round(room * (k + 0.5) / steps) for k in range(steps))]
    few = [rows[i] for start in starts for i in order[start : start + size]]
    learned = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    marks = []
    try:
        train(
            model,
            tokenizer,
            few,
            replace(settings, max_steps=steps + 1, sampling="sequential"),
            on_step=lambda *_: marks.append(time.perf_counter()),
        )
    finally:
        for name, parameter in model.named_parameters():
            if name in learned:
                parameter.data.copy_(learned[name])
    units = -(-prepared.tokens // settings.max_seq_length) if settings.packing else len(prepared.rows)
    whole = settings.max_steps if settings.max_steps > 0 else round(-(-units // size) * settings.epochs)
    seconds = whole * (marks[-1] - marks[0]) / (len(marks) - 1)
    return Forecast(whole, seconds, peak_memory_mb(), seconds / 3600 * price_per_hour)


def peak_memory_mb() -> float:
    """The most memory used so far, in megabytes: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3  # bytes there, kilobytes here


def amdahl(parallel: float, times: float) -> float:
    """How many times faster a job gets when `parallel` of it (0 to 1) runs `times` faster (Amdahl, 1967)."""
    return 1 / (1 - parallel + parallel / times)
