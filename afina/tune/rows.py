"""Rows for fine-tuning: the template that makes them from a catalogue, which of them to take, and their token ids.

A row is {"prompt", "completion"}, whose loss counts on the answer alone, or {"text"}, whose loss counts on all.
"""

import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from afina.errors import CourseError, require
from afina.runtime import SEED
from afina.tune.templates import ALPACA

INSTRUCTION = "Describe the product"
# The question form: the same description answers them all. The last two train nothing: they test phrasings never seen.
QUESTIONS = (
    INSTRUCTION,
    "What is this product?",
    "Tell me about this item.",
    "Descreva o produto",
    "O que é este produto?",
    "Fale deste item.",
)
NEW_QUESTIONS = ("What can you say about this product?", "O que você sabe sobre este produto?")

Row = Mapping[str, str]


def add_instruction_column(example):
    """The seed's column: the same instruction for every product."""
    return {"instruction": INSTRUCTION}


def formatting_prompts_func(examples, eos_token):
    """A batch with instruction, title and content gets three columns: prompt, completion (which ends in EOS), and both as text."""
    columns = (examples["instruction"], examples["title"])
    prompts = [ALPACA.format(instruction, title, "") for instruction, title in zip(*columns, strict=True)]
    completions = [content + eos_token for content in examples["content"]]
    texts = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    return {"prompt": prompts, "completion": completions, "text": texts}


def add_question_column(example, index):
    """The question form: row `index` asks in the phrasing whose turn it is."""
    return {"instruction": QUESTIONS[index % len(QUESTIONS)]}


def read_shard(path: str | Path) -> list[dict[str, str]]:
    """The rows of one shard of `afina prep`, with title and content, both text.

    CourseError for an empty shard, and for the first line that is not JSON or lacks a column.
    """
    path = Path(path)
    remedy = "Use um fragmento .jsonl escrito por `afina prep`."
    require(path.is_file(), "não há este fragmento.", "Rode `afina prep` e confira o nome.", where=path)
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, linha {number}"
        try:
            row = json.loads(line)
        except ValueError as error:  # a byte that is not UTF-8 too
            raise CourseError("não é JSON.", remedy, where=place) from error
        if missing := [n for n in ("title", "content") if not isinstance(row, dict) or not isinstance(row.get(n), str)]:
            raise CourseError(f"falta a coluna {' e a coluna '.join(missing)}.", remedy, where=place)
        rows.append(row)
    require(rows, "o fragmento está vazio.", "Escolha outro, ou rode `afina prep` de novo.", where=path)
    return rows


def choose(lengths: Sequence[int], n: int, how: str, seed: int = SEED) -> list[int]:
    """Places of `n` of the rows whose lengths are given: "random", "stratified" by length (ten equal bands), or the "longest"."""
    most = len(lengths)
    require(0 < n <= most, f"pediram {n} linhas de {most}.", f"Peça de 1 a {most}.", where="choose")
    draw = random.Random(seed)
    by_length = sorted(range(most), key=lambda i: (lengths[i], draw.random()))
    if how == "longest":
        return by_length[-n:]
    if how == "random":
        return draw.sample(range(most), n)
    require(how == "stratified", f'o modo "{how}" não existe.', 'Use "random", "stratified" ou "longest".', "choose")
    edges = [round(k * most / 10) for k in range(11)]
    parts = [round((k + 1) * n / 10) - round(k * n / 10) for k in range(10)]
    bands = [by_length[a:b] for a, b in itertools.pairwise(edges)]
    return [i for band, part in zip(bands, parts, strict=True) for i in draw.sample(band, min(part, len(band)))]


@dataclass(frozen=True)
class Prepared:
    """Rows as token ids, and the account: `cut` lost their end, `dropped` had no room left for any answer."""

    rows: list[dict[str, list[int]]]  # input_ids and completion_mask, of one length
    cut: int
    dropped: int

    @property
    def tokens(self) -> int:
        return sum(len(row["input_ids"]) for row in self.rows)

    def __str__(self) -> str:
        return f"{len(self.rows)} exemplos, {self.tokens} tokens; {self.cut} cortados, {self.dropped} sem lugar para a resposta"


def prepare(rows: Sequence[Row], tokenizer, max_seq_length: int, add_eos: bool = True) -> Prepared:
    """Rows to ids; nothing is cut or dropped without being counted. The mask is 1 where the loss may count.

    `add_eos` ends each row in the end token where it lacks it. CourseError lists every row without the columns, and an
    empty list.
    """
    require(len(rows), "não há nenhum exemplo.", "Confira o fragmento: ele pode estar vazio.", where="dados")
    check_columns(rows)
    heads = [row.get("prompt", "") if "completion" in row else "" for row in rows]
    bodies = [row["completion"] if "completion" in row else row["text"] for row in rows]
    end = tokenizer.eos_token if add_eos else ""
    wholes = [a + b + ("" if b.endswith(end) else end) for a, b in zip(heads, bodies, strict=True)]
    encoded = tokenizer(wholes, verbose=False)["input_ids"]
    before = tokenizer(heads, verbose=False)["input_ids"]
    out, cut, dropped = [], 0, 0
    for ids, head, prompt in zip(encoded, before, heads, strict=True):
        # as far as the two begin with the same ids: tokens may merge across the seam of prompt and answer
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(head, ids, strict=False))
        answer = sum(1 for _ in same) if prompt else 0
        cut += len(ids) > max_seq_length
        if answer >= max_seq_length:
            dropped += 1
            continue
        mask = [0] * answer + [1] * (len(ids) - answer)
        out.append({"input_ids": ids[:max_seq_length], "completion_mask": mask[:max_seq_length]})
    problem = f"nenhum dos {len(rows)} exemplos cabe: os pedidos já ocupam max_seq_length={max_seq_length}."
    require(out, problem, "Aumente max_seq_length ou encurte os pedidos.", where="dados")
    return Prepared(out, cut, dropped)


def check_columns(rows: Sequence[Row], names: Sequence[str] = ()) -> None:
    """Every row must have text in the columns `names`; without names, in prompt and completion, or in text."""
    bad = []
    for i, row in enumerate(rows, 1):
        wanted = names or (("text",) if "text" in row and "completion" not in row else ("prompt", "completion"))
        if missing := [f'"{name}"' for name in wanted if not row.get(name)]:
            bad.append(f"linha {i}: falta {' e '.join(missing)}")
    forms = " e ".join(f'"{name}"' for name in names) or '"prompt" e "completion", ou "text"'
    refuse_rows(bad, f"Dê a cada linha {forms}, com texto dentro.")


def refuse_rows(problems: Sequence[str], remedy: str) -> None:
    """CourseError with the first five problems of the data and the number of the others, where there is any."""
    more = f"; e mais {len(problems) - 5}" if len(problems) > 5 else ""
    require(not problems, "; ".join(problems[:5]) + more + ".", remedy, where="dados")
