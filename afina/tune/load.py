"""One call that loads a language model ready to tune: on CUDA Unsloth's `FastLanguageModel`, elsewhere transformers and PEFT.

Sources: Hu et al. (2021), "LoRA", arXiv 2106.09685; Dettmers et al. (2023), "QLoRA", arXiv 2305.14314.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError

from afina import compat, whole
from afina.errors import CourseError, require
from afina.runtime import SEED, Runtime
from afina.tune.quiet import quiet

EVERY_MATRIX = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


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

    def arguments(self) -> dict:
        """The settings by the names that PEFT and Unsloth share."""
        return {
            "r": self.r,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": list(self.target_modules),
            "modules_to_save": list(self.modules_to_save) or None,
            "bias": "none",
        }


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
    problem = "pesos de 4 bits não treinam: não dá para somar um passo pequeno a um número de 4 bits."
    remedy = "Use lora=LoraSettings(), que treina um adaptador ao lado, ou load_in_4bit=False."
    require(lora or not load_in_4bit, problem, remedy, where="load_for_sft")
    on_cuda = Runtime.here(show=False).device == "cuda"
    problem = f"{model} vem pronto para GPU (Unsloth, 4 bits), e aqui não há CUDA."
    remedy = "No Colab, escolha Ambiente de execução › T4 GPU; sem GPU, use rt.models / 'llama-base'."
    require(on_cuda or not str(model).startswith("unsloth/"), problem, remedy, where="load_for_sft")
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1  # several processes: Accelerate, without Unsloth
    road = _load_unsloth if on_cuda and lora is not None and alone else _load_peft
    remedy = "Use um modelo menor." if load_in_4bit else "Use load_in_4bit=True, ou um modelo menor."
    lacking = memory_errors("faltou memória para carregar o modelo.", remedy, where="load_for_sft")
    with lacking, model_errors(model), quiet():
        torch.manual_seed(seed)  # LoRA's A is random
        loaded, tokenizer = road(model, max_seq_length, load_in_4bit, lora, gradient_checkpointing, seed)
    limit = loaded.config.max_position_embeddings
    problem = f"max_seq_length={max_seq_length}, e este modelo lê até {limit} tokens."
    require(max_seq_length <= limit, problem, f"Use max_seq_length={limit} ou menos.", where="load_for_sft")
    there = {name.rpartition(".")[2] for name, _ in loaded.named_modules()}
    unknown = {*lora.target_modules, *lora.modules_to_save} - there if lora else set()  # PEFT is silent about these
    remedy = f"Os nomes usuais são {', '.join(EVERY_MATRIX)}, e embed_tokens em modules_to_save."
    problem = f"este modelo não tem a matriz {' nem a '.join(sorted(unknown))}."
    require(not unknown, problem, remedy, where="load_for_sft")
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
        **lora.arguments(),
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
        tied = bool(lora.modules_to_save) and loaded.config.tie_word_embeddings
        config = LoraConfig(**lora.arguments(), ensure_weight_tying=tied, task_type="CAUSAL_LM")
        loaded = get_peft_model(loaded, config)
    return loaded, tokenizer


def load_base(model: str | Path, load_in_4bit: bool = False):
    """(model, tokenizer) with transformers alone: float32, or NF4 with double quantisation through bitsandbytes."""
    if isinstance(model, Path):
        whole.mend(model)
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
    compat.keep_4bit_weights(loaded)
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
        told = None if isinstance(error, CourseError) else _told(error, model)
        if told is None:
            raise
        raise CourseError(*told, where=model) from error


def _told(error: Exception, model: str | Path) -> tuple[str, str] | None:
    """(problem, remedy) of an error in loading; None for one that has nothing to do with the model."""
    text, here = str(error), isinstance(model, Path) or Path(model).exists()
    if here and not (Path(model) / "config.json").is_file():
        return "não há modelo nesta pasta.", "Rode `make models` para refazê-lo."
    if isinstance(error, OSError) and not here:
        remedy = "Confira o nome e a internet; sem rede, use um modelo de rt.models."
        return "este modelo não está nesta máquina, e não consegui baixá-lo.", remedy
    if isinstance(error, ImportError):
        return text.splitlines()[0], "Instale o que falta com `make setup`."
    if "target modules" in text.lower():
        return text.splitlines()[0], f"Os nomes usuais são {', '.join(EVERY_MATRIX)}."
    if isinstance(error, OSError | SafetensorError) or "tokenizer" in text.lower():
        remedy = "Copie a pasta de novo; os modelos do curso, `make models` refaz."
        return "falta um arquivo deste modelo, ou ele está estragado.", remedy
    return None


@contextlib.contextmanager
def memory_errors(problem: str, remedy: str, where: str) -> Iterator[None]:
    """An allocator that gives up becomes a sentence with the argument to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # the text is what torch says on a CPU
        if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "you tried to allocate" in str(error):
            raise CourseError(problem, remedy, where) from error
        raise
