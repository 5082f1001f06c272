"""What will training on this file cost? The validator counts it, `afina.jsonl.cost` does the arithmetic. Also `afina estimate`."""

from __future__ import annotations

from pathlib import Path

from afina.errors import CourseError
from afina.jsonl import cost
from afina.jsonl.cost import Estimate, in_dollars
from afina.jsonl.report import ValidationReport
from afina.jsonl.tokens import ESTIMATE_LABEL
from afina.jsonl.validate import validate
from afina.prices import MODELS, Model, find_model, takes
from afina.ptbr import number, plural


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

    A file is read and counted by the validator, whose problems are not shown here. CourseError for an unknown model, epochs
    that the service refuses, or a file without an example.
    """
    chosen = model if isinstance(model, Model) else find_model(model)
    if isinstance(source, int):
        return cost.estimate(source, chosen, epochs=epochs, examples=examples, tokens_label=tokens_label)
    return _of_report(validate(source, format=format, model=chosen.id), chosen, epochs)


def _of_report(report: ValidationReport, model: Model, epochs: int | None) -> Estimate:
    train, label = report.train, report.tokens_label
    if not train.good:
        raise CourseError("nenhum exemplo deste arquivo pôde ser lido.", "Confira-o com afina validate.", train.file)
    return cost.estimate(train.tokens, model, epochs=epochs, examples=train.examples, tokens_label=label)


def estimates(
    file: str | Path, model: str | None = None, *, epochs: int | None = None, format: str = "auto"
) -> list[Estimate]:
    """The estimate for one model, or one for each model that takes the file's format: the cheapest first, no price last."""
    if model:
        return [estimate(file, model, epochs=epochs, format=format)]
    report = validate(file, format=format)
    models = [model for model in MODELS if takes(model, report.format) and not model.retired]
    answers = [_of_report(report, model, epochs) for model in models]
    return sorted(answers, key=lambda answer: (answer.usd is None, answer.usd or 0))


def cost_table(file: str | Path, answers: list[Estimate]) -> str:
    """The estimates of one file side by side, for people."""
    first = answers[0]
    lines = [f"{file}: {plural(first.examples, 'exemplo')}, {number(first.tokens)} tokens ({first.tokens_label})"]
    for answer in answers:
        epochs = f"{answer.epochs:>2} época{'s' if answer.epochs > 1 else ' '}"
        lines.append(f"  {answer.model:<38} {epochs}  {in_dollars(answer.usd)}")
    read_on = min(answer.read_on for answer in answers)
    lines.append(f"Tabela lida em {read_on}; confirme antes de gastar. Hospedar e usar o modelo é cobrado à parte.")
    return "\n".join(lines)
