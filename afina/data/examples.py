"""The course's small files of labelled examples, data/*.jsonl.gz: each row says to which split it belongs."""

import gzip
import json

from afina.errors import require
from afina.runtime import course_root


def read_split(name: str, split: str, remedy: str) -> list[dict]:
    """The rows of one split of data/`name`.jsonl.gz. CourseError with `remedy`, which names the splits, for another one."""
    with gzip.open(course_root() / "data" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["split"] == split]
    require(rows, f'não há divisão "{split}".', remedy, where=f"data/{name}.jsonl.gz")
    return rows
