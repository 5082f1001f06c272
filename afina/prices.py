"""Every dated price and limit of a service, read from prices.toml: what it takes, what it charges, and which page said so when.

Services change these figures without notice: the date is part of every answer.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from afina.errors import CourseError
from afina.ptbr import decimal, dollars

HOURS = 730  # in a month
CONVERSE, COMPLETION = "bedrock-conversation", "bedrock-completion"
FORMATS = ("openai-chat", "openai-dpo", CONVERSE, COMPLETION)
# Fewer than this is allowed by OpenAI (its floor is 10, not the 100 that old tutorials repeat) but seldom teaches much:
# its guide sees gains at 50-100 examples, and AWS advises 100 for each task.
MORE_HELPS = 100

_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Source:
    """Where a figure stands and the day it was read there. `first_hand` is False where only somebody else's account was read."""

    page: str
    read_on: str
    first_hand: bool = True


SOURCES = {name: Source(**entry) for name, entry in _TABLE["source"].items()}


def _sourced(entry: Mapping) -> dict:
    """An entry as its dataclass takes it: lists as tuples, names of sources as the sources."""
    row = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return row | {key: SOURCES[row[key]] for key in ("source", "limits") if key in row}


@dataclass(frozen=True)
class Price:
    """One price in US$. `usd` None: not found in any source."""

    what: str
    unit: str
    usd: float | None = None
    source: Source | None = None

    def __str__(self) -> str:
        if self.usd is None:
            return "preço não verificado"
        value = f"US$ {decimal(self.usd, 10).rstrip('0')}" if self.usd < 0.01 else dollars(self.usd)
        doubt = "" if self.source and self.source.first_hand else " (de segunda mão, não verificado)"
        return f"{value} por {self.unit}{doubt}"


_PRICES = {name: Price(**_sourced(entry)) for name, entry in _TABLE["price"].items()}
MODEL_MONTH, NOVA_THROUGHPUT, GATEWAY_USD, FUNCTION_CALL_USD, FUNCTION_SECOND_USD = (
    _TABLE["price"][name]["usd"]
    for name in ("model_month", "nova_throughput", "gateway", "function_call", "function_time")
)
PRICES = tuple(_PRICES[name] for name in ("storage", "gateway", "function_call", "function_time", "database"))
STORAGE, GATEWAY, FUNCTION_CALL, FUNCTION_TIME, DATABASE = PRICES
FUNCTION_GB, FUNCTION_SECONDS, OPENAI_FILE_BYTES = _TABLE["limit"].values()
# What the jobs' ledger may hold, in the order of removal: its title, and US$ an hour for one that only lies there.
LEDGER_TITLES: dict[str, str] = {kind: entry["title"] for kind, entry in _TABLE["thing"].items()}
IDLE: dict[str, float | None] = {kind: entry.get("idle") for kind, entry in _TABLE["thing"].items()} | {
    "bedrock-model": MODEL_MONTH / HOURS
}


@dataclass(frozen=True)
class Machine:
    """A machine by the hour. `usd_an_hour` None: no price was found, or it is yours."""

    name: str
    memory_gb: float
    usd_an_hour: float | None = None
    source: Source | None = None


MACHINES = tuple(Machine(name, **_sourced(entry)) for name, entry in _TABLE["machine"].items())
RTX_3080 = Machine("RTX 3080", 10)  # the card that the course's first text asks for
_SAID = {name: dollars(_TABLE["price"][name]["usd"]) for name in ("model_month", "nova_throughput")}
NOTES = {name: text.format(**_SAID) for name, text in _TABLE["note"].items()}


@dataclass(frozen=True)
class Model:
    """One base model of one service. Token limits are per example; `price` is USD for a million training tokens.

    `limits` is the source of the limits, `source` that of the price. `firm_tokens` is False where the token limit was not
    found in the service's own pages: exceeding it is then a warning. `examples_span` says whether the example limits count
    the training file alone or both files together.
    """

    id: str
    service: str
    format: str
    min_examples: int
    epochs: tuple[int, int, int | None]  # least, most, default; None: the service decides
    notes: tuple[str, ...]
    limits: Source
    max_examples: int | None = None
    max_tokens: int | None = None
    firm_tokens: bool = False
    price: float | None = None
    source: Source | None = None
    examples_span: str = "train"
    retired: str = ""

    @property
    def read_on(self) -> str:
        """The older day of the two on which its figures were read."""
        return min(one.read_on for one in (self.limits, self.source) if one)


def _model(name: str, entry: Mapping) -> Model:
    row = _sourced({**_TABLE["family"][entry["family"]], **entry})
    del row["family"]
    row["epochs"] = (*row["epochs"], None)[:3]  # the table leaves out a default that the service decides
    return Model(name, **row | {"notes": tuple(NOTES[one] for one in row["notes"])})


MODELS = tuple(_model(name, entry) for name, entry in _TABLE["model"].items())


def find_model(name: str | Model) -> Model:
    """The model with this id, dated or not ("gpt-4.1-mini", "amazon.nova-micro-v1:0"), or itself; CourseError if unknown."""
    if isinstance(name, Model):
        return name
    wanted = name.strip().lower()
    for model in MODELS:
        if f"{model.id}:".startswith((f"{wanted}-20", f"{wanted}:")):
            return model
    known = ", ".join(model.id for model in MODELS)
    raise CourseError(f'não conheço o modelo "{name}".', f"Use um destes: {known}.", where="modelo")


def default_model(form: str) -> Model:
    """The model whose limits apply when the caller names none: the first of the table that takes this format."""
    return next(model for model in MODELS if takes(model, form))


def takes(model: Model, form: str) -> bool:
    """Whether the model can be trained from a file in this format (OpenAI takes chat and preference pairs)."""
    return model.format == form or (form == "openai-dpo" and model.service == "openai")


@dataclass(frozen=True)
class Provider:
    """One service that takes the same calls. `model` is empty where no source confirmed an id: the caller must choose."""

    name: str
    title: str
    hosts: tuple[str, ...]
    key_variable: str
    note: str
    source: Source
    base_url: str = ""  # empty: the account's own address, in `url_variable`
    url_variable: str = ""
    model: str = ""
    extra_body: Mapping[str, object] = field(default_factory=dict)
    hyperparameters: Mapping[str, object] = field(default_factory=dict)  # more of them, in the top-level field
    methods: tuple[str, ...] = ("supervised",)


PROVIDERS = {name: Provider(name, **_sourced(entry)) for name, entry in _TABLE["provider"].items()}
