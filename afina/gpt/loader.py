"""From a corpus to batches: documents, one long ribbon of ids, sliding windows, and what to do with rows of unequal length."""

import gzip
import zlib
from collections import defaultdict
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from afina.errors import CourseError, require
from afina.runtime import SEED

IGNORED = -100  # a target that does not count: PyTorch's cross-entropy leaves it out


def read_documents(path: str | Path) -> list[str]:
    """The documents of a text file, plain or .gz, which blank lines keep apart. CourseError when there is none."""
    path = Path(path)
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        documents = [part.strip() for part in content.decode("utf-8").split("\n\n") if part.strip()]
    except FileNotFoundError:
        raise CourseError("o arquivo não existe.", "Confira o caminho do corpus.", where=path) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        problem = f"não consigo ler o corpus: {error}."
        raise CourseError(problem, "Copie ou baixe o arquivo de novo.", where=path) from None
    require(documents, "o corpus está vazio.", "Um treino precisa de ao menos um documento.", where=path)
    return documents


def ribbon(documents: list[list[int]], end: int) -> list[int]:
    """All documents in one row of ids, each closed by `end`: where one stops and the next begins must be said."""
    return [i for document in documents for i in (*document, end)]


class Windows(Dataset):
    """Windows of `context` ids, one every `stride`: item i is (input, target), the target one token ahead of the input.

    Both have the shape (context,). The ids that do not fill a last window are left out. CourseError if there is no window.
    """

    def __init__(self, ids, context: int, stride: int | None = None):
        self.ids = torch.as_tensor(ids, dtype=torch.long)
        self.context, self.stride = context, context if stride is None else stride
        if self.context < 1 or self.stride < 1:
            raise CourseError(
                f"context={context} e stride={stride} não servem.", "Os dois começam em 1.", where="Windows"
            )
        if len(self.ids) < context + 1:
            raise CourseError(
                f"o corpus tem {len(self.ids)} tokens, e uma janela de {context} pede {context + 1}.",
                "Junte mais texto ou diminua o contexto.",
                where="Windows",
            )

    def __len__(self) -> int:
        return (len(self.ids) - self.context - 1) // self.stride + 1

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        start = i * self.stride
        chunk = self.ids[start : start + self.context + 1]
        return chunk[:-1], chunk[1:]


def batches(rows, batch_size: int, shuffle: bool = True, seed: int = SEED) -> DataLoader:
    """The rows in batches (batch, tokens), in a new order every pass when `shuffle`; the same orders for the same seed."""
    return DataLoader(rows, batch_size, shuffle=shuffle, generator=torch.Generator().manual_seed(seed))


def pack(documents: list[list[int]], room: int) -> list[list[int]]:
    """Whole documents, several a row, at most `room` ids a row: longest first, each into the row that it fills best.

    CourseError for a document that no row can hold.
    """
    rows, by_space = [], defaultdict(list)  # type: list[list[int]], defaultdict[int, list[list[int]]]
    for document in sorted(documents, key=len, reverse=True):
        if len(document) > room:
            raise CourseError(
                f"um documento tem {len(document)} tokens, e a linha só {room}.",
                "Corte-o em janelas, ou aumente o contexto.",
                where="pack",
            )
        space = next((space for space in range(len(document), room + 1) if by_space[space]), room)
        if by_space[space]:
            row = by_space[space].pop()
        else:
            row = []
            rows.append(row)
        row += document
        by_space[space - len(document)].append(row)
    return rows


def pad(rows: list[list[int]], filler: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(inputs, targets) of rows of unequal length, each (rows, longest - 1): `filler` in the inputs, -100 in the targets."""
    longest = max(map(len, rows))
    filled = torch.tensor([row + [filler] * (longest - len(row)) for row in rows])
    inputs, targets = filled[:, :-1], filled[:, 1:].clone()
    for target, row in zip(targets, rows, strict=True):
        target[len(row) - 1 :] = IGNORED
    return inputs, targets
