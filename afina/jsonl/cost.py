"""What will this training cost? Asked before any job: tokens × epochs × a dated price. Also `afina estimate`.

The answer is an estimate in three ways, and says so: tokens may be estimated (see `afina.jsonl.tokens`), a service may
choose the epochs itself, and prices change. Where no source gave a price there is none: "preço não verificado".
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from afina.errors import CourseError
from afina.jsonl.limits import FORMATS, MODELS, READ_ON, Model, find_model, takes
from afina.jsonl.tokens import ESTIMATE_LABEL

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
        work = f"{_number(self.tokens)} tokens × {self.epochs} época{'s' * (self.epochs > 1)}"
        if self.usd is None:
            return f"preço não verificado ({work} em {self.model})"
        return f"{dollars(self.usd)} ({work} × {dollars(self.price)} por milhão, {self.model})"

    def __str__(self) -> str:
        price = "preço não verificado: consulte a página do serviço"
        if self.price is not None:
            price = f"{dollars(self.price)} por milhão de tokens treinados ({self.price_source})"
        rows = [
            ("Modelo", self.model),
            ("Exemplos", _number(self.examples)),
            ("Tokens", f"{_number(self.tokens)} ({self.tokens_label})"),
            ("Épocas", f"{self.epochs} ({self.epochs_label})"),
            ("Preço", price),
            ("Treino", "preço não verificado" if self.usd is None else dollars(self.usd)),
        ]
        notes = [f"  · {note}" for note in self.notes]
        head = [f"{name:<9} {value}" for name, value in rows]
        return "\n".join([*head, f"Tabela lida em {self.read_on}; confirme antes de gastar.", *notes])

    def to_dict(self) -> dict:
        return asdict(self) | {"trained_tokens": self.trained_tokens, "usd": self.usd}


def _number(value: int) -> str:
    return f"{value:,}".replace(",", ".")


def dollars(value: float) -> str:
    """US$ in the Brazilian way: two decimals, four where two would show nothing."""
    digits = 2 if value >= 0.1 or value == 0 else 4
    return "US$ " + f"{value:,.{digits}f}".translate(str.maketrans(",.", ".,"))


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
    source: str | Path | int,
    model: str | Model,
    *,
    epochs: int | None = None,
    examples: int = 0,
    format: str = "auto",
    tokens_label: str = ESTIMATE_LABEL,
) -> Estimate:
    """What training `model` on `source` would cost: a JSONL file, or the number of tokens in one pass over the data.

    A file is read and counted by the validator, whose problems are not shown here. CourseError for an unknown model or
    epochs that the service refuses.
    """
    chosen = model if isinstance(model, Model) else find_model(model)
    if isinstance(source, bool) or (isinstance(source, int) and source < 0):
        raise CourseError(f"não entendo {source!r} tokens.", "Dê um número de tokens ou um arquivo.", where="estimate")
    if isinstance(source, int):
        tokens = source
    else:
        from afina.jsonl.validate import validate  # it shows costs itself: imported late, for files only

        report = validate(source, format=format, model=chosen.id)
        tokens, examples, tokens_label = report.train.tokens, report.train.examples, report.tokens_label
    least, most, _ = chosen.epochs
    if epochs is None:
        epochs, label = default_epochs(chosen, examples)
    elif isinstance(epochs, int) and not isinstance(epochs, bool) and least <= epochs <= most:
        label = "escolhidas por você"
    else:
        raise CourseError(
            f"{epochs!r} épocas não servem para {chosen.id}.", f"Escolha de {least} a {most}.", where="epochs"
        )
    return Estimate(
        chosen.id, examples, tokens, tokens_label, epochs, label, chosen.price, chosen.source, READ_ON, chosen.notes
    )


def main(argv: list[str]) -> int:
    """`afina estimate`: the cost of training on a file, for one model or for all that take its format."""
    parser = argparse.ArgumentParser(
        prog="afina estimate", description="Estima tokens e custo de um fine-tuning antes de qualquer job."
    )
    parser.add_argument("file", metavar="ARQUIVO", help="o JSONL de treino")
    parser.add_argument("--model", metavar="MODELO", help="modelo base; sem ele, todos os que aceitam o formato")
    parser.add_argument("--epochs", type=int, metavar="N", help="passadas pelos dados (padrão: o do serviço)")
    parser.add_argument("--format", default="auto", choices=("auto", *FORMATS), help="formato do arquivo")
    parser.add_argument("--json", action="store_true", help="saída para máquinas")
    args = parser.parse_args(argv)
    answers = _answers(args)
    if args.json:
        print(json.dumps([answer.to_dict() for answer in answers], ensure_ascii=False, indent=2))
    elif args.model:
        print(answers[0])
    else:
        first = answers[0]
        print(f"{args.file}: {_number(first.examples)} exemplos, {_number(first.tokens)} tokens ({first.tokens_label})")
        for answer in sorted(answers, key=lambda answer: (answer.usd is None, answer.usd or 0)):
            usd = "preço não verificado" if answer.usd is None else dollars(answer.usd)
            print(f"  {answer.model:<38} {answer.epochs:>2} época{'s' if answer.epochs > 1 else ' '}  {usd}")
        print(f"Tabela lida em {READ_ON}; confirme antes de gastar. Hospedar e usar o modelo é cobrado à parte.")
    return 0


def _answers(args: argparse.Namespace) -> list[Estimate]:
    """One estimate for the model that was asked for, or one for each model that takes the file's format."""
    if args.model:
        return [estimate(args.file, args.model, epochs=args.epochs, format=args.format)]
    from afina.jsonl.validate import validate  # as in `estimate`

    report = validate(args.file, format=args.format)
    tokens, examples, label = report.train.tokens, report.train.examples, report.tokens_label
    models = [model for model in MODELS if takes(model, report.format) and not model.retired]
    return [estimate(tokens, m, epochs=args.epochs, examples=examples, tokens_label=label) for m in models]
