"""JSON Lines for fine-tuning: build the files, check them, estimate what they cost.

from afina.jsonl import chat_rows, write_jsonl, validate, estimate
write_jsonl("train.jsonl", chat_rows(pairs, system="Você responde sobre clubes portugueses."))
print(validate("train.jsonl"))
print(estimate("train.jsonl", "gpt-4.1-mini"))
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from afina import whole
from afina.errors import CourseError
from afina.jsonl.bedrock import completion_example, completion_rows, converse_example, converse_messages, converse_rows
from afina.jsonl.chat import chat_example, chat_messages, chat_rows, dpo_example
from afina.jsonl.estimate import estimate
from afina.jsonl.report import ValidationReport
from afina.jsonl.tokens import estimate_tokens
from afina.jsonl.validate import validate


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line (UTF-8, accents as they are, "\\n") and return how many; all of it or nothing.

    Folders are created. CourseError names the row that JSON cannot hold, or says why the disk refused.
    """
    target, count = Path(path), 0
    try:
        with whole.new_file(target, "wb") as file:
            for row in rows:
                count += 1
                file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    except orjson.JSONEncodeError as error:
        problem = f"o exemplo {count} não cabe em JSON ({error})."
        raise CourseError(problem, "Use só textos, números, listas e dicionários.", target) from error
    except OSError as error:
        if isinstance(error, CourseError):
            raise
        problem = f"não consegui gravar ({error.strerror or error})."
        raise CourseError(problem, "Confira a pasta, as permissões e o espaço.", target) from error
    return count
