"""What a run of `afina prep` read, kept and dropped: every line is in the account, and nothing is dropped in silence."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from afina.data.split import SPLITS
from afina.ptbr import decimal, number, percent

REASONS = {
    "blank": "em branco",
    "broken": "quebradas",
    "empty_title": "título vazio",
    "empty_content": "conteúdo vazio",
    "duplicate": "repetidas",
    "near_duplicate": "quase iguais",  # only where it is asked for
}
EXAMPLES_KEPT = 20
_SPLIT_NAMES = {"train": "treino", "validation": "validação", "test": "teste"}


class Broken(NamedTuple):
    """One line that could not be used."""

    file: str
    line: int
    reason: str


@dataclass
class RowBatch:
    """What a road hands to the writer, in file order: encoded rows by split without duplicates, and the account of them."""

    rows: dict[str, list[bytes]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    checksum: int = 0
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    broken: list[Broken] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    moved: int = 0  # bytes of input behind us since the last batch

    def add(self, split: str, row: bytes, checksum: int) -> None:
        self.rows[split].append(row)
        self.checksum += checksum


def damage_notes(problems: Mapping[Path, str], lines: Mapping[Path, int]) -> list[str]:
    """One sentence for each file that could not be read to its end: why, and how many of its `lines` were read."""
    return [
        f"{path}: {why}; a leitura parou depois da linha {number(lines[path])}, e o que veio antes foi aproveitado."
        for path, why in problems.items()
    ]


@dataclass
class PrepReport:
    """What was read, kept and dropped. `read == kept + sum(dropped.values())`; `str(report)` is a table to read.

    `checksum` covers every kept row with its split, in any order: two roads that agree on it wrote the same rows.
    `complete` is False when an input could not be read to its end (see `damaged`).
    """

    out: str
    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: {name: 0 for name in REASONS if name != "near_duplicate"})
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    checksum: str = f"{0:016x}"
    broken: list[Broken] = field(default_factory=list)  # the first few; all are counted in `dropped`
    damaged: list[str] = field(default_factory=list)
    shards: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    ready: bool = False  # found done by an earlier run, not made now

    @property
    def complete(self) -> bool:
        return not self.damaged

    def count(self, batch: RowBatch) -> None:
        self.read += batch.read
        for reason, lines in batch.dropped.items():
            self.dropped[reason] += lines
        for split, rows in batch.rows.items():
            self.rows[split] += len(rows)
            self.kept += len(rows)
        self.checksum = f"{(int(self.checksum, 16) + batch.checksum) % 2**64:016x}"
        self.broken += batch.broken[: EXAMPLES_KEPT - len(self.broken)]
        self.damaged += batch.damaged

    def __str__(self) -> str:
        def line(name: str, rows: int) -> str:
            return f"  {name:<18}{number(rows):>12}{percent(rows / self.read) if self.read else '':>10}"

        parts = [f"Catálogo em {self.out}", line("linhas lidas", self.read), line("aproveitadas", self.kept)]
        parts += [line(f"  {_SPLIT_NAMES[split]}", rows) for split, rows in self.rows.items()]
        parts += [line("descartadas", sum(self.dropped.values()))]
        parts += [line(f"  {REASONS[reason]}", rows) for reason, rows in self.dropped.items()]
        parts.append(f"  fragmentos        {len(self.shards):>12}   soma {self.checksum}")
        if not self.ready:
            speed = number(self.read / self.seconds) if self.seconds else "-"
            parts.append(f"  tempo             {decimal(self.seconds, 1):>10} s   {speed} linhas/s")
        if self.broken:
            parts.append("Linhas quebradas:")
            parts += [f"  {broken.file}, linha {broken.line}: {broken.reason}." for broken in self.broken]
            if (more := self.dropped["broken"] - len(self.broken)) > 0:
                parts.append(f"  … e mais {number(more)}.")
        parts += [f"Atenção: {text}" for text in self.damaged]
        return "\n".join(parts + self.notes)
