"""What does it take to host a model? From its size, precision and traffic to memory, machines and dollars a month.

    size = read_size("models/llama-base")            # or TINYLLAMA, FOUR_BILLION, EIGHT_BILLION, SEVENTY_BILLION
    memory(size, "nf4", conversations=8, tokens=2048).total
    for choice in plan(EIGHT_BILLION, "nf4", Traffic(requests_a_day=5_000), measured={"L4": 600}):
        print(choice)

Memory is arithmetic. Speed is not: `measured` is what you saw on that machine, and no default pretends to know it. Machines and
prices, with source and date, are those of `afina.prices`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from afina import prices
from afina.errors import CourseError, require
from afina.prices import HOURS, MACHINES, PRICES, RTX_3080, Machine, Price  # noqa: F401 - lesson 17 has them from here
from afina.ptbr import decimal, dollars

READ_ON = min(machine.source.read_on for machine in MACHINES if machine.source)
GB = 1e9
# Of one weight. NF4: 4 bits and, with double quantisation, 0.127 for scales (Dettmers et al. 2023, "QLoRA", arXiv 2305.14314).
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1, "nf4": (4 + 0.127) / 8}
# What a process takes besides weights and cache: libraries, the accelerator's own context, activations. A rule of thumb.
PROCESS_GB, SPARE = 1.0, 0.1


@dataclass(frozen=True)
class Size:
    """What of a model decides its memory. `kept_whole` of its weights stay unquantised: embeddings and, untied, the head.

    `kv_width` is the columns of the keys (and of the values) of one layer: key heads times head width.
    """

    name: str
    parameters: int
    kept_whole: int
    layers: int
    kv_width: int


TINYLLAMA = Size("TinyLlama 1.1B", 1_100_048_384, 2 * 32_000 * 2_048, 22, 4 * 64)
FOUR_BILLION = Size("Qwen3 4B", 4_022_468_096, 151_936 * 2_560, 36, 8 * 128)
EIGHT_BILLION = Size("Llama 3.1 8B", 8_030_261_248, 2 * 128_256 * 4_096, 32, 8 * 128)
SEVENTY_BILLION = Size("Llama 3.1 70B", 70_553_706_496, 2 * 128_256 * 8_192, 80, 8 * 128)


def read_header(path: str | Path) -> dict[str, dict]:
    """{tensor: {"dtype", "shape", "data_offsets"}} of a safetensors file, from its first bytes alone.

    CourseError for a file of another kind.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= path.stat().st_size - 8:
                raise ValueError
            header = json.loads(file.read(length))
    except FileNotFoundError:
        raise CourseError("não há este arquivo.", "Confira o nome da pasta.", where=path) from None
    except ValueError:
        raise CourseError("isto não é um arquivo safetensors.", "Confira se o download terminou.", where=path) from None
    header.pop("__metadata__", None)
    return header


def read_size(folder: str | Path) -> Size:
    """The size of a Llama-like folder (config.json and model*.safetensors), without loading any weight."""
    folder = Path(folder)
    files = sorted(folder.glob("model*.safetensors"))
    there = files and (folder / "config.json").is_file()
    require(there, "não há config.json e model*.safetensors nesta pasta.", "Aponte a pasta do modelo.", folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    try:
        layers, heads, width = (config[name] for name in ("num_hidden_layers", "num_attention_heads", "hidden_size"))
    except KeyError as error:
        raise CourseError(f"falta {error} em config.json.", "Esta conta é para modelos como o Llama.", folder) from None
    head_width = config.get("head_dim") or width // heads
    tensors = {name: math.prod(of["shape"]) for path in files for name, of in read_header(path).items()}
    whole = sum(count for name, count in tensors.items() if "embed_tokens" in name or "lm_head" in name)
    key_heads = config.get("num_key_value_heads") or heads
    return Size(folder.name, sum(tensors.values()), whole, layers, key_heads * head_width)


@dataclass(frozen=True)
class Memory:
    """Gigabytes (1e9 bytes) while the model serves: weights, key and value cache, and the rest of the process."""

    weights: float
    cache: float
    process: float

    @property
    def total(self) -> float:
        return self.weights + self.cache + self.process


def weight_bytes(size: Size, precision: str, rest: str = "bf16") -> float:
    """Bytes of the weights. With int8 and nf4, embeddings and head stay in precision `rest`."""
    per_weight = _bytes_of(precision)
    whole = _bytes_of(rest) if precision in ("int8", "nf4") else per_weight
    return (size.parameters - size.kept_whole) * per_weight + size.kept_whole * whole


def cache_bytes(size: Size, conversations: int, tokens: int, precision: str = "bf16") -> float:
    """Bytes of keys and values: 2 · layers · kv_width for each token of each conversation that is open at once."""
    return 2 * size.layers * size.kv_width * conversations * tokens * _bytes_of(precision)


def memory(size: Size, precision: str, conversations: int = 1, tokens: int = 2_048) -> Memory:
    """What serving takes with so many conversations at once, each with up to `tokens` tokens of question and answer."""
    counted = min(conversations, tokens) >= 1
    require(counted, "conversas e tokens contam-se a partir de 1.", "Confira os dois.", "memory")
    weights = weight_bytes(size, precision) / GB
    return Memory(weights, cache_bytes(size, conversations, tokens) / GB, PROCESS_GB + SPARE * weights)


def training_memory(size: Size, method: str, share: float = 0.01) -> float:
    """Gigabytes that training must hold, without activations: lesson 14's account at any size.

    "full": 16 bytes a weight (weight, gradient, two averages of Adam). "lora", "qlora": the base frozen in bf16 or NF4, and
    16 bytes for each of the adapter's weights, which are `share` of the model's.
    """
    if method == "full":
        return 16 * size.parameters / GB
    frozen = {"lora": "bf16", "qlora": "nf4"}
    require(method in frozen, f'o método "{method}" não existe.', 'Use "full", "lora" ou "qlora".', "training_memory")
    return (weight_bytes(size, frozen[method]) + 16 * share * size.parameters) / GB


def _bytes_of(precision: str) -> float:
    problem, remedy = f'a precisão "{precision}" não existe.', f"Use {', '.join(BYTES)}."
    require(precision in BYTES, problem, remedy, "afina.serve.hosting")
    return BYTES[precision]


@dataclass(frozen=True)
class Traffic:
    """What people ask. `peak` is how many times busier the busiest moment is than the mean of the day."""

    requests_a_day: float
    prompt_tokens: int = 500
    answer_tokens: int = 200
    peak: float = 5.0

    def __post_init__(self):
        possible = min(self.requests_a_day, self.prompt_tokens, self.answer_tokens) > 0 and self.peak >= 1
        require(possible, "o tráfego tem um número impossível.", "Pedidos e tokens > 0, pico ≥ 1.", "Traffic")

    @property
    def requests_a_month(self) -> float:
        return self.requests_a_day * (HOURS / 24)

    @property
    def peak_tokens_a_second(self) -> float:
        """Tokens of answers to be written each second at the busiest moment."""
        return self.requests_a_day / 86_400 * self.peak * self.answer_tokens


@dataclass(frozen=True)
class Choice:
    """One machine for one model and one traffic: does it fit and, where its speed was measured, how many and how much."""

    machine: Machine
    memory: Memory  # of each machine
    machines: int | None = None  # None: nobody measured the speed there
    busy: float | None = None  # share of the machines' speed that the mean of the day uses
    usd_a_month: float | None = None
    usd_a_million: float | None = None  # of tokens of answers

    @property
    def fits(self) -> bool:
        return self.memory.total <= self.machine.memory_gb

    def __str__(self) -> str:
        name, room = self.machine.name, f"{decimal(self.memory.total, 1)} de {self.machine.memory_gb:g} GB"
        if not self.fits:
            return f"{name}: não cabe ({room})"
        if self.machines is None:
            return f"{name}: cabe ({room}); velocidade não medida"
        cost = "preço não verificado"
        if self.usd_a_month is not None and self.usd_a_million is not None:
            cost = f"{dollars(self.usd_a_month)} por mês, {dollars(self.usd_a_million)} por milhão de tokens"
        return f"{self.machines} × {name}: {room}, {self.busy:.0%} do tempo ocupada, {cost}"


def plan(
    size: Size,
    precision: str,
    traffic: Traffic,
    measured: Mapping[str, float],
    answer_seconds: float = 5.0,
    machines: Sequence[Machine] = MACHINES,
) -> list[Choice]:
    """For each machine, whether the model fits and what the traffic costs there, always on.

    `measured`: {name of a machine: tokens a second that it writes with its batch full}, by your own measure (lesson 17, part
    6). Conversations open at once are arrivals times `answer_seconds` (Little, 1961), shared by the machines. CourseError for
    a name that is not among the machines.
    """
    names = [machine.name for machine in machines]
    strange, remedy = ", ".join(sorted(set(measured) - set(names))), f"As da tabela são: {', '.join(names)}."
    require(not strange, f"não conheço a máquina {strange}.", remedy, "plan")
    positive = min([answer_seconds, *measured.values()]) > 0
    require(positive, "velocidade e tempo de resposta são maiores que zero.", "Meça-os primeiro.", "plan")
    arrivals, at_peak = traffic.requests_a_day / 86_400 * traffic.peak, traffic.peak_tokens_a_second
    answered = traffic.requests_a_month * traffic.answer_tokens / 1e6
    choices = []
    for machine in machines:
        speed = measured.get(machine.name)
        count = max(1, math.ceil(at_peak / speed)) if speed else 1
        open_at_once = max(1, math.ceil(arrivals * answer_seconds / count))
        need = memory(size, precision, open_at_once, traffic.prompt_tokens + traffic.answer_tokens)
        if not speed:
            choices.append(Choice(machine, need))
            continue
        busy = at_peak / traffic.peak / (count * speed)
        usd = None if machine.usd_an_hour is None else count * machine.usd_an_hour * HOURS
        choices.append(Choice(machine, need, count, busy, usd, None if usd is None else usd / answered))
    return choices


def function_month(traffic: Traffic, memory_gb: float, answer_seconds: float) -> float:
    """Dollars a month of a CPU function behind a gateway, which sleeps for free. CourseError past the service's limits."""
    most = f"{prices.FUNCTION_GB:g} GB e {prices.FUNCTION_SECONDS} s"
    problem = f"uma função vai até {most}, sem GPU: pediram {memory_gb:.1f} GB e {answer_seconds:g} s."
    allowed = memory_gb <= prices.FUNCTION_GB and answer_seconds <= prices.FUNCTION_SECONDS
    require(allowed, problem, "Use um modelo menor, ou uma máquina por hora.", "function_month")
    call = (prices.FUNCTION_CALL_USD + prices.GATEWAY_USD) / 1e6
    return traffic.requests_a_month * (call + memory_gb * answer_seconds * prices.FUNCTION_SECOND_USD)


def own_month(price_usd: float, watts: float, usd_a_kwh: float, months: int = 36) -> float:
    """Dollars a month of a machine of yours, always on: its price spread over `months`, and its electricity."""
    return price_usd / months + watts / 1000 * HOURS * usd_a_kwh
