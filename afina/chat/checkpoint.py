"""Any checkpoint of the course, ready to answer: what a folder holds is read from its files, never from its name.

A hand GPT becomes transformers' GPT-2 with the same weights (lesson 08 proves them equal). An adapter or a hand LoRA file is
merged into its base; in 4 bits it stays beside it. A language model and a classifier are taken as they are.
"""

import contextlib
import functools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from afina import whole
from afina.chat.batch import BatchRow
from afina.chat.turn import TOO_LONG, Line, PromptBuilder, Refused, Turn
from afina.errors import CourseError, require
from afina.gpt.lora import load_lora, merge
from afina.gpt.model import GPT
from afina.gpt.tokenizer import Tokenizer, load_tokenizer, save_tokenizer
from afina.gpt.weights import load_gpt, save_gpt, to_gpt2
from afina.runtime import Runtime, course_root
from afina.tune import export
from afina.tune.load import for_inference, load_base, model_errors
from afina.tune.quiet import captured_log, quiet
from afina.tune.templates import ALPACA_CHAT

TEMPLATE_FILE = "chat_template.jinja"
SMALL = 50_000_000  # weights: below it a second thread costs more than it computes


@dataclass
class Checkpoint:
    """A model in memory and what a server must know of it. `labels` are a classifier's classes, in its own order."""

    name: str
    kind: str  # "chat" or "classifier"
    model: Any
    tokenizer: Any
    context: int  # tokens
    about: str  # one line for people
    labels: list[str] = field(default_factory=list)

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that close an answer."""
        own = self.model.generation_config.eos_token_id
        listed = own if isinstance(own, list) else [own]
        return frozenset({self.tokenizer.eos_token_id, *listed} - {None})

    @functools.cached_property
    def prompts(self) -> PromptBuilder:
        return PromptBuilder(self.tokenizer, self.context)

    def rows(
        self, turns: Sequence[Turn], ends: Collection[int] | None = None, too_long: str = TOO_LONG
    ) -> list[BatchRow]:
        """Turns that ask the same, as rows of a batch; their answers go to each one's `pieces`. Refused as `prompts.ids`."""
        ids = self.prompts.ids(turns[0].messages, too_long)
        if not ids:
            raise Refused("Não sobrou nada para o modelo ler.", "invalid_value")
        room, ends = self.context - len(ids), self.ends if ends is None else ends
        for turn in turns:
            turn.prompt_tokens = len(ids)
        return [
            BatchRow(
                ids, min(turn.max_tokens or room, room), ends, turn.temperature, turn.top_p, turn.seed, turn.layers,
                Line(self.tokenizer, turn),
            )
            for turn in turns
        ]  # fmt: skip


def save_chat_gpt(model: GPT, tokenizer: Tokenizer, folder: Path | str) -> Path:
    """Write a hand GPT that was tuned in lesson 12, its tokenizer and the chat form of its prompts; whole or not at all."""
    folder = Path(folder)
    with whole.new_folder(folder, marks=("config.json",)) as aside:
        save_gpt(model, aside)
        save_tokenizer(tokenizer, aside / "tokenizer.json")
        whole.write(aside / TEMPLATE_FILE, ALPACA_CHAT)
    return folder


def load_checkpoint(path: Path | str, base: Path | str | None = None, load_in_4bit: bool = False) -> Checkpoint:
    """The model of `path` (a folder, a hand LoRA file, or a hub name) ready to answer, on the device of this machine.

    `base` is for an adapter: the model under it, where the adapter's own note of it does not serve. CourseError: nothing
    there, not a checkpoint, cut off, of a kind that neither talks nor classifies, or an adapter without its base.
    """
    if isinstance(path, Path) or Path(path).exists() or not _may_be_on_the_hub(path):
        path = Path(path)
        with contextlib.suppress(OSError):
            whole.mend(path)
        remedy = "Confira o nome; as pastas do curso estão em models/."
        require(path.exists(), "não há nada neste caminho.", remedy, path)
    try:
        return _load(path, base, load_in_4bit)
    except SafetensorError as error:
        remedy = "Apague o arquivo e grave ou baixe de novo."
        raise CourseError("os pesos estão cortados ou não são safetensors.", remedy, where=path) from error
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        if isinstance(error, CourseError):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = "Confira se a pasta está completa, ou o nome e a rede."
        raise CourseError(f"não consegui carregar ({reason}).", remedy, where=path) from error


def load_model(base: Path | str, layers: Sequence[Path | str] = ()):
    """The model of `base` with the adapters of these folders merged into it, in order, ready to answer."""
    from peft import PeftModel

    model = load_checkpoint(base).model
    for folder in layers:
        with quiet(), model_errors(folder):
            model = export.merge(PeftModel.from_pretrained(model, folder)).eval()
    return model


def _may_be_on_the_hub(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~", "models/", "build/"))


def _load(path: Path | str, base: Path | str | None, load_in_4bit: bool) -> Checkpoint:
    if not isinstance(path, Path):
        return _language_model(path, None, load_in_4bit)
    if path.is_file():
        return _hand_lora(path, base)
    adapter = path / "adapter_config.json"
    if adapter.is_file():
        return _language_model(path, _base_of(adapter, base), load_in_4bit)
    config = path / "config.json"
    problem = "isto não é um checkpoint: não há config.json nem adapter_config.json."
    require(config.is_file(), problem, "Aponte para a pasta que tem os pesos e a configuração.", path)
    settings = _read(config)
    if "model_type" not in settings:
        return _hand_gpt(path, load_gpt(path))
    architecture = (settings.get("architectures") or ["?"])[0]
    if architecture.endswith("ForSequenceClassification"):
        return _classifier(path)
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return _language_model(path, None, load_in_4bit)
    remedy = "Um encoder pré-treinado, como o bert-pt, precisa antes do ajuste da aula 13."
    raise CourseError(f"{architecture} não conversa nem classifica.", remedy, path)


def _read(file: Path) -> dict:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CourseError(f"o JSON não se lê ({error}).", "Grave ou baixe a pasta de novo.", where=file) from error
    require(isinstance(settings, dict), "esperava um objeto JSON.", "Grave ou baixe a pasta de novo.", file)
    return settings


def _base_of(adapter: Path, given: Path | str | None) -> str:
    """Where the base of an adapter is: as given, as noted, beside the course's models, or a hub name."""
    noted = str(_read(adapter).get("base_model_name_or_path") or "")
    name = str(given or noted)
    places = [Path(name), course_root() / "models" / Path(name).name]
    for place in places if name else []:
        if (place / "config.json").is_file():
            return str(place)
    if not given and _may_be_on_the_hub(name) and Runtime.here(show=False).device == "cuda":
        return name
    problem = f"o adaptador precisa da sua base, e ela não está em {name or '(sem nota)'}."
    raise CourseError(problem, "Diga onde ela está: afina serve ADAPTADOR --base PASTA.", adapter.parent)


def _hand_gpt(path: Path, gpt: GPT, base: Path | None = None) -> Checkpoint:
    folder = base or path
    hand = load_tokenizer(folder / "tokenizer.json")  # its errors are clear
    size = gpt.config.vocab_size
    problem = f"o tokenizador tem {len(hand)} tokens, e o modelo {size}: são de modelos diferentes."
    require(len(hand) == size, problem, "Ponha na pasta o tokenizer.json com que o modelo foi treinado.", folder)
    end = next(iter(hand.specials))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), bos_token=end, eos_token=end, clean_up_tokenization_spaces=False
    )
    template = folder / TEMPLATE_FILE
    if template.is_file():
        tokenizer.chat_template = template.read_text(encoding="utf-8")
    with captured_log():  # transformers remarks on a setting that we do not use
        model = to_gpt2(gpt)
    return _chat(path, model.to(Runtime.here(show=False).device), tokenizer, "GPT feito à mão")


def _hand_lora(path: Path, base: Path | str | None) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            written = file.metadata() or {}
    except SafetensorError as error:
        if path.suffix == ".safetensors":
            raise
        remedy = "Aponte para a pasta do modelo, ou para um LoRA gravado com save_lora."
        raise CourseError("este arquivo não é um checkpoint.", remedy, where=path) from error
    require("settings" in written, "estes pesos estão sem a sua pasta.", "Aponte para a pasta que os contém.", path)
    if base is None:
        remedy = "Diga qual é: afina serve ARQUIVO --base models/gpt-pt."
        raise CourseError("um LoRA é só a diferença: falta a base dele.", remedy, path)
    return _hand_gpt(path, merge(load_lora(load_gpt(base), path)), Path(base))


def _language_model(path: Path | str, base: str | None, load_in_4bit: bool) -> Checkpoint:
    with quiet():
        if isinstance(path, Path):
            model, tokenizer = export.reopen(path, load_in_4bit, base)
        else:
            model, tokenizer = load_base(path, load_in_4bit)
        if base and not load_in_4bit and not getattr(model.get_base_model(), "is_quantized", False):
            model = export.merge(model)
    runtime = Runtime.here(show=False)
    if runtime.device == "cuda" and not load_in_4bit and not getattr(model, "is_quantized", False):
        model = model.to(torch.bfloat16 if runtime.precision == "bf16" else torch.float16)
    about = "modelo de linguagem" + (f" com adaptador sobre {Path(base).name}" if base else "")
    return _chat(path, model, tokenizer, about + (", em 4 bits" if load_in_4bit else ""))


def _chat(path: Path | str, model, tokenizer, about: str) -> Checkpoint:
    for_inference(model)
    about += "" if tokenizer.chat_template else "; ele só continua textos: não foi ajustado para atender"
    return _checkpoint(path, "chat", model, tokenizer, about)


def _classifier(path: Path) -> Checkpoint:
    with captured_log():
        model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    model = model.to(Runtime.here(show=False).device)
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    return _checkpoint(path, "classifier", model, AutoTokenizer.from_pretrained(path), "classificador", names)


def _checkpoint(path: Path | str, kind: str, model, tokenizer, about: str, labels: Sequence[str] = ()) -> Checkpoint:
    name = path.resolve().name.removesuffix(".safetensors") if isinstance(path, Path) else path
    return Checkpoint(name, kind, model, tokenizer, model.config.max_position_embeddings, about, list(labels))
