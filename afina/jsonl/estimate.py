"""What will training on this file cost? The validator counts it, `afina.jsonl.cost` does the arithmetic. Also `afina estimate`."""

from pathlib import Path

from afina.errors import require
from afina.jsonl import cost
from afina.jsonl.cost import Estimate, in_dollars
from afina.jsonl.validate import validate
from afina.prices import MODELS, Model, find_model, takes
from afina.ptbr import number, plural


def estimate(
    source: str | Path | int, model: str | Model, *, epochs: int | None = None, examples: int = 0, format: str = "auto"
) -> Estimate:
    """What training `model` on `source` would cost: a JSONL file, or the number of tokens in one pass over the data.

    A file is read and counted by the validator, whose problems are not shown here. CourseError for an unknown model, epochs
    that the service refuses, or a file without an example.
    """
    if isinstance(source, int):
        return cost.estimate(source, model, epochs=epochs, examples=examples)
    return estimates(source, model, epochs=epochs, format=format)[0]


def estimates(
    file: str | Path, model: str | Model | None = None, *, epochs: int | None = None, format: str = "auto"
) -> list[Estimate]:
    """The estimate for one model, or one for each model that takes the file's format: the cheapest first, no price last."""
    chosen = find_model(model) if model else None
    report = validate(file, format=format, model=chosen.id if chosen else None)
    train, label = report.train, report.tokens_label
    require(train.good, "nenhum exemplo deste arquivo pôde ser lido.", "Confira-o com afina validate.", train.file)
    models = [chosen] if chosen else [one for one in MODELS if takes(one, report.format) and not one.retired]
    answers = [
        cost.estimate(train.tokens, one, epochs=epochs, examples=train.examples, tokens_label=label) for one in models
    ]
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
