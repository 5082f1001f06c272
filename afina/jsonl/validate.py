"""Every problem of a fine-tuning file at once: where, what, and how to mend it. Also `afina validate`.

Two lanes. A line of one of the usual shapes is decoded by msgspec into typed structs, which is most of the checking, and
a few counts over a block of lines do the rest. Any line that the fast lane refuses or doubts, and any with tools or
pictures, goes to the rules of `chat.py` and `bedrock.py`, which parse it again, patiently (ten times slower), and
explain. The lanes agree: a property test gives both the same lines and compares the reports.

Memory does not grow with the file: a block of lines, up to `max_problems` problems, up to 10,000 system prompts by
fingerprint, and line fingerprints that go to a temporary file of 8 bytes a line (16 where a validation file is given).
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from xxhash import xxh3_64_intdigest

from afina.errors import CourseError
from afina.jsonl import bedrock, chat, limits
from afina.jsonl.cost import Estimate, estimate
from afina.jsonl.problem import KINDS, Problem, shown, type_name
from afina.jsonl.repeats import SKIP, Fingerprints
from afina.jsonl.tokens import PER_EXAMPLE, PER_MESSAGE, Estimated, Exact, counter, exact_at_hand
from afina.runtime import progress

BLOCK = 1 << 18  # bytes read at a time: small enough for the processor's cache, which is worth a fifth of the time
LONGEST_LINE = 16 << 20  # no service takes an example this long: past it a line is skipped, not held in memory
EXACT_UP_TO = 20_000_000  # bytes of input: the real tokenizer is some fifty times slower than the rest of the check
MOST_SYSTEM_PROMPTS = 10_000
BAR_FROM = 50_000_000  # bytes: smaller files are done before a bar is read


@dataclass(frozen=True)
class _Format:
    """How to read one format fast (`row`, `shape`, `roles`, `extra`) and patiently (`check`); see `chat.py`."""

    row: type
    shape: Callable
    roles: Callable
    extra: Callable
    check: Callable
    answer: bytes  # what starts the answer in the raw line: all before it is the question
    doubtful: tuple[str, ...] = ()  # words in a user or system text that the rules have something to say about


_FORMATS = {
    "openai-chat": _Format(
        chat.ChatRow, chat.chat_shape, chat.chat_roles, chat.chat_weights, chat.check_chat, b'"assistant"'
    ),
    "openai-dpo": _Format(
        chat.DpoRow, chat.dpo_shape, chat.dpo_roles, chat.dpo_weights, chat.check_dpo, b'"preferred_output"'
    ),
    "bedrock-conversation": _Format(
        bedrock.ConverseRow, bedrock.converse_shape, bedrock.converse_roles, bedrock.no_weights,
        bedrock.check_converse, b'"assistant"', bedrock.RESERVED,
    ),
    "bedrock-completion": _Format(
        bedrock.CompletionRow, bedrock.completion_shape, bedrock.completion_roles, bedrock.no_weights,
        bedrock.check_completion, b'"completion"',
    ),
}  # fmt: skip


# --- what comes back -------------------------------------------------------------------------------------------------


@dataclass
class FileSummary:
    """One file in figures. Tokens are of one pass; `tokens` adds the service's frame around each message."""

    file: str
    bytes: int = 0
    lines: int = 0
    examples: int = 0  # lines that are not blank
    good: int = 0  # examples that could be read and had texts
    tokens: int = 0
    tokens_by_role: dict[str, int] = field(default_factory=dict)
    longest_line: int = 0  # the example with most bytes
    longest_bytes: int = 0
    longest_tokens: int = 0
    repeated: int = 0
    system_prompts: int = 0  # different ones; from 10,000 on, "at least"
    common_system_prompt: str = ""
    common_system_count: int = 0


@dataclass
class Report:
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
        return "\n".join(_page(self, most))

    def __str__(self) -> str:
        return self.text()


def _page(report: Report, most: int | None) -> Iterator[str]:
    files = [report.train] + ([report.validation] if report.validation else [])
    if report.ok and not report.warnings:
        yield "✓ nenhum problema encontrado"
    elif report.ok:
        yield f"✓ nenhum erro, {_many(report.warnings, 'aviso')}"
    else:
        yield f"✗ {_many(report.errors, 'erro')}, {_many(report.warnings, 'aviso')}"
    for kind, count in sorted(report.counts.items(), key=lambda item: -item[1]):
        yield f"  {_dots(count):>9}  {KINDS[kind]}"
    shown_ones = report.problems[:most]
    if shown_ones:
        yield ""
        yield from map(str, shown_ones)
    hidden = report.errors + report.warnings - len(shown_ones)
    if hidden:
        yield f"… e mais {_many(hidden, 'problema')} do mesmo tipo dos contados acima."
    yield ""
    yield f"formato {report.format}, limites de {report.model} (tabela lida em {limits.READ_ON})"
    for summary in files:
        yield f"{summary.file}: {_many(summary.examples, 'exemplo')}, {_dots(summary.bytes)} bytes"
        roles = ", ".join(f"{role} {_dots(tokens)}" for role, tokens in summary.tokens_by_role.items())
        yield f"  tokens       {_dots(summary.tokens)} no total; no texto: {roles or 'nenhum'}"
        if summary.longest_line:
            longest = f"linha {summary.longest_line}, {_dots(summary.longest_bytes)} bytes"
            yield f"  mais longo   {longest}, {_dots(summary.longest_tokens)} tokens"
        if summary.system_prompts:
            least = "pelo menos " * (summary.system_prompts >= MOST_SYSTEM_PROMPTS)
            common = f"o mais comum ({_dots(summary.common_system_count)}×): {shown(summary.common_system_prompt)}"
            yield f"  instruções   {least}{_many(summary.system_prompts, 'diferente')}; {common}"
        yield f"  repetidas    {_many(summary.repeated, 'linha')}"
    if report.validation:
        same = f"{_many(report.leaks, 'linha')} de validação também no treino"
        yield f"vazamento      {same}; {_many(report.prompt_leaks, 'pergunta')} com outra resposta"
    yield f"tokens         {report.tokens_label}"
    yield f"custo          {report.cost.line}"


def _dots(value: int) -> str:
    return f"{value:,}".replace(",", ".")


def _many(count: int, noun: str) -> str:
    return f"{_dots(count)} {noun}{'' if count == 1 else 's'}"


# --- collecting ------------------------------------------------------------------------------------------------------


class _Notebook:
    """Counts every problem; keeps the first `most`, and three of each kind whatever came before."""

    def __init__(self, most: int):
        self.most = most
        self.kept: list[Problem] = []
        self.counts: Counter[str] = Counter()
        self.severities: Counter[str] = Counter()

    def note(self, file: str, line: int, kind: str, place: str, found: str, remedy: str, warning: bool = False) -> None:
        severity = "warning" if warning else "error"
        self.count(kind, severity)
        if len(self.kept) < self.most or self.counts[kind] <= 3:
            self.kept.append(Problem(file, line, place, kind, severity, found, remedy))

    def count(self, kind: str, severity: str, times: int = 1) -> None:
        if not times:
            return
        self.counts[kind] += times
        self.severities[severity] += times


class _Reader:
    """Reads one file in blocks and fills its summary, the problems and the fingerprints."""

    def __init__(
        self, summary: FileSummary, notes: _Notebook, form: _Format, model: limits.Model, count: Exact | Estimated
    ):
        self.summary, self.notes, self.form, self.model, self.count = summary, notes, form, model, count
        self.decode = msgspec.json.Decoder(form.row).decode
        self.shapes: dict[tuple, tuple[list[str], int] | None] = {}
        self.tokens: Counter[str] = Counter()
        self.frame = 0  # tokens around the texts
        self.loose: dict[str, list[str]] = {}  # role -> texts of the patient lane, counted a block at a time
        self.systems: Counter[int] = Counter()
        self.system_texts: dict[int, str] = {}
        # Lines that could pass the model's limit, by their length alone.
        self.long_from = int((model.max_tokens or sys.maxsize) / count.most_per_byte)
        self.crlf = (0, 0)  # (first line, lines)

    def note(self, line: int, kind: str, place: str, found: str, remedy: str, warning: bool = False) -> None:
        self.notes.note(self.summary.file, line, kind, place, found, remedy, warning)

    # - blocks

    def block(self, lines: list[bytes], first: int) -> list[int]:
        """Check consecutive lines; `first` is the number of the first one. Returns the places of the blank ones."""
        patient: list[int] = []
        groups: dict[tuple, tuple[list, list, list]] = {}  # shape -> (places, texts, rows)
        decode, shape_of = self.decode, self.form.shape
        for place, line in enumerate(lines):
            try:
                row = decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                patient.append(place)
                continue
            shape, texts = shape_of(row)
            group = groups.get(shape)
            if group is None:
                group = groups[shape] = ([], [], [])
            group[0].append(place)
            group[1].append(texts)
            group[2].append(row)
        good = []
        for shape, group in groups.items():
            known = self._learn(shape)
            if known is None:
                patient += group[0]
            else:
                good.append((known, *group))
        patient += self._keys_doubted(lines, good, len(patient))
        doubted = set(patient)
        for known, places, texts, _ in good:
            doubted |= self._columns(known[0], places, texts, doubted, lines, first)
        blank = [place for place in sorted(doubted) if not self._explain(lines[place], first + place)]
        for role, texts in self.loose.items():
            self._add(role, texts)
        self.loose.clear()
        return blank

    def _learn(self, shape: tuple) -> tuple[list[str], int] | None:
        """(roles, keys) of a shape, or None for one that the rules must look at."""
        if shape not in self.shapes:
            if len(self.shapes) > 4096:  # conversations of ever other lengths: forget rather than grow
                self.shapes.clear()
            self.shapes[shape] = self.form.roles(shape)
        return self.shapes[shape]

    def _keys_doubted(self, lines: list[bytes], good: list[tuple], refused: int) -> list[int]:
        """Places of lines that may repeat a key, or that have weights: another number of keys than their shape has.

        A key ends in `":`; inside a text a quote is escaped, so there it reads `\\":`. One count over the whole block
        clears it when it is as expected; a blank before a colon, or a refused line in the block, costs a closer look.
        """
        if not refused:
            text = b"\n".join(lines)
            # Pairs of bytes as 16-bit numbers, from the first byte and from the second: a search for two bytes at once.
            views = [np.frombuffer(text, "<u2", (len(text) - start) // 2, start) for start in (0, 1)]
            found, *spaced = (sum(np.count_nonzero(view == pair) for view in views) for pair in _BEFORE_COLON)
            if found == sum(keys * len(places) for (_, keys), places, _, _ in good) and not any(spaced):
                return []
        doubts = []
        for (_, expected), places, _, rows in good:
            for place, row in zip(places, rows, strict=True):
                line = lines[place]
                keys = line.count(b'":') - line.count(b'\\":')
                if keys != expected + self.form.extra(row) or _SPACED_COLON.search(line):
                    doubts.append(place)
        return doubts

    def _columns(self, roles: list[str], places, texts, doubted: set[int], lines, first: int) -> set[int]:
        """Add up the good rows of one shape, a column (one speaker's turn) at a time; return the doubtful places."""
        words = self.form.doubtful
        found: set[int] = set()
        columns = list(zip(*texts, strict=True))
        for role, column in zip(roles, columns, strict=True):
            if any(map(str.isspace, column)):
                found.update(place for place, text in zip(places, column, strict=True) if text.isspace())
            if words and role != "assistant" and any(map("\n".join(column).__contains__, words)):
                pairs = zip(places, column, strict=True)
                found.update(place for place, text in pairs if any(word in text for word in words))
        if found or not doubted.isdisjoint(places):
            rows = zip(places, texts, strict=True)
            pairs = [(place, row) for place, row in rows if place not in doubted and place not in found]
            if not pairs:
                return found
            places, texts = zip(*pairs, strict=True)
            columns = list(zip(*texts, strict=True))
        for role, column in zip(roles, columns, strict=True):
            self._add(role, column)
        self.frame += len(texts) * (PER_MESSAGE * len(roles) + PER_EXAMPLE)
        self.summary.good += len(texts)
        sizes = [len(lines[place]) for place in places]
        longest = max(sizes)
        if longest >= self.summary.longest_bytes:
            at = sizes.index(longest)
            self._longest(first + places[at], longest, texts[at])
        if longest > self.long_from:
            for place, size, row in zip(places, sizes, texts, strict=True):
                if size > self.long_from:
                    self._limit(first + place, row)
        return found

    def _add(self, role: str, texts) -> None:
        self.tokens[role] += self.count.count(texts)
        if role not in ("system", "developer"):
            return
        for text, times in Counter(texts).items():
            key = xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))
            if key in self.systems or len(self.systems) < MOST_SYSTEM_PROMPTS:
                self.systems[key] += times
                self.system_texts.setdefault(key, text[:80])

    def _longest(self, line: int, size: int, texts) -> None:
        best = self.summary
        if size < best.longest_bytes or (size == best.longest_bytes and line > best.longest_line):
            return
        best.longest_line, best.longest_bytes = line, size
        best.longest_tokens = self._tokens_of(texts)

    def _tokens_of(self, texts) -> int:
        return round(self.count.count(texts)) + PER_MESSAGE * len(texts) + PER_EXAMPLE

    def _limit(self, line: int, texts) -> None:
        tokens = self._tokens_of(texts)
        if tokens > self.model.max_tokens:
            about = "" if self.count.exact else "cerca de "
            self.note(
                line, "too_many_tokens", "",
                f"o exemplo tem {about}{_dots(tokens)} tokens; {self.model.id} vai até {_dots(self.model.max_tokens)}.",
                "Corte o texto ou divida a conversa em exemplos menores.", warning=not self.model.firm_tokens,
            )  # fmt: skip

    # - the patient lane

    def _explain(self, line: bytes, number: int) -> bool:
        """Parse one line again and report all that is wrong with it; count its texts. False for a blank line."""
        if not line.strip():
            self.note(number, "blank_line", "", "a linha está em branco.", "Apague-a: cada linha é um exemplo.")
            return False
        row = self._parse(line, number)
        if row is not None:
            self._apply_rules(row, line, number)
        return True

    def _apply_rules(self, row: dict, line: bytes, number: int) -> None:
        pairs = [(role, text) for role, text in self.form.check(row, partial(self.note, number)) if text]
        texts = [text for _, text in pairs]
        if not texts:
            return
        for role, text in pairs:
            self.loose.setdefault(role or "outros", []).append(text)
        self.frame += PER_MESSAGE * len(texts) + PER_EXAMPLE
        self.summary.good += 1
        self._longest(number, len(line), texts)
        if len(line) > self.long_from:
            self._limit(number, texts)

    def _parse(self, line: bytes, number: int) -> dict | None:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = line[error.start]
            looks = f'parece Latin-1 (seria "{bytes([byte]).decode("cp1252", "replace")}")'
            found = f"o byte 0x{byte:02X} na posição {error.start + 1} não é UTF-8; {looks}."
            self.note(number, "encoding", "", found, "Salve o arquivo como UTF-8.")
            return None
        twice: list[str] = []
        try:
            row = json.loads(text, object_pairs_hook=partial(_object, twice), parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            found = f"o JSON quebra na coluna {error.colno}: {_JSON_MESSAGES.get(error.msg, error.msg)}"
            self.note(number, "json", "", f"{found}{_near(text, error.pos)}.", _json_remedy(text))
            return None
        except RecursionError:
            self.note(number, "json", "", "há listas ou objetos aninhados demais.", "Confira como a linha foi gerada.")
            return None
        except ValueError as error:  # NaN, Infinity or a number with thousands of digits
            self.note(number, "json", "", f"há um valor que o JSON não aceita ({error}).", "Troque-o por um texto.")
            return None
        if not isinstance(row, dict):
            remedy = "Cada linha deve ser um objeto { … }; uma lista de exemplos vira uma linha para cada um."
            self.note(number, "not_object", "", f"encontrei {type_name(row)}: {shown(row)}.", remedy)
            return None
        if "\\ud" in text.lower() and (broken := _lone_surrogate(row)):
            found = f"há metade de um caractere ({broken}): ele foi cortado ao meio."
            self.note(number, "encoding", "", found, "Gere a linha de novo a partir do texto original.")
            return None
        for key in dict.fromkeys(twice):
            found = "a chave aparece duas vezes no mesmo objeto e só a última vale."
            self.note(number, "duplicate_key", shown(key)[1:-1], found, "Apague a que sobra.")
        return row

    # - the whole file

    def finish(self) -> None:
        summary = self.summary
        summary.tokens_by_role = {role: round(tokens) for role, tokens in self.tokens.most_common()}
        summary.tokens = round(sum(self.tokens.values())) + self.frame
        summary.system_prompts = len(self.systems)
        if self.systems:
            key = max(self.systems, key=lambda one: (self.systems[one], self.system_texts[one], one))
            summary.common_system_count = self.systems[key]
            summary.common_system_prompt = self.system_texts[key]
        if self.crlf[1]:
            self.note(
                self.crlf[0], "crlf", "", f"{_many(self.crlf[1], 'linha')} com fim de linha do Windows (CRLF).",
                'Grave com newline="\\n": alguns serviços contam o \\r como parte da linha.', warning=True,
            )  # fmt: skip


_BEFORE_COLON = [int.from_bytes(pair, "little") for pair in (b'":', b" :", b"\t:", b"\r:")]
_SPACED_COLON = re.compile(rb'"\s+:')
_JSON_MESSAGES = {
    "Expecting value": "esperava um valor",
    "Expecting property name enclosed in double quotes": "esperava uma chave entre aspas duplas",
    "Expecting ':' delimiter": "falta um dois-pontos",
    "Expecting ',' delimiter": "falta uma vírgula",
    "Illegal trailing comma before end of object": "sobra uma vírgula antes do }",
    "Illegal trailing comma before end of array": "sobra uma vírgula antes do ]",
    "Unterminated string starting at": "as aspas abertas aqui não fecham",
    "Invalid control character at": "há um caractere de controle (quebra de linha ou tabulação sem escape)",
    "Invalid \\escape": "a barra invertida não forma um escape válido",
    "Invalid \\uXXXX escape": "o escape \\uXXXX está incompleto",
    "Extra data": "há mais coisa depois do fim do objeto",
}


def _json_remedy(text: str) -> str:
    start = text.strip()
    if start in ("[", "]", "{", "}") or start.endswith(("[", "{")) or start[:1] == '"':
        return "Parece JSON espalhado por várias linhas: cada exemplo deve caber em uma só (json.dumps sem indent)."
    if start[:2] == "{'":
        return "Aspas simples não valem em JSON: grave com json.dumps, não com str()."
    return "Gere a linha com json.dumps em vez de montá-la à mão."


def _near(text: str, position: int) -> str:
    piece = text[max(0, position - 12) : position + 12].strip()
    return f" (perto de {shown(piece)})" if piece else ""


def _object(twice: list[str], pairs: list[tuple[str, Any]]) -> dict:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = Counter(key for key, _ in pairs)
        twice += [key for key, times in names.items() if times > 1]
    return made


def _no_constant(name: str):
    raise ValueError(name)


def _lone_surrogate(row: dict) -> str:
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x}"
    return ""


# --- one file --------------------------------------------------------------------------------------------------------


def _open(path: str | Path):
    where = Path(path)
    try:
        if where.is_dir():
            raise CourseError("é uma pasta.", "Dê o caminho de um arquivo .jsonl.", where=where)
        return where.open("rb", buffering=0)
    except FileNotFoundError:
        raise CourseError("arquivo não encontrado.", "Confira o caminho e a pasta atual.", where=where) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise CourseError(f"não consegui ler o arquivo ({reason}).", "Confira as permissões.", where=where) from error


def _blocks(file, reader: _Reader, bar) -> Iterator[tuple[list[bytes], int]]:
    """(lines, number of the first) for a whole file: newlines, BOM and carriage returns are taken off and reported."""
    tail, number, skipping, at_start = b"", 1, False, True
    while chunk := file.read(BLOCK):
        reader.summary.bytes += len(chunk)
        if bar is not None:
            bar.update(len(chunk))
        if at_start:
            at_start = False
            if chunk.startswith((b"\xff\xfe", b"\xfe\xff")):
                remedy = "Salve como UTF-8 (no Windows, evite a opção Unicode)."
                reader.note(0, "encoding", "", "o arquivo está em UTF-16.", remedy)
                return
            if chunk.startswith(b"\xef\xbb\xbf"):
                remedy = 'Salve como "UTF-8 sem BOM" (encoding="utf-8", não "utf-8-sig").'
                reader.note(1, "bom", "", "o arquivo começa com a marca BOM (EF BB BF).", remedy)
                chunk = chunk[3:]
        if skipping:
            end = chunk.find(b"\n")
            if end < 0:
                continue
            chunk, skipping = chunk[end + 1 :], False
            yield [b""], -number  # the skipped line still has its place
            number += 1
        lines = (tail + chunk).split(b"\n")
        tail = lines.pop()
        if lines:
            yield _no_returns(lines, number, reader), number
            number += len(lines)
        if len(tail) > LONGEST_LINE:
            remedy = "Cada linha é um exemplo: confira se o arquivo é mesmo JSON Lines."
            reader.note(number, "line_too_long", "", f"a linha passa de {LONGEST_LINE >> 20} MB.", remedy)
            tail, skipping = b"", True
    if skipping:
        yield [b""], -number
    elif tail:
        yield _no_returns([tail], number, reader), number


def _no_returns(lines: list[bytes], number: int, reader: _Reader) -> list[bytes]:
    ended = [index for index, line in enumerate(lines) if line.endswith(b"\r")]
    if ended:
        first, count = reader.crlf
        reader.crlf = (first or number + ended[0], count + len(ended))
        return [line[:-1] if line.endswith(b"\r") else line for line in lines]
    return lines


def _read(reader: _Reader, prints: Fingerprints, prompts: Fingerprints | None) -> None:
    """Check one file to its end; add each line's fingerprint, and its question's where `prompts` is given."""
    summary, mark = reader.summary, reader.form.answer
    with _open(summary.file) as file, _no_cycles():
        size = Path(summary.file).stat().st_size
        bar = progress(total=size, desc=f"conferindo {Path(summary.file).name}", unit="B") if size >= BAR_FROM else None
        with bar or nullcontext():
            for lines, number in _blocks(file, reader, bar):
                summary.lines += len(lines)
                if number < 0:  # a skipped line: an example, but not one to look at
                    summary.examples += 1
                    prints.extend([SKIP])
                    if prompts is not None:
                        prompts.extend([SKIP])
                    continue
                blank = reader.block(lines, number)
                summary.examples += len(lines) - len(blank)
                for place in blank:
                    lines[place] = b""
                prints.extend(_fingerprints(lines) if blank else map(xxh3_64_intdigest, lines))
                if prompts is not None:
                    prompts.extend(_fingerprints([line[: max(line.rfind(mark), 0)] for line in lines]))
    reader.finish()
    if not summary.examples and summary.bytes == 0:
        reader.note(0, "empty_file", "", "o arquivo está vazio.", "Grave ao menos um exemplo por linha.")


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


# --- the verdict -----------------------------------------------------------------------------------------------------


def validate(
    train: str | Path,
    validation: str | Path | None = None,
    *,
    format: str = "auto",
    model: str | None = None,
    max_problems: int = 1000,
    tokens: str = "auto",
) -> Report:
    """Check a training file, and a validation file beside it, against what the service accepts; report everything.

    `format` is one of `limits.FORMATS` or "auto" (by the model, else by the first example). `model` chooses the limits
    and the price; without it, the first model of the table that takes the format. `max_problems` bounds the problems
    that are stored, never those that are counted. `tokens` is "estimate", "exact" (needs tiktoken and its vocabulary on
    disk) or "auto": exact for small inputs where possible. CourseError: a file that cannot be read, a wrong argument.
    """
    if not isinstance(max_problems, int) or max_problems < 1:
        raise CourseError(f"{max_problems!r} não serve.", "Use um número a partir de 1.", where="max_problems")
    if format not in ("auto", *limits.FORMATS):
        choices = ", ".join(("auto", *limits.FORMATS))
        raise CourseError(f'não conheço o formato "{format}".', f"Use um destes: {choices}.", where="format")
    chosen = limits.find_model(model) if model else None
    paths = [str(train)] + ([str(validation)] if validation is not None else [])
    for path in paths:
        _open(path).close()
    if format == "auto":
        format = _detect(paths[0], chosen)
    chosen = chosen or limits.default_model(format)
    if not limits.takes(chosen, format):
        raise CourseError(
            f"{chosen.id} não treina com o formato {format}.", f"O formato dele é {chosen.format}.", where="modelo"
        )
    count = counter(_want_exact(tokens, paths))
    form = _FORMATS[format]
    if format == "bedrock-conversation":
        nova = None if model is None else ".nova-" in chosen.id
        form = _Format(**(vars(form) | {"check": partial(bedrock.check_converse, nova=nova)}))
    notes, prints = _Notebook(max_problems), Fingerprints()
    prompts = Fingerprints() if validation is not None else None
    summaries = [FileSummary(path) for path in paths]
    try:
        for summary in summaries:
            _read(_Reader(summary, notes, form, chosen, count), prints, prompts)
        leaks, prompt_leaks = _repeats(notes, summaries, prints, prompts)
    except OSError as error:
        if isinstance(error, CourseError):
            raise
        reason = error.strerror or str(error)
        raise CourseError(
            f"a leitura parou no meio ({reason}).", "Confira o disco e tente de novo.", paths[0]
        ) from error
    finally:
        prints.close()
        if prompts is not None:
            prompts.close()
    _check_limits(notes, summaries, chosen)
    order = {path: place for place, path in enumerate(paths)}
    notes.kept.sort(key=lambda p: (order[p.file], p.line, p.severity))
    first = summaries[0]
    return Report(
        format=format, model=chosen.id, train=first, validation=summaries[1] if len(summaries) > 1 else None,
        problems=notes.kept, counts=dict(notes.counts), errors=notes.severities["error"],
        warnings=notes.severities["warning"], leaks=leaks, prompt_leaks=prompt_leaks, tokens_label=count.label,
        cost=estimate(first.tokens, chosen, examples=first.examples, tokens_label=count.label),
    )  # fmt: skip


def _want_exact(tokens: str, paths: list[str]) -> bool:
    if tokens not in ("auto", "estimate", "exact"):
        raise CourseError(f'não conheço "{tokens}".', 'Use "auto", "estimate" ou "exact".', where="tokens")
    if tokens == "estimate":
        return False
    if exact_at_hand():
        return tokens == "exact" or sum(Path(path).stat().st_size for path in paths) <= EXACT_UP_TO
    if tokens == "exact":
        raise CourseError(
            "o tokenizador o200k_base não está neste computador.",
            'Instale tiktoken e baixe o vocabulário uma vez, ou use tokens="estimate".', where="tokens",
        )  # fmt: skip
    return False


def _detect(path: str, model: limits.Model | None) -> str:
    """The format of a file by its first example that parses; without one, the model's, else OpenAI chat."""
    fallback = model.format if model else "openai-chat"
    with _open(path) as file:
        start = file.read(BLOCK).removeprefix(b"\xef\xbb\xbf")
    for line in start.split(b"\n"):
        try:
            row = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            continue
        if not isinstance(row, dict):
            continue
        if model and model.service == "bedrock":
            return model.format
        if {"preferred_output", "non_preferred_output"} & set(row):
            return "openai-dpo"
        if model:
            return model.format
        if {"prompt", "completion"} & set(row):
            return "bedrock-completion"
        messages = row.get("messages")
        head = messages[0] if isinstance(messages, list) and messages else None
        blocks = head.get("content") if isinstance(head, dict) else None
        block = blocks[0] if isinstance(blocks, list) and blocks else None
        if {"schemaVersion", "system"} & set(row) or (
            isinstance(block, dict) and "text" in block and "type" not in block
        ):
            return "bedrock-conversation"
        return "openai-chat"
    return fallback


def _repeats(notes: _Notebook, summaries: list[FileSummary], prints, prompts) -> tuple[int, int]:
    """Note repeated lines and leaks; return how many validation lines and validation questions are in the training file."""
    train = summaries[0]
    border = train.lines  # positions from here on are validation lines
    leaked = np.empty(0, np.int64)
    for positions, firsts in prints.repeats():
        leak = (positions >= border) & (firsts < border)
        leaked = np.concatenate((leaked, positions[leak]))
        for summary, mine, offset in zip(summaries, (positions < border, firsts >= border), (0, border), strict=False):
            found = "a linha é igual à linha {}."
            remedy = "Apague a repetição: ela só pesa no custo e no treino."
            summary.repeated += _note_pairs(
                notes,
                summary.file,
                "duplicate_line",
                positions[mine] - offset,
                firsts[mine] - offset,
                found,
                remedy,
                True,
            )
        if leak.any():
            found = f"a linha também está no treino ({train.file}, linha {{}})."
            remedy = "Retire-a de um dos dois: a validação só mede com exemplos que o modelo não viu."
            _note_pairs(notes, summaries[1].file, "leak", positions[leak] - border, firsts[leak], found, remedy, False)
    asked_before = 0
    if prompts is not None:
        for positions, firsts in prompts.repeats():
            mine = (positions >= border) & (firsts < border) & ~np.isin(positions, leaked)
            found = f"a mesma pergunta está no treino ({train.file}, linha {{}}), com outra resposta."
            remedy = "Deixe cada pergunta em um só dos arquivos."
            asked_before += _note_pairs(
                notes, summaries[1].file, "prompt_leak", positions[mine] - border, firsts[mine], found, remedy, True
            )
    return len(leaked), asked_before


def _note_pairs(notes, file, kind, lines, others, found: str, remedy: str, warning: bool) -> int:
    """Note (line, other line) pairs, positions from 0, the lowest lines first; count those past the notebook's room."""
    room = max(notes.most - len(notes.kept), 3)
    order = np.argsort(lines)[:room]
    for line, other in zip(lines[order].tolist(), others[order].tolist(), strict=True):
        notes.note(file, line + 1, kind, "", found.format(other + 1), remedy, warning)
    notes.count(kind, "warning" if warning else "error", max(0, len(lines) - len(order)))
    return len(lines)


def _check_limits(notes: _Notebook, summaries: list[FileSummary], model: limits.Model) -> None:
    train = summaries[0]
    both = model.examples_span == "train+validation" and len(summaries) > 1
    count = sum(summary.examples for summary in summaries) if both else train.examples
    where = "treino e validação juntos" if both else "o treino"
    note = partial(notes.note, train.file, 0)
    if 0 < count < model.min_examples:
        found = f"{where}: {_many(count, 'exemplo')}; {model.id} exige ao menos {model.min_examples}."
        note("too_few_examples", "", found, "Acrescente exemplos variados e corretos.")
    elif 0 < count < limits.MORE_HELPS:
        found = f"{_many(count, 'exemplo')} bastam para o serviço aceitar (mínimo {model.min_examples})."
        remedy = f"Mas o ganho costuma aparecer entre 50 e {limits.MORE_HELPS}: mais exemplos bons ajudam."
        note("too_few_examples", "", found, remedy, warning=True)
    if model.max_examples and count > model.max_examples:
        found = f"{where}: {_dots(count)} exemplos; {model.id} aceita até {_dots(model.max_examples)}."
        note("too_many_examples", "", found, "Fique com os melhores, ou peça aumento de cota.")
    if model.service == "openai":
        for summary in summaries:
            if summary.bytes > limits.OPENAI_FILE_BYTES:
                found = f"{_dots(summary.bytes)} bytes; um envio vai até {_dots(limits.OPENAI_FILE_BYTES)}."
                remedy = "Envie em partes pela API de uploads, ou divida o arquivo."
                notes.note(summary.file, 0, "file_too_big", "", found, remedy, True)
    if model.retired:
        note("retired_model", "", f"{model.id} saiu do ar em {model.retired}.", "Escolha outro modelo.")


def main(argv: list[str]) -> int:
    """`afina validate`: 0 if the files have no errors (warnings are allowed), 1 if they have."""
    parser = argparse.ArgumentParser(
        prog="afina validate", description="Confere arquivos JSONL de fine-tuning: todos os problemas, por linha."
    )
    parser.add_argument("train", metavar="TREINO", help="o JSONL de treino")
    parser.add_argument("validation", metavar="VALIDAÇÃO", nargs="?", help="o JSONL de validação")
    parser.add_argument("--format", default="auto", choices=("auto", *limits.FORMATS), help="formato dos arquivos")
    parser.add_argument("--model", metavar="MODELO", help="modelo base: decide limites e preço")
    parser.add_argument("--json", action="store_true", help="saída para máquinas")
    parser.add_argument("--max", type=int, default=50, metavar="N", help="mostra no máximo N problemas (padrão: 50)")
    args = parser.parse_args(argv)
    report = validate(args.train, args.validation, format=args.format, model=args.model, max_problems=args.max)
    if args.json:
        print(json.dumps(report.to_dict(), ensure_ascii=False, indent=2))
    else:
        print(report.text(args.max))
    return 0 if report.ok else 1
