"""The patient lane: a file as blocks of numbered lines, and one line parsed with every reason why it cannot be.

`note` takes what is found: note(line, kind, field, found, remedy, warning=False), where `parse_line` gets one that knows its line.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from afina import whole
from afina.errors import CourseError, require
from afina.jsonl.problem import JSON_MESSAGES, Say, brief, typed
from afina.ptbr import plural

BLOCK = 1 << 18  # bytes read at a time: small enough for the processor's cache, which is worth a fifth of the time
LONGEST_LINE = 16 << 20  # no service takes an example this long: past it a line is skipped, not held in memory


def open_file(path: str | Path) -> BinaryIO:
    """The file, open and unbuffered. CourseError: it is not there, is a folder, or may not be read."""
    where = Path(path)
    try:
        require(not where.is_dir(), "é uma pasta.", "Dê o caminho de um arquivo .jsonl.", where)
        whole.refuse_stream(where)
        return cast(BinaryIO, where.open("rb", buffering=0))
    except FileNotFoundError:
        raise CourseError("arquivo não encontrado.", "Confira o caminho e a pasta atual.", where=where) from None
    except ValueError:  # a zero byte
        raise CourseError("isto não é um nome de arquivo.", "Confira o caminho.", where=brief(str(path))) from None
    except OSError as error:
        problem = f"não consegui ler o arquivo ({error.strerror or error})."
        raise CourseError(problem, "Confira as permissões.", where=where) from error


class BlockReader:
    """Iterating gives (lines, number of the first); no lines stand for one that was too long and left out.

    Newlines, BOM and carriage returns are taken off and noted. `bytes` counts what was read so far.
    """

    def __init__(self, file: BinaryIO, note: Callable[..., None]):
        self.file, self.note, self.bytes = file, note, 0
        self.crlf = (0, 0)  # (first line, lines)

    def __iter__(self) -> Iterator[tuple[list[bytes], int]]:
        tail, number, skipping = b"", 1, False
        while chunk := self.file.read(BLOCK):
            at_start = not self.bytes
            self.bytes += len(chunk)
            if at_start and chunk.startswith((b"\xff\xfe", b"\xfe\xff")):
                remedy = "Salve como UTF-8 (no Windows, evite a opção Unicode)."
                self.note(0, "encoding", "", "o arquivo está em UTF-16.", remedy)
                return
            if at_start and chunk.startswith(b"\xef\xbb\xbf"):
                chunk, remedy = chunk[3:], 'Salve como "UTF-8 sem BOM" (encoding="utf-8", não "utf-8-sig").'
                self.note(1, "bom", "", "o arquivo começa com a marca BOM (EF BB BF).", remedy)
            if skipping:
                end = chunk.find(b"\n")
                if end < 0:
                    continue
                chunk, skipping = chunk[end + 1 :], False
                yield [], number  # the skipped line still has its place
                number += 1
            lines = (tail + chunk).split(b"\n")
            tail = lines.pop()
            if lines:
                yield self._without_returns(lines, number), number
                number += len(lines)
            if len(tail) > LONGEST_LINE:
                remedy = "Cada linha é um exemplo: confira se o arquivo é mesmo JSON Lines."
                self.note(number, "line_too_long", "", f"a linha passa de {LONGEST_LINE >> 20} MB.", remedy)
                tail, skipping = b"", True
        if skipping or tail:
            yield self._without_returns([tail] if tail else [], number), number
        first, count = self.crlf
        if count:
            found = f"{plural(count, 'linha')} com fim de linha do Windows (CRLF)."
            remedy = 'Grave com newline="\\n": alguns serviços contam o \\r como parte da linha.'
            self.note(first, "crlf", "", found, remedy, warning=True)

    def _without_returns(self, lines: list[bytes], number: int) -> list[bytes]:
        if ended := [index for index, line in enumerate(lines) if line.endswith(b"\r")]:
            first, count = self.crlf
            self.crlf = (first or number + ended[0], count + len(ended))
            lines = [line.removesuffix(b"\r") for line in lines]
        return lines


def parse_line(line: bytes, say: Say) -> dict | None:
    """The object of one line; None after telling why there is none. A key written twice is told too."""
    twice: list[str] = []
    try:
        text = line.decode("utf-8")
        row = json.loads(text, object_pairs_hook=partial(_object, twice), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        byte = line[error.start]
        looks = f'parece Latin-1 (seria "{bytes([byte]).decode("cp1252", "replace")}")'
        found = f"o byte 0x{byte:02X} na posição {error.start + 1} não é UTF-8; {looks}."
        say("encoding", "", found, "Salve o arquivo como UTF-8.")
    except json.JSONDecodeError as error:
        piece = text[max(0, error.pos - 12) : error.pos + 12].strip()
        near = f" (perto de {brief(piece)})" if piece else ""
        found = f"o JSON quebra na coluna {error.colno}: {JSON_MESSAGES.get(error.msg, error.msg)}{near}."
        say("json", "", found, _json_remedy(text))
    except RecursionError:
        say("json", "", "há listas ou objetos aninhados demais.", "Confira como a linha foi gerada.")
    except ValueError as error:  # NaN, Infinity or a number with thousands of digits
        say("json", "", f"há um valor que o JSON não aceita ({error}).", "Troque-o por um texto.")
    else:
        if not isinstance(row, dict):
            remedy = "Cada linha deve ser um objeto { … }; uma lista de exemplos vira uma linha para cada um."
            say("not_object", "", typed(row), remedy)
        elif "\\ud" in text.lower() and (broken := _lone_surrogate(row)):
            found = f"há metade de um caractere ({broken}): ele foi cortado ao meio."
            say("encoding", "", found, "Gere a linha de novo a partir do texto original.")
        else:
            for key in dict.fromkeys(twice):
                found = "a chave aparece duas vezes no mesmo objeto e só a última vale."
                say("duplicate_key", brief(key)[1:-1], found, "Apague a que sobra.")
            return row
    return None


def _json_remedy(text: str) -> str:
    start = text.strip()
    if start in ("[", "]", "{", "}") or start.endswith(("[", "{")) or start[:1] == '"':
        return "Parece JSON espalhado por várias linhas: cada exemplo deve caber em uma só (json.dumps sem indent)."
    if start[:2] == "{'":
        return "Aspas simples não valem em JSON: grave com json.dumps, não com str()."
    return "Gere a linha com json.dumps em vez de montá-la à mão."


def _object(twice: list[str], pairs: list[tuple[str, Any]]) -> dict:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = Counter(key for key, _ in pairs)
        twice += [key for key, times in names.items() if times > 1]
    return made


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _lone_surrogate(row: dict) -> str:
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x}"
    return ""
