"""The GPT: tables, blocks, a head that shares the token table (Radford et al., 2019, GPT-2; pre-norm, learned positions).

With the same weights it gives the logits of transformers' `GPT2LMHeadModel`: lesson 08 and the tests prove it.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from afina.errors import require
from afina.gpt.attention import CausalSelfAttention
from afina.gpt.embeddings import look_up


@dataclass(frozen=True)
class GPTConfig:
    """The sizes of a GPT. `context` is the longest sequence in tokens; `d_model` the columns of every token's vector."""

    vocab_size: int
    context: int
    d_model: int
    n_heads: int
    n_layers: int
    dropout: float = 0.0

    def __post_init__(self):
        check_sizes(self, "vocab_size", "context", "d_model", "n_heads", "n_layers")
        problem = f"d_model {self.d_model} não se divide em {self.n_heads} cabeças iguais."
        require(self.d_model % self.n_heads == 0, problem, "Escolha d_model múltiplo de n_heads.", where="GPTConfig")
        require(0 <= self.dropout < 1, f"dropout é {self.dropout!r}.", "Use de 0 até menos que 1.", where="GPTConfig")


def check_sizes(settings: object, *names: str) -> None:
    """CourseError unless each of these fields is a whole number from 1."""
    for name in names:
        size, where = getattr(settings, name), type(settings).__name__
        require(isinstance(size, int) and size >= 1, f"{name} é {size!r}.", "Use um inteiro a partir de 1.", where)


class FeedForward(nn.Module):
    """Each token by itself: four times wider, bent by GELU (Hendrycks and Gimpel, 2016), and back."""

    def __init__(self, d_model: int):
        super().__init__()
        self.up = nn.Linear(d_model, 4 * d_model)
        self.down = nn.Linear(4 * d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class Block(nn.Module):
    """Attention, then feed-forward; each one reads a normalised copy and adds what it found (the shortcut)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.norm_1 = nn.LayerNorm(config.d_model)
        self.attention = CausalSelfAttention(config.d_model, config.n_heads, config.dropout)
        self.norm_2 = nn.LayerNorm(config.d_model)
        self.feed_forward = FeedForward(config.d_model)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, cache: list[torch.Tensor] | None = None) -> torch.Tensor:
        x = x + self.drop(self.attention(self.norm_1(x), cache))
        return x + self.drop(self.feed_forward(self.norm_2(x)))


def start_weights(model: "GPT") -> None:
    """Small random weights: GPT-2's 0.02 at its 768 columns, more in narrower models, less in what is added to a shortcut."""
    std = 0.02 * math.sqrt(768 / model.config.d_model)
    for name, parameter in model.named_parameters():
        if name.endswith(("attention.out.weight", "feed_forward.down.weight")):  # the sum must not grow with depth
            nn.init.normal_(parameter, std=std / math.sqrt(2 * model.config.n_layers))
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=std)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def check_length(end: int, config: GPTConfig) -> None:
    """CourseError if a sequence would end beyond the model's context."""
    problem = f"a sequência tem {end} tokens, e o modelo lê até {config.context}."
    require(end <= config.context, problem, "Encurte o texto, ou treine um modelo de contexto maior.", where="GPT")


class GPT(nn.Module):
    """From token ids to one score a vocabulary entry, at every position."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = nn.Embedding(config.context, config.d_model)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        start_weights(self)

    def embed(self, ids: torch.Tensor, start: int = 0) -> torch.Tensor:
        """(batch, tokens) of ids -> (batch, tokens, d_model); `start` is the position of the first of them."""
        end = start + ids.size(1)
        check_length(end, self.config)
        try:
            vectors = self.tokens(ids)
        except IndexError:
            vectors = look_up(self.tokens.weight, ids)  # the same, slower: it says which id has no row
        return self.drop(vectors + self.positions.weight[start:end])

    def hidden(self, ids: torch.Tensor, cache: list[list[torch.Tensor]] | None = None) -> torch.Tensor:
        """The last vectors, normalised: (batch, tokens, d_model). `cache` is `model.new_cache()`, filled as it goes."""
        start = cache[0][0].size(2) if cache and cache[0] else 0
        x = self.embed(ids, start)
        for number, block in enumerate(self.blocks):
            x = block(x, cache[number] if cache is not None else None)
        return self.norm(x)

    def forward(self, ids: torch.Tensor, cache: list[list[torch.Tensor]] | None = None) -> torch.Tensor:
        """Logits (batch, tokens, vocab_size): row i scores the token that comes after token i."""
        return F.linear(self.hidden(ids, cache), self.tokens.weight)

    def new_cache(self) -> list[list[torch.Tensor]]:
        """An empty place for each block's keys and values."""
        return [[] for _ in self.blocks]


@torch.no_grad()
def attention_maps(model: GPT, ids: torch.Tensor) -> torch.Tensor:
    """Who looks at whom, in every layer: (layers, batch, heads, tokens, tokens)."""
    x, maps = model.embed(ids), []
    for block in model.blocks:
        maps.append(block.attention.weights(block.norm_1(x)))
        x = block(x)
    return torch.stack(maps)


def next_token_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats: `logits` (batch, tokens, vocab_size), `targets` (batch, tokens); -100 does not count."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def count_parameters(config: GPTConfig) -> int:
    """The weights of a GPT by arithmetic. The head costs nothing: it is the token table again."""
    d = config.d_model
    tables = (config.vocab_size + config.context) * d
    attention = d * 3 * d + 3 * d + d * d + d
    feed_forward = d * 4 * d + 4 * d + 4 * d * d + d
    norms = 2 * 2 * d
    return tables + config.n_layers * (attention + feed_forward + norms) + 2 * d
