"""Every problem of a fine-tuning file at once: where, what, and how to mend it. Also `afina validate`.

Each line goes through the fast lane (`fast.py`) and, where that refuses or doubts it, through the patient one, which explains.
Memory does not grow with the file: a block of lines, up to `max_problems` problems, up to 10,000 system prompts by
fingerprint, and line fingerprints that go to a temporary file of 8 bytes a line (16 where a validation file is given).
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
from xxhash import xxh3_64_intdigest

from afina.errors import CourseError, require
from afina.jsonl.cost import estimate
from afina.jsonl.fast import FastLane
from afina.jsonl.formats import Format, detect, rules_for
from afina.jsonl.problem import Findings
from afina.jsonl.read import BLOCK, BlockReader, open_file, parse_line
from afina.jsonl.repeats import SKIP, Fingerprints
from afina.jsonl.report import ValidationReport
from afina.jsonl.summary import FileSummary, Tally
from afina.jsonl.tokens import Estimated, Exact, exact_at_hand
from afina.prices import FORMATS, MORE_HELPS, OPENAI_FILE_BYTES, Model, default_model, find_model, takes
from afina.ptbr import number, plural
from afina.runtime import progress

EXACT_UP_TO = 20_000_000  # bytes of input: the real tokenizer is some fifty times slower than the rest of the check
BAR_FROM = 50_000_000  # bytes: smaller files are done before a bar is read


def validate(
    train: str | Path,
    validation: str | Path | None = None,
    *,
    format: str = "auto",
    model: str | None = None,
    max_problems: int = 1000,
    tokens: str = "auto",
) -> ValidationReport:
    """Check a training file, and a validation file beside it, against what the service accepts; report everything.

    `format` is one of `afina.prices.FORMATS` or "auto" (by the model, else by the first example). `model` chooses the limits
    and the price; without it, the first model of the table that takes the format. `max_problems` bounds the problems
    that are stored, never those that are counted. `tokens` is "estimate", "exact" (needs tiktoken and its vocabulary on
    disk) or "auto": exact for small inputs where possible. CourseError: a file that cannot be read, a wrong argument.
    """
    bounded = isinstance(max_problems, int) and max_problems >= 1
    require(bounded, f"{max_problems!r} não serve.", "Use um número a partir de 1.", "max_problems")
    paths = [str(train)] + ([str(validation)] if validation is not None else [])
    format, chosen = _choose(format, model, paths)
    count = _counter(tokens, paths)
    form = rules_for(format, chosen if model else None)
    findings = Findings(max_problems)
    summaries = [FileSummary(path) for path in paths]
    leaks, prompt_leaks = _read_all(summaries, form, chosen, count, findings)
    _check_limits(findings, summaries, chosen)
    findings.kept.sort(key=lambda p: (paths.index(p.file), p.line, p.severity))
    first = summaries[0]
    return ValidationReport(
        format=format, model=chosen.id, train=first, validation=summaries[1] if len(summaries) > 1 else None,
        problems=findings.kept, counts=dict(findings.counts), errors=findings.severities["error"],
        warnings=findings.severities["warning"], leaks=leaks, prompt_leaks=prompt_leaks, tokens_label=count.label,
        cost=estimate(first.tokens, chosen, examples=first.examples, tokens_label=count.label),
    )  # fmt: skip


def _choose(form: str, name: str | None, paths: list[str]) -> tuple[str, Model]:
    """The format and the model, of which either may be left to us; the files are known to open afterwards."""
    choices = ("auto", *FORMATS)
    require(form in choices, f'não conheço o formato "{form}".', f"Use um destes: {', '.join(choices)}.", "format")
    model = find_model(name) if name else None
    for path in paths:
        open_file(path).close()
    if form == "auto":
        with open_file(paths[0]) as file:
            form = detect(file.read(BLOCK), model)
    model = model or default_model(form)
    problem = f"{model.id} não treina com o formato {form}."
    require(takes(model, form), problem, f"O formato dele é {model.format}.", "modelo")
    return form, model


def _counter(tokens: str, paths: list[str]) -> Exact | Estimated:
    choices = ("auto", "estimate", "exact")
    require(tokens in choices, f'não conheço "{tokens}".', 'Use "auto", "estimate" ou "exact".', "tokens")
    if tokens == "exact":
        remedy = 'Instale tiktoken e baixe o vocabulário uma vez, ou use tokens="estimate".'
        require(exact_at_hand(), "o tokenizador o200k_base não está neste computador.", remedy, "tokens")
        return Exact()
    small = sum(Path(path).stat().st_size for path in paths) <= EXACT_UP_TO
    return Exact() if tokens == "auto" and small and exact_at_hand() else Estimated()


def _read_all(
    summaries: list[FileSummary], form: Format, model: Model, count: Exact | Estimated, findings: Findings
) -> tuple[int, int]:
    """Check every file to its end; return how many validation lines and questions are in the training file."""
    with closing(Fingerprints()) as prints, closing(Fingerprints()) as questions:
        prompts = questions if len(summaries) > 1 else None
        try:
            for summary in summaries:
                _read(summary, form, model, count, findings, prints, prompts)
            return _note_repeats(findings, summaries, prints, questions)
        except OSError as error:
            problem = f"a leitura parou no meio ({error.strerror or error})."
            raise CourseError(problem, "Confira o disco e tente de novo.", summaries[0].file) from error


def _read(
    summary: FileSummary, form: Format, model: Model, count: Exact | Estimated, findings: Findings,
    prints: Fingerprints, prompts: Fingerprints | None,
) -> None:  # fmt: skip
    """Check one file; add each line's fingerprint, and its question's where `prompts` is given."""
    note = partial(findings.note, summary.file)
    lane, tally = FastLane(form), Tally(summary, model, count, note)
    with open_file(summary.file) as file, _no_cycles():
        reader, size = BlockReader(file, note), Path(summary.file).stat().st_size
        what = f"conferindo {Path(summary.file).name}"
        with progress(total=size, desc=what, unit="B") if size >= BAR_FROM else nullcontext() as bar:
            for lines, number in reader:
                if bar is not None:
                    bar.update(reader.bytes - bar.n)
                summary.lines += len(lines) or 1
                # A line too long to look at is an example all the same.
                summary.examples += _check(lines, number, lane, tally, note) if lines else 1
                prints.extend(_fingerprints(lines or [b""]))
                if prompts is not None:
                    prompts.extend(_fingerprints([line[: max(line.rfind(form.answer), 0)] for line in lines or [b""]]))
    summary.bytes = reader.bytes
    tally.finish()
    if not summary.examples and summary.bytes == 0:
        note(0, "empty_file", "", "o arquivo está vazio.", "Grave ao menos um exemplo por linha.")


def _check(lines: list[bytes], first: int, lane: FastLane, tally: Tally, note: Callable[..., None]) -> int:
    """Check consecutive lines; `first` is the number of the first one. Empties the blank ones, and counts the others."""
    good, doubted = lane.sort(lines)
    for group in good:
        tally.add_group(group, [len(lines[place]) for place in group.places], first)
    for place in sorted(doubted):
        line, say = lines[place], partial(note, first + place)
        if not line.strip():
            say("blank_line", "", "a linha está em branco.", "Apague-a: cada linha é um exemplo.")
            lines[place] = b""
        elif (row := parse_line(line, say)) is not None:
            tally.add_line(lane.form.check(row, say), first + place, len(line))
    tally.end_block()
    return len(lines) - lines.count(b"")


@contextmanager
def _no_cycles() -> Iterator[None]:
    """Without the cycle collector: a block's many short-lived lists hold no cycles, and walking them is 5 % of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _fingerprints(texts: list[bytes]) -> list[int]:
    """The fingerprint of each text; an empty one takes no part."""
    return [xxh3_64_intdigest(text) if text else SKIP for text in texts]


def _note_repeats(
    findings: Findings, summaries: list[FileSummary], prints: Fingerprints, questions: Fingerprints
) -> tuple[int, int]:
    """Note repeated lines and leaks; return how many validation lines and validation questions are in the training file."""
    train, held_out = summaries[0].file, summaries[-1].file
    border = summaries[0].lines  # positions from here on are validation lines

    def note(file: str, kind: str, lines: np.ndarray, others: np.ndarray, found: tuple[str, str], remedy: str) -> int:
        """Note (line, other line) pairs, positions from 0, the lowest lines first; those past the room left are only counted."""
        order, warning = np.argsort(lines)[: max(findings.most - len(findings.kept), 3)], kind != "leak"
        for line, other in zip(lines[order].tolist(), others[order].tolist(), strict=True):
            findings.note(file, line + 1, kind, "", f"{found[0]}linha {other + 1}{found[1]}", remedy, warning)
        findings.count(kind, "warning" if warning else "error", len(lines) - len(order))
        return len(lines)

    leaked: list[np.ndarray] = []
    for positions, firsts in prints.repeats():
        found, remedy = ("a linha é igual à ", "."), "Apague a repetição: ela só pesa no custo e no treino."
        for summary, mine, start in zip(summaries, (positions < border, firsts >= border), (0, border), strict=False):
            pairs = positions[mine] - start, firsts[mine] - start
            summary.repeated += note(summary.file, "duplicate_line", *pairs, found, remedy)
        leak = (positions >= border) & (firsts < border)
        found = f"a linha também está no treino ({train}, ", ")."
        remedy = "Retire-a de um dos dois: a validação só mede com exemplos que o modelo não viu."
        note(held_out, "leak", positions[leak] - border, firsts[leak], found, remedy)
        leaked.append(positions[leak])
    asked_before = 0
    for positions, firsts in questions.repeats():
        mine = (positions >= border) & (firsts < border)
        mine &= ~np.isin(positions, np.concatenate(leaked or [positions[:0]]))
        found = f"a mesma pergunta está no treino ({train}, ", "), com outra resposta."
        remedy = "Deixe cada pergunta em um só dos arquivos."
        asked_before += note(held_out, "prompt_leak", positions[mine] - border, firsts[mine], found, remedy)
    return sum(map(len, leaked)), asked_before


def _check_limits(findings: Findings, summaries: Sequence[FileSummary], model: Model) -> None:
    train = summaries[0]
    both = model.examples_span == "train+validation" and len(summaries) > 1
    count = sum(summary.examples for summary in summaries) if both else train.examples
    where = "treino e validação juntos" if both else "o treino"
    note = partial(findings.note, train.file, 0)
    if 0 < count < model.min_examples:
        found = f"{where}: {plural(count, 'exemplo')}; {model.id} exige ao menos {model.min_examples}."
        note("too_few_examples", "", found, "Acrescente exemplos variados e corretos.")
    elif 0 < count < MORE_HELPS:
        found = f"{plural(count, 'exemplo')} bastam para o serviço aceitar (mínimo {model.min_examples})."
        remedy = f"Mas o ganho costuma aparecer entre 50 e {MORE_HELPS}: mais exemplos bons ajudam."
        note("too_few_examples", "", found, remedy, warning=True)
    if model.max_examples and count > model.max_examples:
        found = f"{where}: {number(count)} exemplos; {model.id} aceita até {number(model.max_examples)}."
        note("too_many_examples", "", found, "Fique com os melhores, ou peça aumento de cota.")
    for summary in summaries if model.service == "openai" else ():
        if summary.bytes > OPENAI_FILE_BYTES:
            found = f"{number(summary.bytes)} bytes; um envio vai até {number(OPENAI_FILE_BYTES)}."
            remedy = "Envie em partes pela API de uploads, ou divida o arquivo."
            findings.note(summary.file, 0, "file_too_big", "", found, remedy, True)
    if model.retired:
        note("retired_model", "", f"{model.id} saiu do ar em {model.retired}.", "Escolha outro modelo.")
