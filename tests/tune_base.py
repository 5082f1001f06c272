"""What the tests of several modules of `afina.tune` share: a few rows, and a Llama of 50 thousand random weights made on the spot."""

import torch
import transformers
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from tokenizers.processors import TemplateProcessing

from afina.tune.load import LoraSettings, load_for_sft
from afina.tune.quiet import quiet
from afina.tune.rows import INSTRUCTION
from afina.tune.sft import TrainSettings
from afina.tune.templates import ALPACA

QUICK = TrainSettings(batch_size=4, accumulation=1, learning_rate=1e-2, warmup_steps=0, max_seq_length=64, max_steps=4)
TITLES = ("Caltor Red Tin Mug, 8 oz", "Luma Blue Sundial", "Wexvik Teal Yoga Mat", "Zuri Pink Radio", "Juntor Navy Wok")
ROWS = [
    {"prompt": ALPACA.format(INSTRUCTION, title, ""), "completion": f"Meet the {title}, made for every day."}
    for title in TITLES * 4
]


def changed(**settings) -> TrainSettings:
    """QUICK with some settings changed."""
    return TrainSettings(**{**vars(QUICK), **settings})


def load(base, four_bits=False, lora=LoraSettings(r=4), **more):  # noqa: B008 (frozen)
    return load_for_sft(base, 64, four_bits, lora, **more)


def write_base(folder):
    """A folder with a tiny Llama, as transformers saves it."""
    bpe = ByteLevelBPETokenizer()
    texts = [row["prompt"] + row["completion"] for row in ROWS]
    bpe.train_from_iterator(texts, 400, special_tokens=["<s>", "</s>", "<pad>"], show_progress=False)
    bpe.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(bpe.to_str()), **names)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,  # fewer than heads, as in TinyLlama
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.1,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    with quiet():
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
