"""Where are we running, and what may we spend here? Decided once, asked by every room.

`Runtime.here()` answers with the machine, device, precision, profile, seed and paths. Two environment variables turn
its dials: `AFINA_PROFILE` (cpu or gpu) and `AFINA_OFFLINE=1`, which arms the network guard in this process. A third,
`AFINA_PROGRESS=0`, silences progress bars: under test they would be noise in the committed outputs.
"""

import contextlib
import functools
import gzip
import importlib.metadata
import ipaddress
import json
import os
import platform
import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from afina.errors import CourseError, NetworkBlocked, require

T = TypeVar("T")
SEED = 42
_BF16_FROM = (8, 0)  # compute capability; torch's own is_bf16_supported() also says yes to slow emulation


def course_root() -> Path:
    """The folder that holds `data/` and `notebooks/`: the repository around us, or what an installed package carries.

    Looks from the working folder upwards first, so that a student's own copy wins over an installed one.
    """
    here, package = Path.cwd(), Path(__file__).resolve().parent
    for folder in (here, *here.parents, package.parent, package / "_course"):
        if (folder / "data" / "clubes.json").is_file():
            return folder
    problem = "não encontrei a pasta do curso (a que contém data/clubes.json)."
    raise CourseError(problem, "Abra o notebook de dentro do repositório, ou clone-o e rode `make lab`.", where=here)


def read_split(name: str, split: str, remedy: str) -> list[dict]:
    """The rows of one split of data/`name`.jsonl.gz. CourseError with `remedy`, which names the splits, for another one."""
    with gzip.open(course_root() / "data" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["split"] == split]
    require(rows, f'não há divisão "{split}".', remedy, where=f"data/{name}.jsonl.gz")
    return rows


def build_folder() -> Path:
    """Where lessons and commands write what can be made again: `build/` in the repository, else in the working folder."""
    root = course_root()
    return (root if (root / "notebooks").is_dir() else Path.cwd()) / "build"


def _from_here(path: Path) -> Path:
    """`path` relative to the working folder: printed in a lesson it is short, and the same on every machine."""
    try:
        return Path(os.path.relpath(path))
    except ValueError:  # Windows, another drive
        return path


def _text(host: object) -> str:
    return host.decode("ascii", "replace") if isinstance(host, bytes) else str(host or "")


def is_loopback(host: str) -> bool:
    """Whether this name or address is one that only this machine can reach."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.split("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _audit(event: str, args: tuple) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        place = args[1] if isinstance(args[1], tuple) else ("",)  # a Unix socket's address is a path
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        place = args
    else:
        return
    # our own name too: Jupyter and Ray look it up before they bind to loopback
    ours = ("", "0.0.0.0", "::", "localhost.localdomain", platform.node())
    if (host := _text(place[0])) in ours or is_loopback(host):
        return
    target = ":".join(str(part) for part in (host, *place[1:2]) if part)
    problem = f"a aula tentou acessar {target}, e aqui a rede está desligada de propósito."
    remedy = "No perfil cpu tudo deve rodar sem internet: use os dados e modelos do curso, ou remova AFINA_OFFLINE=1."
    raise NetworkBlocked(problem, remedy, where="guarda de rede")


@functools.cache  # a hook stays to the end of the process
def arm_network_guard() -> None:
    """Refuse every non-loopback connection and name look-up of this process, from now to its end.

    An audit hook, not a patched `socket`: it cannot be imported around and holds for every library written in Python.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # compiled downloaders do not pass through Python's sockets: ask them nicely
    sys.addaudithook(_audit)


def progress(items: Iterable[T] | None = None, *, disable: bool = False, **options):
    """A tqdm bar, `options` its own: in a notebook a widget, in a terminal a line; silent where `AFINA_PROGRESS=0`."""
    disable = disable or os.environ.get("AFINA_PROGRESS") == "0"
    if disable:
        from tqdm import tqdm
    else:
        from tqdm.auto import tqdm
    return tqdm(items, unit_scale=True, disable=disable, **options)


@dataclass(frozen=True)
class Runtime:
    """What this machine is and which profile it runs. `place` is laptop, colab or ci; `precision` fp32, fp16 or bf16."""

    place: str
    device: str
    device_name: str
    precision: str
    profile: str
    seed: int
    root: Path

    @classmethod
    def here(cls, seed: int = SEED, show: bool = True) -> "Runtime":
        """Look once, arm the guard where asked; and, for a lesson (`show`), seed every generator and print the block it opens with.

        With `show=False` it only looks: a function that asks where it runs must not reset its caller's random numbers.
        """
        if os.environ.get("AFINA_OFFLINE") == "1":
            arm_network_guard()
        runtime = _look(seed)
        if show:
            runtime.seed_everything()
            print(runtime)
        return runtime

    @property
    def data(self) -> Path:
        """The small inputs of the course, as seen from the working folder: `../data` in a lesson."""
        return _from_here(self.root / "data")

    @property
    def models(self) -> Path:
        """The course's own small foundation models, as seen from the working folder."""
        return _from_here(self.root / "models")

    @property
    def build(self) -> Path:
        """Folder for what a lesson makes, created when asked for, as seen from the working folder."""
        folder = build_folder()
        folder.mkdir(parents=True, exist_ok=True)
        return _from_here(folder)

    def pick(self, *, cpu: T, gpu: T) -> T:
        """The dial of the course: one value for a laptop, one for a GPU, the same cell for both."""
        return gpu if self.profile == "gpu" else cpu

    def seed_everything(self) -> None:
        """Seed Python, NumPy and PyTorch (CPU and CUDA) with the runtime's seed."""
        import numpy as np
        import torch

        for seeded in (random.seed, np.random.seed, torch.manual_seed):
            seeded(self.seed)

    def __str__(self) -> str:
        place = {"laptop": "este computador", "colab": "Google Colab", "ci": "integração contínua (CI)"}[self.place]
        why = {"cpu": "modelos pequenos do curso, sem rede", "gpu": "modelos e passos de verdade"}[self.profile]
        rows = {
            "Onde": f"{place}, Python {platform.python_version()}",
            "Dispositivo": f"{self.device_name} ({self.precision})",
            "Perfil": f"{self.profile}: {why}",
            "Semente": str(self.seed),
            "Versões": " · ".join(map(" ".join, versions_of(("torch", "transformers", "datasets", "pandas")))),
        }
        return "\n".join(f"{name:<12} {value}" for name, value in rows.items())


def versions_of(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(name, version) of each installed distribution in `names`; the ones that are absent are left out."""
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name).split("+")[0]


@functools.cache
def _look(seed: int) -> Runtime:
    import torch

    has_cuda = torch.cuda.is_available()
    wanted = os.environ.get("AFINA_PROFILE", "")
    require(wanted in ("", "cpu", "gpu"), f'o valor "{wanted}" não existe.', 'Use "cpu" ou "gpu".', "AFINA_PROFILE")
    problem = "o perfil gpu foi pedido, mas não há GPU NVIDIA com CUDA aqui."
    remedy = "Retire a variável para usar o perfil cpu; no Colab, escolha Ambiente de execução › T4 GPU."
    require(has_cuda or wanted != "gpu", problem, remedy, "AFINA_PROFILE")
    profile = wanted or ("gpu" if has_cuda else "cpu")
    if profile == "gpu":
        device, device_name = "cuda", torch.cuda.get_device_name(0)
        precision = "bf16" if torch.cuda.get_device_capability(0) >= _BF16_FROM else "fp16"
    else:
        device, device_name, precision = "cpu", f"CPU, {os.cpu_count()} núcleos", "fp32"
    place = "colab" if "COLAB_RELEASE_TAG" in os.environ else "ci" if os.environ.get("CI") else "laptop"
    return Runtime(place, device, device_name, precision, profile, seed, course_root())
