"""Answers for the twins: one thread of the serving process, which loads torch at the first question.

Questions to the same model that wait together are answered together, a batch at a time; each has its own temperature,
limits and stop texts. It needs nothing from the training process: tuned models are read from their adapter files.
"""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

from afina.chat.turn import END, Line, Refused, Turn, prompt_text

BATCH = 32
KEPT = 6  # models in memory
__all__ = ["END", "Line", "Refused", "Speaker", "Turn", "load_model", "merge", "prompt_text"]


class Speaker:
    """Loads models from `base` (a Llama folder) and adapters, and answers turns in its own thread."""

    def __init__(self, base: Path):
        self.base = base
        self._inbox: queue.SimpleQueue[Turn] = queue.SimpleQueue()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None

    def say(self, turn: Turn) -> Iterator[str]:
        """Queue the turn now; the iterator yields pieces of the answer. Refused: the model cannot take it."""
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="speaker")
                self._thread.start()
        self._inbox.put(turn)
        return _pieces(turn)

    def _run(self) -> None:
        waiting: collections.deque[Turn] = collections.deque()
        voice = None
        while True:
            if not waiting:
                waiting.append(self._inbox.get())
            while not self._inbox.empty():
                waiting.append(self._inbox.get())
            batch = [turn for turn in waiting if turn.layers == waiting[0].layers][:BATCH]
            for turn in batch:
                waiting.remove(turn)
            try:
                voice = voice or _Voice(self.base)
                voice.answer(batch)
            except Exception as error:  # the thread must outlive it: the handlers re-raise it and log it
                for turn in batch:
                    turn.pieces.put(error)
            for turn in batch:
                turn.pieces.put(END)


def _pieces(turn: Turn) -> Iterator[str]:
    try:
        while (piece := turn.pieces.get()) is not END:
            if isinstance(piece, Exception):
                raise piece
            yield piece
    finally:
        turn.abandoned = True  # nobody listens any more: the batch drops it


def merge(model, folder: Path) -> None:
    """Add a LoRA adapter, as PEFT saves it, to the weights of `model`: W + (alpha / r) B A."""
    import json

    import torch
    from safetensors.torch import load_file

    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "adapter_model.safetensors")
    weights = dict(model.named_parameters())
    scale = settings["lora_alpha"] / settings["r"]
    with torch.no_grad():
        for name, down in tensors.items():
            if ".lora_A." in name:
                up = tensors[name.replace(".lora_A.", ".lora_B.")]
                target = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
                weights[target] += scale * (up @ down)


def load_model(base: Path, layers: tuple[str, ...]):
    """The base model with its adapters merged, in order, ready to answer."""
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(base)
    for folder in layers:
        merge(model, Path(folder))
    return model.eval()


class _Voice:
    def __init__(self, base: Path):
        import torch
        from transformers import AutoTokenizer

        torch.set_num_threads(1)  # so small a model gains nothing from a second thread
        self.base, self.torch = base, torch
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        self.models: collections.OrderedDict[tuple, object] = collections.OrderedDict()

    def model(self, layers: tuple[str, ...]):
        if layers not in self.models:
            self.models[layers] = load_model(self.base, layers)
            if len(self.models) > KEPT:
                self.models.popitem(last=False)
        self.models.move_to_end(layers)
        return self.models[layers]

    def answer(self, turns: list[Turn]) -> None:
        """Answer all turns together; each gets its pieces as they come. Prompts are padded on the left."""
        model = self.model(turns[0].layers)
        room = model.config.max_position_embeddings
        lines = []
        for turn in turns:
            ids = self.tokenizer(prompt_text(self.tokenizer, turn.messages))["input_ids"]
            turn.prompt_tokens = len(ids)
            if len(ids) >= room:
                message = (
                    f"This local model's maximum context length is {room} tokens and the messages have {len(ids)}."
                )
                turn.pieces.put(Refused(message, "context_length_exceeded"))
            elif ids:
                lines.append(Line(self.tokenizer, turn, ids, room))
        if lines:
            with self.torch.inference_mode():
                self._generate(model, lines)

    def _generate(self, model, lines: list[Line]) -> None:
        torch = self.torch
        longest = max(len(line.ids) for line in lines)
        ids = torch.zeros(len(lines), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, line in enumerate(lines):
            ids[row, longest - len(line.ids) :] = torch.tensor(line.ids)
            mask[row, longest - len(line.ids) :] = 1
        cache = None
        while lines:
            places = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            out = model(
                input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True,
                logits_to_keep=1,
            )  # fmt: skip
            cache = out.past_key_values
            chosen = [line.choose(scores) for line, scores in zip(lines, out.logits[:, -1].float(), strict=True)]
            alive = [row for row, line in enumerate(lines) if line.take(chosen[row])]
            if len(alive) < len(lines):
                lines = [lines[row] for row in alive]
                keep = torch.tensor(alive, dtype=torch.long)
                cache.batch_select_indices(keep)
                mask = mask[keep]
            ids = torch.tensor([[chosen[row]] for row in alive], dtype=torch.long)
            mask = torch.cat([mask, torch.ones(len(alive), 1, dtype=torch.long)], dim=1)
