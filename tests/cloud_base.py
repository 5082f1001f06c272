"""A Llama small enough for tests of the twins: random weights, its tokenizer made on the spot, the course's chat form."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path

TEMPLATE = (
    "{% for m in messages %}{{ '### ' + m['role'] + ':\n' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant:\n' }}{% endif %}"
)
TEXTS = [f"product number {n}: a very nice mouse of shape {n * 7 % 10} for {n % 5} days ### user assistant system"
         for n in range(60)]  # fmt: skip


@functools.cache
def tiny_base() -> Path:
    """The folder of the model; made once a test process, a second or two."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = Path(tempfile.mkdtemp(prefix="afina-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(TEXTS, vocab_size=400, special_tokens=["<s>", "</s>", "<pad>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=TEMPLATE
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, bos_token_id=0, eos_token_id=1, pad_token_id=2, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def chat_lines(count: int = 12) -> str:
    rows = [
        {"messages": [{"role": "user", "content": f"mouse {n}"}, {"role": "assistant", "content": TEXTS[n % 60][:40]}]}
        for n in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def preference_lines(count: int = 12) -> str:
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"mouse {n}"}]},
            "preferred_output": [{"role": "assistant", "content": "a very nice mouse"}],
            "non_preferred_output": [{"role": "assistant", "content": f"shape {n} days"}],
        }
        for n in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def converse_lines(count: int = 10) -> str:
    rows = [
        {
            "schemaVersion": "bedrock-conversation-2024",
            "system": [{"text": "product"}],
            "messages": [
                {"role": "user", "content": [{"text": f"mouse {n}"}]},
                {"role": "assistant", "content": [{"text": TEXTS[n % 60][:40]}]},
            ],
        }
        for n in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)
