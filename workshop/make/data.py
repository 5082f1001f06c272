"""What writes the generated files of data/ and the table of sums in data/README.md.

python -m workshop.make.data            # the files of data/ from their seeds (not clubes.json, which is checked by hand)
python -m workshop.make.data --sums     # only the table of sums, after a file was added or changed
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from afina.data.synthetic import SAMPLE_LINES, write_catalogue, write_lines
from afina.runtime import course_root
from afina.whole import write
from workshop.make.instructions import instructions
from workshop.make.messages import messages
from workshop.make.prose import PROSE_DOCUMENTS, prose
from workshop.make.reviews import reviews

_TABLE = re.compile(r"(<!-- somas -->\n).*?(<!-- /somas -->)", re.S)


def _jsonl(rows: Iterable[dict]) -> Iterator[bytes]:
    return (json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def course_files(clubs: list[dict]) -> dict[str, Iterator[bytes]]:
    """Name and content of each Portuguese file of `data/`. In the prose a blank line ends a document."""
    documents = prose(clubs)
    cut = PROSE_DOCUMENTS * 9 // 10
    parts = {"prose_train.txt.gz": documents[:cut], "prose_validation.txt.gz": documents[cut:]}
    return {
        "reviews.jsonl.gz": _jsonl(reviews()),
        "messages.jsonl.gz": _jsonl(messages()),
        "instructions.jsonl.gz": _jsonl(instructions(clubs)),
        **{name: (f"{document}\n\n".encode() for document in part) for name, part in parts.items()},
    }


def write_course_data(folder: Path) -> None:
    """Make again every generated file of `data/` (not `clubes.json`, which is checked by hand)."""
    write_catalogue(folder / "amazon_sample.json.gz", SAMPLE_LINES)
    clubs = json.loads((folder / "clubes.json").read_text(encoding="utf-8"))
    for name, lines in course_files(clubs).items():
        write_lines(folder / name, lines)


def sums_table(folder: Path) -> str:
    """The README's table of every file in `folder`: name, bytes, sha256. `real/` and hidden files are no data of ours."""
    rows = ["| arquivo | bytes | sha256 |", "| --- | --- | --- |"]
    for path in sorted([*folder.iterdir(), *folder.glob("quizzes/*")]):
        if path.is_file() and path.name != "README.md" and not path.name.startswith("."):
            content = path.read_bytes()
            name = path.relative_to(folder).as_posix()
            rows.append(f"| {name} | {len(content)} | {hashlib.sha256(content).hexdigest()} |")
    return "\n".join(rows) + "\n"


def refresh_sums(folder: Path) -> None:
    """Write the table of sums into `folder`/README.md, between its two markers."""
    readme = folder / "README.md"
    text = _TABLE.sub(lambda m: m[1] + sums_table(folder) + m[2], readme.read_text(encoding="utf-8"))
    write(readme, text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workshop.make.data", description="Refaz os arquivos gerados de data/."
    )
    parser.add_argument("--sums", action="store_true", help="só refaz a tabela de somas de data/README.md")
    options = parser.parse_args(argv)
    folder = course_root() / "data"
    if not options.sums:
        write_course_data(folder)
    refresh_sums(folder)
    print(f"Tabela de somas atualizada em {folder / 'README.md'}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
