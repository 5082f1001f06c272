"""One file in figures: lines, tokens by role, the longest example, the system prompts. Both lanes report here."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from xxhash import xxh3_64_intdigest

from afina.jsonl.fast import Group
from afina.jsonl.tokens import PER_EXAMPLE, PER_MESSAGE, Estimated, Exact
from afina.prices import Model
from afina.ptbr import number

MOST_SYSTEM_PROMPTS = 10_000


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


class Tally:
    """Fills the summary of a file, and notes the examples that pass the model's limit of tokens."""

    def __init__(self, summary: FileSummary, model: Model, count: Exact | Estimated, note: Callable[..., None]):
        self.summary, self.model, self.count, self.note = summary, model, count, note
        self.most_tokens = model.max_tokens or sys.maxsize
        # Lines that could pass the limit, by their length alone.
        self.long_from = int(self.most_tokens / count.most_per_byte)
        self.tokens: dict[str, float] = {}
        self.frame = 0  # tokens around the texts
        self.loose: dict[str, list[str]] = {}  # role -> texts of single lines, counted a block at a time
        self.systems: Counter[int] = Counter()
        self.system_texts: dict[int, str] = {}

    def add_group(self, group: Group, sizes: Sequence[int], first: int) -> None:
        """Add lines of one shape by their sizes in bytes; `first` is the number of the line at place 0."""
        for role, column in zip(group.roles, group.columns, strict=True):
            self._add(role, column)
        self.frame += len(group.texts) * (PER_MESSAGE * len(group.roles) + PER_EXAMPLE)
        self.summary.good += len(group.texts)
        longest = max(sizes)
        if longest >= self.summary.longest_bytes:
            at = sizes.index(longest)
            self._longest(first + group.places[at], longest, group.texts[at])
        if longest > self.long_from:
            for place, size, texts in zip(group.places, sizes, group.texts, strict=True):
                if size > self.long_from:
                    self._limit(first + place, texts)

    def add_line(self, pairs: Iterable[tuple[str, str]], line: int, size: int) -> None:
        """Add one line by its (role, text) pairs; its texts are counted when `end_block` is called."""
        pairs = [(role, text) for role, text in pairs if text]
        if not pairs:
            return
        texts = [text for _, text in pairs]
        for role, text in pairs:
            self.loose.setdefault(role or "outros", []).append(text)
        self.frame += PER_MESSAGE * len(texts) + PER_EXAMPLE
        self.summary.good += 1
        self._longest(line, size, texts)
        if size > self.long_from:
            self._limit(line, texts)

    def end_block(self) -> None:
        for role, texts in self.loose.items():
            self._add(role, texts)
        self.loose.clear()

    def finish(self) -> None:
        """Write the sums into the summary."""
        summary = self.summary
        by_role = sorted(self.tokens.items(), key=lambda item: -item[1])
        summary.tokens_by_role = {role: round(tokens) for role, tokens in by_role}
        summary.tokens = round(sum(self.tokens.values())) + self.frame
        summary.system_prompts = len(self.systems)
        if self.systems:
            key = max(self.systems, key=lambda one: (self.systems[one], self.system_texts[one], one))
            summary.common_system_count = self.systems[key]
            summary.common_system_prompt = self.system_texts[key]

    def _add(self, role: str, texts: Sequence[str]) -> None:
        self.tokens[role] = self.tokens.get(role, 0.0) + self.count.count(texts)
        if role not in ("system", "developer"):
            return
        for text, times in Counter(texts).items():
            key = xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))
            if key in self.systems or len(self.systems) < MOST_SYSTEM_PROMPTS:
                self.systems[key] += times
                self.system_texts.setdefault(key, text[:80])

    def _longest(self, line: int, size: int, texts: Sequence[str]) -> None:
        best = self.summary
        if (size, -line) >= (best.longest_bytes, -best.longest_line):
            best.longest_line, best.longest_bytes, best.longest_tokens = line, size, self._tokens_of(texts)

    def _tokens_of(self, texts: Sequence[str]) -> int:
        return round(self.count.count(texts)) + PER_MESSAGE * len(texts) + PER_EXAMPLE

    def _limit(self, line: int, texts: Sequence[str]) -> None:
        tokens = self._tokens_of(texts)
        if tokens > self.most_tokens:
            about = "" if self.count.exact else "cerca de "
            found = f"o exemplo tem {about}{number(tokens)} tokens; {self.model.id} vai até {number(self.most_tokens)}."
            remedy = "Corte o texto ou divida a conversa em exemplos menores."
            self.note(line, "too_many_tokens", "", found, remedy, warning=not self.model.firm_tokens)
