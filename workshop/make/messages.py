"""data/messages.jsonl.gz: short messages with and without spam, in words that both kinds share."""

from __future__ import annotations

from collections.abc import Iterator

from afina.data.shop import Draw
from afina.runtime import SEED
from workshop.make.portuguese import PT, sentence


def messages(seed: int = SEED) -> Iterator[dict]:
    """Rows {text, label, split}: 4,000 short messages, 13 % spam, in words that both kinds share.

    A message is a body of its kind between an opening and an ending that both kinds share; a body that starts with * in
    the lexicon is written by a company, the others by a person. Splits: train (2,800), validation (400) and test (800),
    each with bodies of its own. No text stands twice.
    """
    draw, seen = Draw(seed + 1), set()
    pieces = PT["messages"]

    def fresh(bodies: list[str]) -> str:
        while True:
            slots = {name: draw.one(options) for name, options in pieces["slots"].items()}
            slots["link"] = slots["link"].format(num=slots["num"])
            body = draw.one(bodies)
            voice = "empresa" if body.startswith("*") else "pessoal"
            opening, ending = draw.one(pieces["openings"][voice]), draw.one(pieces["endings"][voice])
            body = body.lstrip("*") if opening.endswith((", ", ": ")) else sentence(body.lstrip("*"))
            text = sentence((opening + body + ending).format(**slots))
            if text not in seen:
                seen.add(text)
                return text

    for split, n, source in (("train", 2_800, "train"), ("validation", 400, "validation"), ("test", 800, "test")):
        labels = draw.some(["spam"] * round(0.13 * n) + ["normal"] * (n - round(0.13 * n)), n)
        for label in labels:
            yield {"text": fresh(pieces[f"{label}_{source}"]), "label": label, "split": split}
