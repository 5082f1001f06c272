"""LoRA: the model stays as it is, and beside each matrix two thin ones learn (Hu et al., 2021, arXiv 2106.09685).

    add_lora(model, LoRASettings(rank=8, alpha=16))    # in place: only the thin matrices learn from here on
    list(train(model, rows, validation, recipe))
    save_lora(model, path)                             # a few hundred kilobytes; load_lora(base, path) brings it back
    merge(model)                                       # W + alpha / r · B A: a common GPT again

Lesson 10 proves it equal to `peft`.
"""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from afina.errors import CourseError, require
from afina.gpt.model import check_sizes
from afina.gpt.weights import read_tensors, write_tensors
from afina.runtime import SEED

EVERY_MATRIX = ("attention.qkv", "attention.out", "feed_forward.up", "feed_forward.down")
PAIR = ("lora_a", "lora_b")


@dataclass(frozen=True)
class LoRASettings:
    """`rank` columns of freedom, scaled by `alpha / rank`; `dropout` on what enters A; `targets` are ends of layer names."""

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = EVERY_MATRIX
    seed: int = SEED

    def __post_init__(self):
        check_sizes(self, "rank")
        problem = f"alpha={self.alpha!r} e dropout={self.dropout!r} não servem."
        remedy = "alpha é maior que 0; dropout vai de 0 até menos que 1."
        require(self.alpha > 0 and 0 <= self.dropout < 1, problem, remedy, where="LoRA")


class LoRALinear(nn.Module):
    """A frozen `nn.Linear` plus `alpha / rank · B A`: A (rank, in) is random, B (out, rank) is zero, so it starts equal."""

    def __init__(self, base: nn.Linear, settings: LoRASettings, generator: torch.Generator | None = None):
        super().__init__()
        check_rank(base, settings.rank)
        self.base = base.requires_grad_(False)
        self.settings = settings
        self.scale = settings.alpha / settings.rank
        self.drop = nn.Dropout(settings.dropout)
        a = torch.empty(settings.rank, base.in_features)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        self.lora_a = nn.Parameter(a.to(base.weight))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, settings.rank).to(base.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = F.linear(self.drop(x), self.lora_a)
        return self.base(x) + self.scale * F.linear(low, self.lora_b)

    def update(self) -> torch.Tensor:
        """What it adds to the base's weight: (out, in), of rank `rank` at most."""
        return self.scale * self.lora_b @ self.lora_a


def check_rank(base: nn.Linear, rank: int, where: str = "LoRA") -> None:
    """CourseError if the rank is above what a matrix of this shape can have."""
    most = min(base.weight.shape)
    problem = f"rank {rank} é maior que a matriz, que é de {base.out_features} por {base.in_features}."
    remedy = f"Use de 1 a {most}; mais que isso seria treinar a matriz inteira, e mais caro."
    require(rank <= most, problem, remedy, where)


def find_targets(model: nn.Module, settings: LoRASettings) -> dict[str, nn.Linear]:
    """The layers to wrap, by name. CourseError for a target that matches nothing, and for a rank that is too large."""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    endings = ", ".join(dict.fromkeys(".".join(name.split(".")[-2:]) for name in linear)) or "nenhuma"
    remedy = f"Um alvo é o fim do nome de uma camada. Há {endings}."
    for target in settings.targets or ("(nenhum)",):
        found = any(f".{name}".endswith(f".{target}") for name in linear)
        require(found, f"nenhuma camada linear se chama {target}.", remedy, where="LoRA")
    ends = tuple(f".{target}" for target in settings.targets)
    chosen = {name: layer for name, layer in linear.items() if f".{name}".endswith(ends)}
    for name, layer in chosen.items():
        check_rank(layer, settings.rank, where=name)
    return chosen


def add_lora(model: nn.Module, settings: LoRASettings) -> nn.Module:
    """Wrap every `nn.Linear` whose name ends in one of the targets and freeze the rest, in place; returns the model.

    CourseError, with the model as it was, for what `find_targets` refuses and for a LoRA already there.
    """
    wrapped = any(isinstance(module, LoRALinear) for module in model.modules())
    require(not wrapped, "o modelo já tem LoRA.", "Junte-o com merge, ou parta da base outra vez.", where="LoRA")
    chosen = find_targets(model, settings)
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(settings.seed)
    for name, layer in chosen.items():
        replace_module(model, name, LoRALinear(layer, settings, generator))
    return model


def replace_module(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put `new` where the model has the module called `name`."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, new)


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The wrapped layers by name. CourseError if there is none."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    require(layers, "este modelo não tem LoRA.", "Chame add_lora antes.", where="LoRA")
    return layers


def lora_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The thin matrices by name: all that training changed, and all that a file needs to hold."""
    layers = lora_layers(model).items()
    return {f"{name}.{part}": getattr(layer, part).detach() for name, layer in layers for part in PAIR}


def merge(model: nn.Module) -> nn.Module:
    """Add each update to its base and put the common layer back, in place: nothing is left to compute beside it.

    The layers' weights learn again or not as the base's did: they stay frozen until `requires_grad_(True)`.
    """
    for name, layer in lora_layers(model).items():
        with torch.no_grad():
            layer.base.weight += layer.update()
        replace_module(model, name, layer.base)
    return model


def count_weights(model: nn.Module) -> tuple[int, int]:
    """(weights that learn, all weights)."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, learns in sizes if learns), sum(size for size, _ in sizes)


def base_fingerprint(model: nn.Module) -> str:
    """SHA-256 of the weights below the LoRA, the same before and after wrapping: which base an adapter belongs to."""
    own = {
        name.replace(".base.", "."): tensor for name, tensor in model.state_dict().items() if not name.endswith(PAIR)
    }
    digest = hashlib.sha256()
    for name, tensor in sorted(own.items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(plain.shape)} {plain.dtype}".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_lora(model: nn.Module, path: Path) -> None:
    """Write the thin matrices, the settings and the base's fingerprint to one safetensors file: whole, or not there."""
    settings = next(iter(lora_layers(model).values())).settings
    written = {"settings": json.dumps(dataclasses.asdict(settings)), "base": base_fingerprint(model)}
    write_tensors(lora_state(model), path, {"format": "pt", **written})


def load_lora(model: nn.Module, path: Path) -> nn.Module:
    """Put a saved LoRA on its base, which may be wrapped already; returns the model, changed in place.

    CourseError, with the model as it was, for a file that is missing, cut off, not a LoRA, of another base or,
    where the model is wrapped, of other settings.
    """
    tensors, written = read_tensors(path)
    try:
        saved = json.loads(written["settings"])
        settings = LoRASettings(**saved | {"targets": tuple(saved["targets"])})
        base = written["base"]
    except (KeyError, ValueError, TypeError) as error:
        raise CourseError("o arquivo não é um LoRA do curso.", "Grave-o com save_lora.", where=path) from error
    problem = "este LoRA foi treinado sobre outra base: somado a esta, daria ruído."
    remedy = "Carregue o modelo de que ele partiu, sem mudar nenhum peso."
    require(base == base_fingerprint(model), problem, remedy, where=path)
    wrapped = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    own = next(iter(wrapped.values())).settings if wrapped else settings
    for field in ("rank", "alpha", "targets"):
        saved_one, its = getattr(settings, field), getattr(own, field)
        problem = f"o arquivo tem {field} {saved_one}, e o modelo tem {its}."
        require(its == saved_one, problem, "Carregue-o na base limpa: os ajustes vêm no arquivo.", where=path)
    layers = {name: layer.base for name, layer in wrapped.items()} or find_targets(model, settings)
    shapes = {f"{name}.lora_a": (settings.rank, layer.in_features) for name, layer in layers.items()}
    shapes |= {f"{name}.lora_b": (layer.out_features, settings.rank) for name, layer in layers.items()}
    fits = shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    require(fits, "as matrizes do arquivo não são as dos ajustes dele.", "Grave-o com save_lora.", where=path)
    if not wrapped:
        add_lora(model, settings)
    for name, own_tensor in lora_state(model).items():
        own_tensor.copy_(tensors[name])
    return model
