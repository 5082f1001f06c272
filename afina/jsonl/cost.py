"""What does it cost to train on so many tokens? Tokens × epochs × a dated price, asked before any job.

The answer is an estimate in three ways, and says so: tokens may be estimated (see `afina.jsonl.tokens`), a service may
choose the epochs itself, and prices change. Where no source gave a price there is none: "preço não verificado".
"""

from dataclasses import asdict, dataclass

from afina.errors import CourseError, require
from afina.jsonl.tokens import ESTIMATE_LABEL
from afina.prices import Model, find_model
from afina.ptbr import dollars, number, plural

# OpenAI does not publish how it picks "auto" epochs; this is its cookbook's rule, three epochs kept between 100 and
# 25,000 examples seen (github.com/openai/openai-cookbook, "Data preparation and analysis for chat model fine-tuning").
_OPENAI_EPOCHS, _SEEN_LEAST, _SEEN_MOST, _EPOCHS_MOST = 3, 100, 25_000, 25


@dataclass(frozen=True)
class Estimate:
    """The cost of one training job. `usd` is None where no price could be sourced; `tokens` is one pass over the file."""

    model: str
    examples: int
    tokens: int
    tokens_label: str
    epochs: int
    epochs_label: str
    price: float | None  # USD for a million training tokens
    price_source: str
    read_on: str
    notes: tuple[str, ...]

    @property
    def trained_tokens(self) -> int:
        return self.tokens * self.epochs

    @property
    def usd(self) -> float | None:
        return None if self.price is None else self.trained_tokens * self.price / 1e6

    @property
    def line(self) -> str:
        """The estimate in one line."""
        work = f"{number(self.tokens)} tokens × {plural(self.epochs, 'época')}"
        if self.price is None:
            return f"preço não verificado ({work} em {self.model})"
        return f"{in_dollars(self.usd)} ({work} × {dollars(self.price)} por milhão, {self.model})"

    def __str__(self) -> str:
        price = "preço não verificado: consulte a página do serviço"
        if self.price is not None:
            price = f"{dollars(self.price)} por milhão de tokens treinados ({self.price_source})"
        rows = [
            ("Modelo", self.model),
            ("Exemplos", number(self.examples)),
            ("Tokens", f"{number(self.tokens)} ({self.tokens_label})"),
            ("Épocas", f"{self.epochs} ({self.epochs_label})"),
            ("Preço", price),
            ("Treino", in_dollars(self.usd)),
        ]
        notes = [f"  · {note}" for note in self.notes]
        head = [f"{name:<9} {value}" for name, value in rows]
        return "\n".join([*head, f"Tabela lida em {self.read_on}; confirme antes de gastar.", *notes])

    def to_dict(self) -> dict:
        return asdict(self) | {"trained_tokens": self.trained_tokens, "usd": self.usd}


def in_dollars(usd: float | None) -> str:
    """An amount, or that nobody could verify a price."""
    return "preço não verificado" if usd is None else dollars(usd)


def default_epochs(model: Model, examples: int) -> tuple[int, str]:
    """(epochs, where the number comes from) when the student chooses none."""
    if model.epochs[2] is not None:
        return model.epochs[2], "padrão do serviço"
    epochs = _OPENAI_EPOCHS
    if 0 < examples * epochs < _SEEN_LEAST:
        epochs = min(_EPOCHS_MOST, _SEEN_LEAST // examples)
    elif examples * epochs > _SEEN_MOST:
        epochs = max(1, _SEEN_MOST // examples)
    return epochs, 'estimativa do "auto" pela regra do cookbook da OpenAI'


def estimate(
    tokens: int, model: str | Model, *, epochs: int | None = None, examples: int = 0, tokens_label: str = ESTIMATE_LABEL
) -> Estimate:
    """What training `model` costs when one pass over the data has `tokens` tokens.

    CourseError for an unknown model, a number of tokens that is none, or epochs that the service refuses.
    """
    chosen = find_model(model)
    remedy = "Dê um número de tokens; de um arquivo cuida afina.jsonl.estimate."
    require(type(tokens) is int and tokens >= 0, f"não entendo {tokens!r} tokens.", remedy, "estimate")
    least, most, _ = chosen.epochs
    label = "escolhidas por você"
    if epochs is None:
        epochs, label = default_epochs(chosen, examples)
    elif type(epochs) is not int or not least <= epochs <= most:
        problem = f"{epochs!r} épocas não servem para {chosen.id}."
        raise CourseError(problem, f"Escolha de {least} a {most}.", where="epochs")
    source = chosen.source.page if chosen.source else ""
    return Estimate(
        chosen.id, examples, tokens, tokens_label, epochs, label, chosen.price, source, chosen.read_on, chosen.notes
    )
