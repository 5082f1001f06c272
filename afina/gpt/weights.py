"""Weights in and out: our folders (config.json and model.safetensors), and transformers' GPT-2 in both directions."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from afina import whole
from afina.errors import CourseError, require
from afina.gpt.model import GPT, GPTConfig

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

# our name of a block's part -> GPT-2's
PARTS = {
    "norm_1": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "norm_2": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}


def write_tensors(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all."""
    with whole.new_path(path) as aside:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, aside, metadata)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """(tensors, metadata) of a safetensors file. CourseError where it is missing, cut off or something else."""
    require(path.is_file(), "não há este arquivo de pesos.", "Rode `make models`, ou confira o caminho.", where=path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        remedy = "Apague-o e grave ou baixe de novo."
        raise CourseError("o arquivo está cortado ou não é safetensors.", remedy, where=path) from error


def fill(model: torch.nn.Module, tensors: dict[str, torch.Tensor], where: Path | str) -> None:
    """Copy `tensors` into the model only if every name and shape fits: on CourseError the model is as it was."""
    own, remedy = model.state_dict(), "Carregue-os com a configuração com que foram gravados."
    missing, left_over = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or left_over:
        what = f"falta {missing[0]}" if missing else f"sobra {left_over[0]}"
        raise CourseError(f"os pesos são de outro modelo: {what}.", remedy, where)
    for name, tensor in own.items():
        given, wanted = tuple(tensors[name].shape), tuple(tensor.shape)
        require(given == wanted, f"{name} tem a forma {given}, e o modelo espera {wanted}.", remedy, where)
    model.load_state_dict(tensors)


def save_gpt(model: GPT, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` into `folder`."""
    write_tensors(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    whole.write(folder / "config.json", json.dumps(asdict(model.config), indent=2) + "\n")


def load_gpt(folder: Path | str) -> GPT:
    """The model of a folder that `save_gpt` wrote, in evaluation mode."""
    folder = whole.mend(folder)
    place, remedy = folder / "config.json", "Rode `make models`, ou confira o caminho."
    require(place.is_file(), "não há config.json nesta pasta.", remedy, where=folder)
    try:
        config = GPTConfig(**json.loads(place.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CourseError("a configuração não é de um GPT do curso.", "Grave-o com save_gpt.", where=place) from error
    model = GPT(config)
    fill(model, read_tensors(folder / "model.safetensors")[0], folder)
    return model.eval()


def _pairs(n_layers: int):
    """(our name, GPT-2's name, is it a matrix that GPT-2 keeps transposed) for every tensor."""
    yield "tokens.weight", "transformer.wte.weight", False
    yield "positions.weight", "transformer.wpe.weight", False
    for layer in range(n_layers):
        for ours, theirs in PARTS.items():
            for kind in ("weight", "bias"):
                transposed = kind == "weight" and "norm" not in ours
                yield f"blocks.{layer}.{ours}.{kind}", f"transformer.h.{layer}.{theirs}.{kind}", transposed
    yield "norm.weight", "transformer.ln_f.weight", False
    yield "norm.bias", "transformer.ln_f.bias", False


def from_gpt2(gpt2: "GPT2LMHeadModel") -> GPT:
    """Our GPT with the weights of a `GPT2LMHeadModel`. Its Conv1D keeps (in, out), nn.Linear keeps (out, in)."""
    its = gpt2.config
    original = its.activation_function in ("gelu_new", "gelu_pytorch_tanh") and its.n_inner in (None, 4 * its.n_embd)
    problem = f"este GPT-2 usa {its.activation_function} e n_inner {its.n_inner}."
    remedy = "Só carregamos a arquitetura original: gelu_new, quatro vezes mais larga."
    require(original, problem, remedy, where="from_gpt2")
    model = GPT(GPTConfig(its.vocab_size, its.n_positions, its.n_embd, its.n_head, its.n_layer, its.resid_pdrop))
    theirs = gpt2.state_dict()
    taken = {ours: theirs[name].T if flip else theirs[name] for ours, name, flip in _pairs(its.n_layer)}
    fill(model, taken, "from_gpt2")
    return model.eval()


def to_gpt2(model: GPT) -> "GPT2LMHeadModel":
    """A `GPT2LMHeadModel` with our weights, for whatever reads transformers' format."""
    from transformers import GPT2Config, GPT2LMHeadModel

    c = model.config
    drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), c.dropout)
    sizes = {"n_positions": c.context, "n_embd": c.d_model, "n_head": c.n_heads, "n_layer": c.n_layers}
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=c.vocab_size, bos_token_id=0, eos_token_id=0, **sizes, **drops))
    ours = model.state_dict()
    given = {name: ours[mine].T if flip else ours[mine] for mine, name, flip in _pairs(c.n_layers)}
    fill(gpt2, given | {"lm_head.weight": ours["tokens.weight"]}, "to_gpt2")
    return gpt2.eval()
