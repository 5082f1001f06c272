"""Every dated price and limit of a service, once: what it takes, what it charges, and which page said so on which day.

Services change these figures without notice: the date is part of every answer. A price that could not be found in a source
is None, and the course then says "preço não verificado" instead of inventing one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from afina.errors import CourseError
from afina.ptbr import decimal, dollars

HOURS = 730  # in a month


# --- sources ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Where a figure stands and the day it was read there, for some pages in a stored copy.

    `first_hand` is False where only somebody else's account of the page could be read.
    """

    page: str
    read_on: str
    first_hand: bool = True


# Minimum 10 examples, gains seen at 50-100. Azure documents 65,536 tokens an example for gpt-4o; OpenAI prints no limit.
OPENAI_GUIDE = Source("developers.openai.com/api/docs/guides/supervised-fine-tuning", "2026-11-20")
OPENAI_PRICES = Source("developers.openai.com/api/docs/pricing", "2026-11-20")  # its section "Fine-tuning"
OPENAI_DEPRECATIONS = Source("developers.openai.com/api/docs/deprecations", "2026-11-20")
OPENAI_FILES = Source("developers.openai.com/api/reference, Files", "2026-11-20")
# With custom-models-hp.html beside it for the epochs.
BEDROCK_DATA = Source("docs.aws.amazon.com/bedrock/latest/userguide/model-customization-prepare.html", "2026-11-20")
# With nova-2-sft-data-prep.html beside it, and the record counts of amazon-nova-samples' nova_ft_dataset_validator.py.
NOVA_DATA = Source("docs.aws.amazon.com/nova/latest/userguide/fine-tune-prepare-data-understanding.html", "2026-11-20")
# Answers of this API, of the day it names, published in a public project's cost log.
AWS_LIST_DAY = "2026-08-02"
AWS_LIST = Source(f"AWS Price List API (AmazonBedrock, us-east-1), {AWS_LIST_DAY}", "2026-11-20")
HF_MACHINES = Source("huggingface.co/docs/inference-endpoints/support/pricing (cópia do fim de 2025)", "2026-11-25")
AWS_GATEWAY = Source("docs.aws.amazon.com, Best Practices for Designing Amazon API Gateway Private APIs", "2026-11-25")
LAMBDA_LIMITS = Source("docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits", "2026-11-25")
# The price page fills its tables in the browser.
AWS_SECOND_HAND = Source("aws.amazon.com, páginas de preços", "2026-11-25", first_hand=False)


# --- prices that are not of a training token -------------------------------------------------------------------------


@dataclass(frozen=True)
class Price:
    """One price in US$. `usd` None: not found in any source."""

    what: str
    usd: float | None
    unit: str
    source: Source | None = None

    def __str__(self) -> str:
        if self.usd is None:
            return "preço não verificado"
        value = f"US$ {decimal(self.usd, 10).rstrip('0')}" if self.usd < 0.01 else dollars(self.usd)
        doubt = "" if self.source and self.source.first_hand else " (de segunda mão, não verificado)"
        return f"{value} por {self.unit}{doubt}"


MODEL_MONTH = 1.95  # AWS_LIST: one custom model, stored
NOVA_THROUGHPUT = 60.50  # AWS_LIST: one unit, an hour
# USD an hour for a thing of the jobs' ledger that only lies there. OpenAI bills training and tokens, and its pages name no
# price for a stored file or model. S3 bills by size, and of provisioned throughput only Nova's price has a source.
IDLE: dict[str, float | None] = {
    "bedrock-throughput": None,
    "bedrock-deployment": 0.0,
    "openai-job": 0.0,
    "bedrock-job": 0.0,
    "openai-model": 0.0,
    "bedrock-model": MODEL_MONTH / HOURS,
    "openai-file": 0.0,
    "s3-bucket": None,
    "iam-role": 0.0,
}

FUNCTION_CALL_USD, GATEWAY_USD, FUNCTION_SECOND_USD = 0.20, 1.00, 0.0000166667
STORAGE = Price("armazenamento de objetos (S3)", 0.023, "GB e mês", AWS_SECOND_HAND)
GATEWAY = Price("API gateway (HTTP)", GATEWAY_USD, "milhão de pedidos", AWS_GATEWAY)
FUNCTION_CALL = Price("função (Lambda), chamada", FUNCTION_CALL_USD, "milhão de pedidos", AWS_SECOND_HAND)
FUNCTION_TIME = Price("função (Lambda), tempo", FUNCTION_SECOND_USD, "GB e segundo", AWS_SECOND_HAND)
DATABASE = Price("banco de dados gerenciado", None, "mês")
PRICES = (STORAGE, GATEWAY, FUNCTION_CALL, FUNCTION_TIME, DATABASE)
FUNCTION_GB, FUNCTION_SECONDS = 10.24, 900  # LAMBDA_LIMITS: a function's memory and time


@dataclass(frozen=True)
class Machine:
    """A machine by the hour. `usd_an_hour` None: no price was found, or it is yours."""

    name: str
    memory_gb: float
    usd_an_hour: float | None
    source: Source | None = None


MACHINES = (
    Machine("CPU, 4 núcleos", 8, 0.134, HF_MACHINES),
    Machine("T4", 14, 0.50, HF_MACHINES),
    Machine("L4", 24, 0.80, HF_MACHINES),
    Machine("L40S", 48, 1.80, HF_MACHINES),
    Machine("A100", 80, 2.50, HF_MACHINES),
    Machine("H200", 141, 5.00, HF_MACHINES),
    Machine("nó de 4 A100", 320, 10.00, HF_MACHINES),
)
RTX_3080 = Machine("RTX 3080", 10, None)  # the card that the course's first text asks for


# --- models to train -------------------------------------------------------------------------------------------------


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
    max_examples: int | None
    max_tokens: int | None
    firm_tokens: bool
    epochs: tuple[int, int, int | None]  # least, most, default; None: the service decides
    price: float | None
    source: Source | None
    notes: tuple[str, ...]
    limits: Source
    examples_span: str = "train"
    retired: str = ""

    @property
    def read_on(self) -> str:
        """The older day of the two on which its figures were read."""
        return min(one.read_on for one in (self.limits, self.source) if one)


_LIST = f"lista de {AWS_LIST_DAY}"
OPENAI_END = (
    "A OpenAI está encerrando o fine-tuning: contas novas já são recusadas na criação do job (erro 403 "
    "training_not_available), ninguém cria jobs a partir de 2027-01-06 e estes modelos saem do ar em 2027-01-14."
)
OPENAI_HOSTING = "Usar o modelo ajustado custa mais que o modelo base: até o dobro por token."
BEDROCK_STORAGE = f"Cada modelo guardado na AWS custa {dollars(MODEL_MONTH)} por mês ({_LIST}) até você apagá-lo."
ON_DEMAND = "Para usar, crie uma implantação sob demanda (custom model deployment): parada, ela não cobra por hora."
PROVISIONED = (
    "Armadilha: este modelo só responde com throughput provisionado, cobrado por hora mesmo parado "
    f"(no Nova, {dollars(NOVA_THROUGHPUT)} por hora na {_LIST}). Apague-o assim que terminar."
)
PROVISIONED_TRAP = (
    f"Não crie throughput provisionado sem querer: {dollars(NOVA_THROUGHPUT)} por hora, mesmo parado ({_LIST})."
)

CONVERSE, COMPLETION = "bedrock-conversation", "bedrock-completion"
FORMATS = ("openai-chat", "openai-dpo", CONVERSE, COMPLETION)


def _openai(name: str, price: float, retired: str = "") -> Model:
    return Model(
        name, "openai", "openai-chat", 10, None, 65_536, False, (1, 50, None), price, OPENAI_PRICES,
        (OPENAI_END, OPENAI_HOSTING), OPENAI_GUIDE, retired=retired,
    )  # fmt: skip


def _nova(name: str, least: int, price: float | None) -> Model:
    return Model(
        name, "bedrock", CONVERSE, least, 20_000, None, False, (1, 5, 2), price, AWS_LIST if price else None,
        (ON_DEMAND, PROVISIONED_TRAP, BEDROCK_STORAGE), NOVA_DATA,
    )  # fmt: skip


def _llama(name: str, form: str, max_tokens: int = 16_000, hosting: str = PROVISIONED) -> Model:
    return Model(
        name, "bedrock", form, 100, 10_000, max_tokens, True, (1, 10, 5), None, None,
        (hosting, BEDROCK_STORAGE), BEDROCK_DATA, examples_span="train+validation",
    )  # fmt: skip


MODELS = (
    _openai("gpt-4.1-mini-2025-04-14", 5.0),
    _openai("gpt-4.1-2025-04-14", 25.0),
    _openai("gpt-4.1-nano-2025-04-14", 1.5, retired="2026-10-23"),
    _nova("amazon.nova-micro-v1:0:128k", 8, 1.0),
    _nova("amazon.nova-lite-v1:0:300k", 8, None),
    _nova("amazon.nova-pro-v1:0:300k", 8, None),
    _nova("amazon.nova-2-lite-v1:0:256k", 200, 3.78),
    _llama("meta.llama3-3-70b-instruct-v1:0:128k", CONVERSE, hosting=ON_DEMAND),
    _llama("meta.llama3-2-1b-instruct-v1:0:128k", CONVERSE),
    _llama("meta.llama3-2-3b-instruct-v1:0:128k", CONVERSE),
    _llama("meta.llama3-2-11b-instruct-v1:0:128k", CONVERSE),
    _llama("meta.llama3-2-90b-instruct-v1:0:128k", CONVERSE, max_tokens=10_000),
    _llama("meta.llama3-1-8b-instruct-v1:0:128k", COMPLETION),
    _llama("meta.llama3-1-70b-instruct-v1:0:128k", COMPLETION),
)
# Fewer than this is allowed by OpenAI (its floor is 10, not the 100 that old tutorials repeat) but seldom teaches much:
# its guide sees gains at 50-100 examples, and AWS advises 100 for each task.
MORE_HELPS = 100
OPENAI_FILE_BYTES = (
    512_000_000  # OPENAI_FILES: one upload through /v1/files; larger ones go in parts through /v1/uploads
)


def find_model(name: str) -> Model:
    """The model with this id, dated or not ("gpt-4.1-mini", "amazon.nova-micro-v1:0"); CourseError if unknown."""
    wanted = name.strip().lower()
    for model in MODELS:
        if model.id == wanted or model.id.startswith((f"{wanted}-20", f"{wanted}:")):
            return model
    known = ", ".join(model.id for model in MODELS)
    raise CourseError(f'não conheço o modelo "{name}".', f"Use um destes: {known}.", where="modelo")


def default_model(form: str) -> Model:
    """The model whose limits apply when the caller names none: the first of the table that takes this format."""
    return next(model for model in MODELS if takes(model, form))


def takes(model: Model, form: str) -> bool:
    """Whether the model can be trained from a file in this format (OpenAI takes chat and preference pairs)."""
    return model.format == form or (form == "openai-dpo" and model.service == "openai")


# --- services that speak OpenAI's protocol ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Provider:
    """One service that takes the same calls. `model` is empty where no source confirmed an id: the caller must choose."""

    name: str
    title: str
    base_url: str  # empty: the account's own address, in `url_variable`
    hosts: tuple[str, ...]
    key_variable: str
    model: str
    note: str
    source: Source
    url_variable: str = ""
    extra_body: Mapping[str, object] = field(default_factory=dict)
    hyperparameters: Mapping[str, object] = field(default_factory=dict)  # more of them, in the top-level field
    methods: tuple[str, ...] = ("supervised",)


_PROVIDERS = (
    Provider(
        "openai", "OpenAI", "https://api.openai.com/v1", ("api.openai.com",), "OPENAI_API_KEY", MODELS[0].id,
        "Só contas com fine-tuning antigo e uso nos últimos 60 dias; ninguém cria jobs a partir de 2027-01-06.",
        OPENAI_DEPRECATIONS, methods=("supervised", "dpo"),
    ),
    Provider(
        "azure", "Azure (Microsoft Foundry)", "", (".services.ai.azure.com", ".openai.azure.com"), "AZURE_OPENAI_API_KEY",
        "", "Clientes novos: modelos abertos (gpt-oss-20b, Ministral-3B, Qwen-32B); a implantação cobra por hora.",
        Source("github.com/MicrosoftDocs/azure-ai-docs; github.com/microsoft/azure-skills", "2026-11-20"),
        url_variable="AZURE_OPENAI_BASE_URL", extra_body={"trainingType": "globalStandard"},
    ),
    Provider(
        "nebius", "Nebius Token Factory", "https://api.tokenfactory.nebius.com/v1/", ("api.tokenfactory.nebius.com",),
        "NEBIUS_API_KEY", "meta-llama/Meta-Llama-3.1-8B-Instruct", "LoRA em modelos abertos; arquivo de até 5 GB.",
        Source("docs.tokenfactory.nebius.com; skills.sh/arindam200/nebius-skills", "2026-11-20"),
        hyperparameters={"lora": True},
    ),
    Provider(
        "crusoe", "Crusoe Intelligence Foundry", "https://api.intelligence.crusoecloud.com/v1",
        ("api.intelligence.crusoecloud.com",), "CRUSOE_API_KEY", "",
        "LoRA em modelos abertos; arquivo de até 3 GB; os pesos podem ser baixados.",
        Source("docs.crusoecloud.com/serverless-fine-tuning/fine-tune-a-model", "2026-11-20"),
    ),
)  # fmt: skip
PROVIDERS = {provider.name: provider for provider in _PROVIDERS}
