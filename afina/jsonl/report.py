"""What `validate` found, as an object, as text for people and as plain types for machines."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from afina.jsonl.cost import Estimate
from afina.jsonl.problem import KINDS, Problem, brief
from afina.jsonl.summary import MOST_SYSTEM_PROMPTS, FileSummary
from afina.ptbr import number, plural


@dataclass
class ValidationReport:
    """What `validate` found. `problems` holds the first ones in file order; `counts` counts them all, by kind."""

    format: str
    model: str
    train: FileSummary
    validation: FileSummary | None
    problems: list[Problem]
    counts: dict[str, int]
    errors: int
    warnings: int
    leaks: int  # validation lines that are also in the training file
    prompt_leaks: int  # validation questions that the training file answers in another way
    tokens_label: str
    cost: Estimate

    @property
    def ok(self) -> bool:
        return self.errors == 0

    def to_dict(self) -> dict[str, Any]:
        """Everything, in plain types, for `json.dumps`."""
        return asdict(self) | {"ok": self.ok, "cost": self.cost.to_dict()}

    def table(self):
        """The stored problems as a pandas DataFrame, one row each."""
        import pandas as pd

        names = ("linha", "campo", "problema", "gravidade", "encontrado", "como corrigir", "arquivo")
        rows = [(p.line, p.field, KINDS[p.kind], p.severity, p.found, p.remedy, p.file) for p in self.problems]
        return pd.DataFrame(rows, columns=list(names))

    def text(self, most: int | None = None) -> str:
        """The report for people, with at most `most` problems (all that are stored, by default)."""
        return "\n".join([*_problems(self, most), "", *_figures(self)])

    def __str__(self) -> str:
        return self.text()


def _problems(report: ValidationReport, most: int | None) -> Iterator[str]:
    if report.ok and not report.warnings:
        yield "✓ nenhum problema encontrado"
    elif report.ok:
        yield f"✓ nenhum erro, {plural(report.warnings, 'aviso')}"
    else:
        yield f"✗ {plural(report.errors, 'erro')}, {plural(report.warnings, 'aviso')}"
    for kind, count in sorted(report.counts.items(), key=lambda item: -item[1]):
        yield f"  {number(count):>9}  {KINDS[kind]}"
    listed = report.problems[:most]
    if listed:
        yield ""
        yield from map(str, listed)
    hidden = report.errors + report.warnings - len(listed)
    if hidden:
        yield f"… e mais {plural(hidden, 'problema')} do mesmo tipo dos contados acima."


def _figures(report: ValidationReport) -> Iterator[str]:
    yield f"formato {report.format}, limites de {report.model} (tabela lida em {report.cost.read_on})"
    yield from _file(report.train)
    if report.validation:
        yield from _file(report.validation)
        same = f"{plural(report.leaks, 'linha')} de validação também no treino"
        yield f"vazamento      {same}; {plural(report.prompt_leaks, 'pergunta')} com outra resposta"
    yield f"tokens         {report.tokens_label}"
    yield f"custo          {report.cost.line}"


def _file(summary: FileSummary) -> Iterator[str]:
    yield f"{summary.file}: {plural(summary.examples, 'exemplo')}, {number(summary.bytes)} bytes"
    roles = ", ".join(f"{role} {number(tokens)}" for role, tokens in summary.tokens_by_role.items())
    yield f"  tokens       {number(summary.tokens)} no total; no texto: {roles or 'nenhum'}"
    if summary.longest_line:
        longest = f"linha {summary.longest_line}, {number(summary.longest_bytes)} bytes"
        yield f"  mais longo   {longest}, {number(summary.longest_tokens)} tokens"
    if summary.system_prompts:
        least = "pelo menos " * (summary.system_prompts >= MOST_SYSTEM_PROMPTS)
        common = f"o mais comum ({number(summary.common_system_count)}×): {brief(summary.common_system_prompt)}"
        yield f"  instruções   {least}{plural(summary.system_prompts, 'diferente')}; {common}"
    yield f"  repetidas    {plural(summary.repeated, 'linha')}"
