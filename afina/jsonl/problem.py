"""What a problem is, what collects them, and the few checks that every format shares."""

import difflib
import json
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_TEXTS = tomllib.loads(Path(__file__).with_name("texts.toml").read_text(encoding="utf-8"))
KINDS, JSON_MESSAGES, ROLE_GUESS = _TEXTS["kinds"], _TEXTS["json"], _TEXTS["roles"]

Say = Callable[..., None]  # say(kind, field, found, remedy, warning=False)


@dataclass(frozen=True, order=True)
class Problem:
    """One thing to mend. `line` counts from 1, 0 is the whole file; `field` is a path such as messages[2].content."""

    file: str
    line: int
    field: str
    kind: str
    severity: str  # "error" or "warning"
    found: str
    remedy: str

    def __str__(self) -> str:
        place = self.file + (f", linha {self.line}" if self.line else "") + (f", {self.field}" if self.field else "")
        return f"{'erro ' if self.severity == 'error' else 'aviso'}  {place}: {self.found} {self.remedy}".rstrip()


class Findings:
    """Counts every problem; keeps the first `most`, and three of each kind whatever came before."""

    def __init__(self, most: int):
        self.most = most
        self.kept: list[Problem] = []
        self.counts: Counter[str] = Counter()
        self.severities: Counter[str] = Counter()

    def note(self, file: str, line: int, kind: str, field: str, found: str, remedy: str, warning: bool = False) -> None:
        severity = "warning" if warning else "error"
        self.count(kind, severity)
        if len(self.kept) < self.most or self.counts[kind] <= 3:
            self.kept.append(Problem(file, line, field, kind, severity, found, remedy))

    def count(self, kind: str, severity: str, times: int = 1) -> None:
        if times:
            self.counts[kind] += times
            self.severities[severity] += times


def brief(value: object, most: int = 60) -> str:
    """A value as the student wrote it, short enough for one line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def type_name(value: object) -> str:
    """The JSON type of a parsed value, in Portuguese with its article."""
    names = {type(None): "null", dict: "um objeto", list: "uma lista", str: "um texto", bool: "true/false"}
    return names.get(type(value), "um número")


def seen(value: object) -> str:
    """The finding of a value that should be another."""
    return f"encontrei {brief(value)}."


def typed(value: object) -> str:
    """The finding of a value of the wrong type."""
    return f"encontrei {type_name(value)}: {brief(value)}."


def unknown_keys(row: dict, allowed: Iterable[str], path: str, say: Say) -> None:
    """Report each key of `row` outside `allowed`, with the nearest known name."""
    allowed = tuple(allowed)
    for key in row:
        if key not in allowed:
            near = difflib.get_close_matches(key.lower(), allowed, n=1)
            hint = f'Você quis dizer "{near[0]}"?' if near else f"Aqui cabem: {', '.join(allowed)}."
            say("unknown_key", f"{path}{brief(key)[1:-1]}", "essa chave não existe neste formato.", hint)


def text_problem(row: dict, key: str, path: str, say: Say) -> str:
    """The text under `key`, or "" after reporting that it is missing, of another type or blank."""
    field = f"{path}{key}"
    if key not in row:
        say("missing_key", field, f'falta "{key}".', f'Acrescente "{key}" com o texto.')
    elif not isinstance(value := row[key], str):
        say("type", field, typed(value), "Troque por um texto entre aspas.")
    elif not value.strip():
        say("empty_content", field, f"o texto está vazio: {brief(value)}.", "Escreva o conteúdo ou retire o exemplo.")
    else:
        return value
    return ""


def list_problem(row: dict, key: str, path: str, say: Say, of: str) -> list:
    """The non-empty list under `key`, or [] after reporting what is wrong with it. `of` says what it should hold."""
    field = f"{path}{key}"
    if key not in row:
        say("missing_key", field, f'falta "{key}".', f'Acrescente "{key}": [{of}].')
    elif not isinstance(value := row[key], list):
        say("type", field, typed(value), f"Deve ser uma lista: [{of}].")
    elif not value:
        say("empty_content", field, "a lista está vazia.", f"Coloque ao menos um item: [{of}].")
    else:
        return value
    return []
