"""A tuned model leaves the notebook: adapter, merged weights, card, and GGUF for Ollama; each read back to prove it.

GGUF: the format of llama.cpp, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The Modelfile is Ollama's.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import torch
import transformers

from afina import compat, ptbr, whole
from afina.errors import require
from afina.runtime import versions_of
from afina.tune.evaluate import NAMES, finished, generate
from afina.tune.load import load_base, model_errors
from afina.tune.quiet import quiet
from afina.tune.rows import INSTRUCTION
from afina.tune.templates import ALPACA


@torch.no_grad()
def merge(model) -> "transformers.PreTrainedModel":
    """A plain model whose weights are base + adapter, in float32; `model` stays as it is.

    Each adapted matrix becomes W + (alpha / r) B A. A base in 4 bits is unpacked first: what comes out says what the
    quantised model with its adapter says, and not what the adapter on the original base would say.
    """
    adapted = hasattr(model, "peft_config")
    require(adapted, "este modelo não tem adaptador.", "Carregue-o com lora=LoraSettings().", where="merge")
    source = model.get_base_model()
    config = source.config.to_dict()
    config.pop("quantization_config", None)
    config["dtype"] = "float32"
    merged = type(source)(type(source.config)(**config)).eval()
    weights = {}
    for name, module in source.named_modules():
        if re.search(r"\.(base_layer|lora_\w+|original_module|modules_to_save)(\.|$)", name):
            continue  # the inside of a module that was adapted or copied
        copies = getattr(module, "modules_to_save", None)
        plain = copies["default"] if copies else getattr(module, "base_layer", module)
        for part, value in plain.named_parameters(recurse=False):
            value = _unpacked(value)
            if part == "weight" and hasattr(module, "get_delta_weight"):
                value = value + module.get_delta_weight("default").to(value)
            weights[f"{name}.{part}"] = value
    missing, unknown = merged.load_state_dict(weights, strict=False)
    tied = {"lm_head.weight"} if merged.config.tie_word_embeddings else set()
    left = sorted({*missing, *unknown} - tied)
    require(not left, f"sobraram pesos na fusão: {left[:3]}.", where="merge")
    merged.tie_weights()
    merged.generation_config = source.generation_config
    return merged.to(source.device)


def _unpacked(weight: torch.Tensor) -> torch.Tensor:
    if not hasattr(weight, "quant_state"):
        return weight.detach().float()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, weight.quant_state).float()


def save(model, tokenizer, folder: Path, card: str = "") -> Path:
    """Write model (or only its adapter, where it has one), tokenizer and card as a folder of safetensors; whole or not at all."""
    with whole.new_folder(folder, marks=("config.json", "adapter_config.json")) as aside, quiet():
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        (aside / "README.md").unlink(missing_ok=True)  # PEFT's own empty card
        if card:
            whole.write(aside / "README.md", card)
    return Path(folder)


def reopen(folder: Path, load_in_4bit: bool = False, base: str | Path | None = None, to_train: bool = False):
    """(model, tokenizer) of a folder that `save` wrote. An adapter finds its base by the path or hub name saved with it.

    `base` is for one whose base has moved; `load_in_4bit` for one that was trained beside a base in 4 bits, if the same
    logits are wanted; `to_train` for one that goes on learning from where it stopped.
    """
    folder = whole.mend(folder)
    settings = folder / "adapter_config.json"
    with quiet(), model_errors(folder):
        if not settings.is_file():
            return load_base(folder, load_in_4bit)
        from peft import PeftModel

        base = base or json.loads(settings.read_text(encoding="utf-8"))["base_model_name_or_path"]
        with model_errors(base):
            model, tokenizer = load_base(base, load_in_4bit)
        return PeftModel.from_pretrained(model, folder, is_trainable=to_train), tokenizer


def model_card(
    name: str,
    base: str,
    purpose: str,
    data: Mapping[str, object],
    settings: Mapping[str, object],
    scores: Mapping[str, Mapping[str, float]],
    limits: str,
    licence: str = "cc-by-4.0",
    language: str = "en",
    library: str = "peft",
) -> str:
    """The text of README.md, from what the run itself measured. `scores` has one row of figures a model, the tuned one first.

    CourseError when a part is empty: a card without data, settings or measurements helps nobody.
    """
    needed = {"data": data, "settings": settings, "scores": scores, "limits": limits}
    empty = ", ".join(part for part, value in needed.items() if not value)
    require(not empty, f"o cartão está sem {empty}.", "Preencha com o que a rodada mediu.")
    columns = list(next(iter(scores.values())))
    head = "| modelo | " + " | ".join(NAMES.get(column, column) for column in columns) + " |"
    lines = [head, "| --- |" + " ---: |" * len(columns)]
    for model, row in scores.items():
        figures = [ptbr.decimal(row[column], 3 if row[column] < 10 else 1) for column in columns]
        lines.append("| " + " | ".join([model, *figures]) + " |")
    versions = " · ".join(f"{which} {its}" for which, its in versions_of(("torch", "transformers", "trl", "peft")))
    front = {"name": name, "base": base, "language": language, "licence": licence, "library": library}
    parts = {"data": _bullets(data), "settings": _bullets(settings), "table": "\n".join(lines), "limits": limits}
    facts = front | parts | {"purpose": purpose, "day": date.today().isoformat(), "versions": versions}
    return _form("model_card.md").format(**facts)


def _form(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _bullets(facts: Mapping[str, object]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def write_gguf(model, tokenizer, path: Path) -> Path:
    """Write a Llama with a byte-level BPE tokenizer as GGUF, in float32: weights, sizes, vocabulary, merges and special ids.

    llama.cpp turns the halves of each attention head another way than transformers: the rows of q and k are reordered.
    CourseError for any other architecture or tokenizer.
    """
    import gguf

    config, path = model.config, Path(path)
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = config.model_type, backend["model"]["type"], backend["pre_tokenizer"]["type"]
    problem = "só sei escrever em GGUF um Llama com tokenizador BPE de bytes."
    remedy = "Para outros, use convert_hf_to_gguf.py, do llama.cpp."
    require(kind == ("llama", "BPE", "ByteLevel"), problem, remedy, where=path)
    with whole.new_path(path) as aside:
        writer = gguf.GGUFWriter(aside, "llama")
        writer.add_name(path.stem)
        _describe(writer, config, tokenizer, backend["model"]["merges"])
        for name, value in _tensors(model):
            writer.add_tensor(name, value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return path


def _describe(writer, config, tokenizer, merges: list[list[str]]) -> None:
    """Put sizes, vocabulary, merges and special ids into the file."""
    import gguf

    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    names, size = {i: token for token, i in tokenizer.get_vocab().items()}, config.vocab_size
    control = set(tokenizer.all_special_ids)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([names[i] for i in range(size)])
    writer.add_token_types([gguf.TokenType.CONTROL if i in control else gguf.TokenType.NORMAL for i in range(size)])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id)


def _tensors(model) -> Iterator[tuple[str, np.ndarray]]:
    """(GGUF's name, weights in float32) of each tensor that the file holds."""
    import gguf

    config = model.config
    plan = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue  # readers take token_embd where output is absent
        value = value.detach().float().cpu().contiguous()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            n = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            value = value.reshape(n, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape).contiguous()
        its = plan.get_name(name, try_suffixes=(".weight", ".bias"))
        assert its, name
        yield its, value.numpy()


def read_gguf(path: Path):
    """(model, tokenizer) read back from a GGUF file by transformers, which has its own reader."""
    import gguf

    path = Path(path)
    with quiet(), compat.gguf_without_bar():
        model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    fields = gguf.GGUFReader(path).fields
    for name in ("bos", "eos"):  # transformers 5.17 reads the one where it means the other
        token = fields[f"tokenizer.ggml.{name}_token_id"].contents()
        setattr(tokenizer, f"{name}_token", tokenizer.convert_ids_to_tokens(token))
    return model.eval(), tokenizer


def modelfile(path: Path, eos_token: str, tokens: int = 160) -> str:
    """Ollama's Modelfile for the GGUF at `path`: the same template, the same end, no randomness."""
    template = ALPACA.format(INSTRUCTION, "{{ .Prompt }}", "")
    return _form("modelfile.txt").format(file=Path(path).name, template=template, stop=eos_token, tokens=tokens)


def describe_titles(folder: Path, titles: Sequence[str], tokens: int = 160) -> list[str]:
    """What the model (or the adapter on its base) of a folder says of each title, in at most so many new tokens."""
    model, tokenizer = reopen(folder)
    prompts = [ALPACA.format(INSTRUCTION, title, "") for title in titles]
    texts = generate(model, tokenizer, prompts, max_new_tokens=tokens)
    return [finished(text, tokenizer.eos_token)[0] for text in texts]
