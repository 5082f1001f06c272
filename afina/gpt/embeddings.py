"""From ids to vectors, and where in the sentence they stand: the table look-up and three ways to say a position."""

import torch
import torch.nn.functional as F

from afina.errors import CourseError


def look_up(table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Rows of `table` (vocabulary, width) for `ids` of any shape: (*shape, width). CourseError for an id without a row."""
    wrong = ids[(ids < 0) | (ids >= len(table))]
    if len(wrong):
        raise CourseError(
            f"o token {int(wrong[0])} não tem linha: a tabela vai de 0 a {len(table) - 1}.",
            "Use o tokenizador com que o modelo foi treinado.",
            where="embedding",
        )
    return F.embedding(ids, table)


def add_positions(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """`x` (..., tokens, width) plus the first rows of `table` (context, width). CourseError when x is longer than the table."""
    if x.size(-2) > len(table):
        raise CourseError(
            f"a sequência tem {x.size(-2)} tokens, e só há {len(table)} posições.",
            "Encurte o texto, ou treine com um contexto maior.",
            where="contexto",
        )
    return x + table[: x.size(-2)]


def frequencies(width: int, base: float = 10_000.0) -> torch.Tensor:
    """The angle that each pair of columns turns in one step, (width / 2,): from 1 radian down to almost none."""
    return base ** (-torch.arange(0, width, 2) / width)


def sinusoidal(positions: int, width: int) -> torch.Tensor:
    """The fixed table of Vaswani et al. (2017), (positions, width): sine in the even columns, cosine in the odd ones."""
    angles = torch.arange(positions)[:, None] * frequencies(width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def rotary(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """`x` (..., tokens, width) with each pair of columns turned by its angle times the position (Su et al., 2021, RoPE).

    Nothing is added and no length changes; the product of two turned vectors depends on their distance alone.
    """
    angles = positions[:, None] * frequencies(x.size(-1))
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = even * angles.cos() - odd * angles.sin(), even * angles.sin() + odd * angles.cos()
    return torch.stack(turned, dim=-1).flatten(-2)
