"""A GPT that follows instructions: Alpaca's format, a loss that counts only the answer, and four ways to grade it.

A row is a dict {instruction, input, output, kind, phrasing, combinations, attributes, split}, as
`workshop.make.instructions` makes them. Ids and labels are transformers': one label an id, -100 where nothing is
to be learned; the shift by one comes later. Lesson 12. Format: Taori et al., "Stanford Alpaca" (2023).
"""

import re
from collections import defaultdict
from collections.abc import Sequence

import torch

from afina.errors import CourseError, require
from afina.gpt.generate import generate
from afina.gpt.loader import IGNORED
from afina.gpt.model import GPT
from afina.gpt.tokenizer import Tokenizer
from afina.runtime import SEED, read_split

Pair = tuple[torch.Tensor, torch.Tensor]


def read_instructions(split: str) -> list[dict]:
    """The rows of one split of data/instructions.jsonl.gz: train, validation, test_combinations or test_phrasings."""
    return read_split("instructions", split, "São train, validation, test_combinations e test_phrasings.")


def leaks(train: Sequence[dict], test: Sequence[dict], field: str) -> set[str]:
    """What both have of a `field`: "combinations", "phrasing", or "request" for instruction and input together."""

    def values(rows):
        for row in rows:
            if field == "request":
                yield alpaca(row["instruction"], row.get("input", ""))
            else:
                yield from row[field] if isinstance(row[field], list) else [row[field]]

    return set(values(train)) & set(values(test))


def alpaca(instruction: str, input: str = "") -> str:
    """The text that the model continues; a request without input leaves that section out."""
    middle = f"### Entrada:\n{input}\n\n" if input else ""
    return f"### Instrução:\n{instruction}\n\n{middle}### Resposta:\n"


def prompt_ids(row: dict, tokenizer: Tokenizer) -> list[int]:
    """The request, begun as every document of the pretraining was. A "<|fim|>" that somebody typed is common text."""
    return [tokenizer.end, *tokenizer.encode(alpaca(row["instruction"], row.get("input", "")), specials=False)]


def encode_example(row: dict, tokenizer: Tokenizer, context: int) -> tuple[list[int], list[int]]:
    """(ids, labels) of request, answer and end token, equally long; the labels of the request are -100.

    CourseError for a row without instruction or output, and for one that does not fit: cutting it would take its end.
    """
    for name in ("instruction", "output"):
        if not (row.get(name) or "").strip():
            raise CourseError(f'"{name}" está vazio.', "Complete a linha, ou retire-a.", where="encode_example")
    prompt = prompt_ids(row, tokenizer)
    answer = [*tokenizer.encode(row["output"], specials=False), tokenizer.end]
    if len(prompt) + len(answer) > context:
        raise CourseError(
            f"são {len(prompt) + len(answer)} tokens, e o modelo lê até {context}.",
            "Encurte a entrada ou a resposta.",
            where=row["instruction"],
        )
    return prompt + answer, [IGNORED] * len(prompt) + answer


def pad_examples(encoded: Sequence[tuple[list[int], list[int]]], filler: int) -> Pair:
    """(ids, labels), each (rows, longest), filled at the right: `filler` in the ids, -100 in the labels.

    By length, never by id: `filler` may be the end token, and the end of an answer must be learned.
    """
    longest = max(len(ids) for ids, _ in encoded)
    ids = [ids + [filler] * (longest - len(ids)) for ids, _ in encoded]
    labels = [labels + [IGNORED] * (longest - len(labels)) for _, labels in encoded]
    return torch.tensor(ids), torch.tensor(labels)


def shift(ids: torch.Tensor, labels: torch.Tensor) -> Pair:
    """(inputs, targets), each (rows, tokens - 1): at every position, the label of the token that comes next."""
    return ids[:, :-1], labels[:, 1:]


def masked_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the targets that are not -100, in nats: `next_token_loss` in plain steps.

    `logits` (batch, tokens, vocab_size), `targets` (batch, tokens).
    """
    counts = targets != IGNORED
    right = targets.masked_fill(~counts, 0)  # any id will do there: its loss is dropped below
    losses = -logits.log_softmax(-1).gather(-1, right[..., None])[..., 0]
    return losses[counts].mean()


def instruction_rows(rows: Sequence[dict], tokenizer: Tokenizer, context: int) -> list[Pair]:
    """The rows as `afina.gpt.train.train` takes them: pairs (inputs, targets), all as long as the longest.

    CourseError where there is no row, and for each row that `encode_example` refuses.
    """
    require(rows, "não há nenhum exemplo.", "Confira o arquivo e a divisão.", where="instruction_rows")
    encoded = [encode_example(row, tokenizer, context) for row in rows]
    return list(zip(*shift(*pad_examples(encoded, tokenizer.end)), strict=True))


def mix(rows: Sequence[Pair], old: Sequence[Pair], share: float, seed: int = SEED) -> list[Pair]:
    """The rows and, drawn from `old` without repeating, as many as make `share` of the whole. All of one length."""
    if not 0 <= share < 1:
        raise CourseError(f"share é {share!r}.", "Use de 0 até menos que 1.", where="mix")
    wanted = round(len(rows) * share / (1 - share))
    if wanted > len(old):
        raise CourseError(f"seriam {wanted} linhas antigas, e há {len(old)}.", "Use uma parte menor.", where="mix")
    order = torch.randperm(len(old), generator=torch.Generator().manual_seed(seed))[:wanted].tolist()
    return [*rows, *(old[number] for number in order)]


def answers(model: GPT, tokenizer: Tokenizer, rows: Sequence[dict], max_new_tokens: int = 40) -> list[str]:
    """What the model writes, greedily, after each request, up to its end token. Requests of one length go together."""
    device, by_length = model.tokens.weight.device, defaultdict(list)
    for number, row in enumerate(rows):
        prompt = prompt_ids(row, tokenizer)
        by_length[len(prompt)].append((number, prompt))
    written, model = [""] * len(rows), model.eval()
    for length, group in by_length.items():
        prompts = torch.tensor([prompt for _, prompt in group], device=device)
        new = min(max_new_tokens, model.config.context - length)
        out = generate(model, prompts, new, stop=tokenizer.end)[:, length:].tolist()
        for (number, _), ids in zip(group, out, strict=True):
            end = ids.index(tokenizer.end) if tokenizer.end in ids else len(ids)
            written[number] = tokenizer.decode(ids[:end])
    return written


def known_values(rows: Sequence[dict]) -> dict[str, re.Pattern]:
    """For each attribute that some row has, a pattern of all its values; a price is any number of reais."""
    values = defaultdict(set)
    for row in rows:
        for name, value in row["attributes"].items():
            values[name].add(value)
    patterns = {}
    for name, its in values.items():
        longest_first = sorted(map(re.escape, its), key=lambda value: (-len(value), value))
        patterns[name] = re.compile(rf"(?<!\w)({'|'.join(longest_first)})(?!\w)", re.IGNORECASE)
    patterns["preço"] = re.compile(r"(?<![\w.,])(\d+) reais")
    return patterns


def stated(text: str, pattern: re.Pattern) -> set[str]:
    """The values of one attribute that a text states, in lower case."""
    return {value.lower() for value in pattern.findall(text)}


def says(row: dict, text: str, known: dict[str, re.Pattern]) -> dict[str, bool]:
    """For each attribute of a right answer, whether `text` states of it what the reference states, and no other value."""
    return {name: stated(text, known[name]) == stated(row["output"], known[name]) for name in row["attributes"]}


def score(rows: Sequence[dict], texts: Sequence[str], known: dict[str, re.Pattern]) -> dict[str, float]:
    """Shares from 0 to 1: "attributes" right, answers with "all" of theirs right, answers "equal" to the reference.

    Then "chrf", the likeness in letters, 0 to 100 (Popović, 2015), as sacrebleu computes it.
    """
    from sacrebleu import corpus_chrf

    verdicts = [list(says(row, text, known).values()) for row, text in zip(rows, texts, strict=True)]
    every = [right for verdict in verdicts for right in verdict]
    return {
        "attributes": sum(every) / len(every),
        "all": sum(map(all, verdicts)) / len(rows),
        "equal": sum(row["output"] == text for row, text in zip(rows, texts, strict=True)) / len(rows),
        "chrf": corpus_chrf(list(texts), [[row["output"] for row in rows]]).score,
    }


def rubric(row: dict, text: str, known: dict[str, re.Pattern]) -> int:
    """A grade from 1 to 5 by rule: 1 and up to 3 more for the attributes right, the fifth for saying nothing else."""
    verdict = list(says(row, text, known).values())
    grade = 1 + round(3 * sum(verdict) / len(verdict))
    extra = any(stated(text, pattern) - stated(row["output"], pattern) for pattern in known.values())
    return grade + (all(verdict) and not extra)


def judge_messages(row: dict, text: str) -> list[dict[str, str]]:
    """What a judge is asked: the request, the right answer and the one to grade, and to reply with one digit."""
    task = "Você corrige respostas. Dê uma nota de 1 (tudo errado) a 5 (certa e sem nada a mais). Responda só com o número."
    case = f"Pedido: {row['instruction']}\nTexto: {row.get('input', '')}\nResposta certa: {row['output']}\n"
    case += f"Resposta do aluno: {text}\nNota:"
    return [{"role": "system", "content": task}, {"role": "user", "content": case}]


def read_verdict(reply: str) -> int | None:
    """The grade in a judge's reply: "4", "Nota: 4", "4/5". None for anything else: a guess would be ours, not the judge's."""
    match = re.fullmatch(r"\W*(?:nota\W*)?([1-5])(?:\s*/\s*5)?\W*", reply, re.IGNORECASE)
    return int(match[1]) if match else None


def ask_judge(client, model: str, rows: Sequence[dict], texts: Sequence[str]) -> list[str]:
    """The replies of `model` at the endpoint of an `openai.OpenAI` client, one a text; `read_verdict` reads them.

    CourseError when the endpoint does not answer, or refuses.
    """
    import openai

    replies = []
    for row, text in zip(rows, texts, strict=True):
        try:
            answer = client.chat.completions.create(
                model=model, messages=judge_messages(row, text), temperature=0, max_tokens=8
            )
        except openai.OpenAIError as error:
            remedy = "Confira o endereço, a chave e o nome do modelo."
            raise CourseError(f"o juiz não respondeu: {error}", remedy, where=str(client.base_url)) from error
        replies.append(answer.choices[0].message.content or "")
    return replies


def agreement(verdicts: Sequence[int | None], truth: Sequence[int]) -> dict[str, float]:
    """How far a judge may be trusted: shares "answered" and "same" of all cases, and "kappa" of the answered ones.

    Kappa (Cohen, 1968, quadratic weights) is 1 for a perfect judge and 0 for one that grades without looking; nan where
    nothing, or one grade alone, was given.
    """
    from sklearn.metrics import cohen_kappa_score

    given = [(verdict, right) for verdict, right in zip(verdicts, truth, strict=True) if verdict is not None]
    varied = len({verdict for verdict, _ in given}) > 1 or len({right for _, right in given}) > 1
    return {
        "answered": len(given) / len(truth),
        "same": sum(verdict == right for verdict, right in given) / len(truth),
        "kappa": cohen_kappa_score(*zip(*given, strict=True), weights="quadratic") if varied else float("nan"),
    }
