"""What each service accepts and charges for a fine-tuning file: one table, dated, with its sources.

Services change these figures without notice: the date is part of every answer. A price that could not be found in a
source is None, and the course then says "preço não verificado" instead of inventing one.

Sources (read on `READ_ON`, some through stored copies of the pages):
  [openai-sft]     developers.openai.com/api/docs/guides/supervised-fine-tuning: minimum 10 examples, gains seen at 50-100
  [openai-price]   developers.openai.com/api/docs/pricing, section "Fine-tuning": USD for a million training tokens
  [openai-end]     developers.openai.com/api/docs/deprecations: the wind-down dates
  [openai-files]   developers.openai.com/api/reference, Files: 512 MB a file
  [bedrock-data]   docs.aws.amazon.com/bedrock/latest/userguide/model-customization-prepare.html
  [nova-data]      docs.aws.amazon.com/nova/latest/userguide/fine-tune-prepare-data-understanding.html
  [nova2-data]     docs.aws.amazon.com/bedrock/latest/userguide/nova-2-sft-data-prep.html
  [nova-validator] github.com/aws-samples/amazon-nova-samples, nova_ft_dataset_validator.py: record counts
  [bedrock-hp]     docs.aws.amazon.com/bedrock/latest/userguide/custom-models-hp.html: epochs
  [aws-price]      AWS Price List API, service AmazonBedrock, answers of 2026-08-02 published in a public project's cost log
"""

from __future__ import annotations

from dataclasses import dataclass

from afina.errors import CourseError

READ_ON = "2026-11-20"

OPENAI_END = (
    "A OpenAI está encerrando o fine-tuning: contas novas já são recusadas na criação do job (erro 403 "
    "training_not_available), ninguém cria jobs a partir de 2027-01-06 e estes modelos saem do ar em 2027-01-14."
)
OPENAI_HOSTING = "Usar o modelo ajustado custa mais que o modelo base: até o dobro por token."
BEDROCK_STORAGE = "Cada modelo guardado na AWS custa US$ 1,95 por mês (lista de 2026-08-02) até você apagá-lo."
ON_DEMAND = "Para usar, crie uma implantação sob demanda (custom model deployment): parada, ela não cobra por hora."
PROVISIONED = (
    "Armadilha: este modelo só responde com throughput provisionado, cobrado por hora mesmo parado "
    "(no Nova, US$ 60,50 por hora na lista de 2026-08-02). Apague-o assim que terminar."
)
PROVISIONED_TRAP = (
    "Não crie throughput provisionado sem querer: US$ 60,50 por hora, mesmo parado (lista de 2026-08-02)."
)


@dataclass(frozen=True)
class Model:
    """One base model of one service. Token limits are per example; `price` is USD for a million training tokens.

    `firm_tokens` is False where the limit was not found in the service's own pages: exceeding it is then a warning.
    `examples_span` says whether the example limits count the training file alone or both files together.
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
    source: str
    notes: tuple[str, ...]
    examples_span: str = "train"
    retired: str = ""


def _openai(name: str, price: float, retired: str = "") -> Model:
    # Azure documents 65,536 tokens an example for gpt-4o; OpenAI's current page prints no limit: not firm.
    return Model(
        name,
        "openai",
        "openai-chat",
        10,
        None,
        65_536,
        False,
        (1, 50, None),
        price,
        "developers.openai.com/api/docs/pricing",
        (OPENAI_END, OPENAI_HOSTING),
        retired=retired,
    )


def _nova(name: str, low: int, price: float | None) -> Model:
    return Model(
        name,
        "bedrock",
        "bedrock-conversation",
        low,
        20_000,
        None,
        False,
        (1, 5, 2),
        price,
        "AWS Price List API (AmazonBedrock, us-east-1), 2026-08-02" if price else "",
        (ON_DEMAND, PROVISIONED_TRAP, BEDROCK_STORAGE),
    )


def _llama(name: str, form: str, max_tokens: int = 16_000, hosting: str = PROVISIONED) -> Model:
    return Model(
        name,
        "bedrock",
        form,
        100,
        10_000,
        max_tokens,
        True,
        (1, 10, 5),
        None,
        "",
        (hosting, BEDROCK_STORAGE),
        examples_span="train+validation",
    )


CONVERSE, COMPLETION = "bedrock-conversation", "bedrock-completion"
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
OPENAI_FILE_BYTES = 512_000_000  # one upload through /v1/files; larger files go in parts through /v1/uploads

FORMATS = ("openai-chat", "openai-dpo", CONVERSE, COMPLETION)


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
    wanted = "openai-chat" if form == "openai-dpo" else form
    return next(model for model in MODELS if model.format == wanted)


def takes(model: Model, form: str) -> bool:
    """Whether the model can be trained from a file in this format (OpenAI takes chat and preference pairs)."""
    return model.format == form or (form == "openai-dpo" and model.service == "openai")
