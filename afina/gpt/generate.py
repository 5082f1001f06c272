"""From scores to text: choose the next token, append it, ask again.

Greedy, temperature, top-k (Fan et al., 2018) and top-p (Holtzman et al., 2019) are one function of the scores,
`next_token_probabilities`; `generate` is the loop, with or without the key-value cache.
"""

import torch
import torch.nn.functional as F

from afina.errors import CourseError, require
from afina.gpt.model import GPT


def next_token_probabilities(
    logits: torch.Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> torch.Tensor:
    """Chances of the next token, (batch, vocab_size), from its scores of the same shape.

    `temperature` 0 gives everything to the best token, below 1 sharpens and above 1 flattens. `top_k` keeps the k best;
    `top_p` then keeps the smallest group of best tokens whose chances reach p. What is cut gets zero.
    """
    if temperature < 0 or (top_k is not None and top_k < 1) or (top_p is not None and not 0 < top_p <= 1):
        raise CourseError(
            f"temperature={temperature}, top_k={top_k}, top_p={top_p} não servem juntos.",
            "temperature vai de 0 para cima, top_k de 1 para cima, top_p fica entre 0 e 1.",
            where="generate",
        )
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.size(-1)).to(logits.dtype)
    logits = logits / temperature
    if top_k is not None:
        worst_kept = logits.topk(min(top_k, logits.size(-1))).values[..., -1:]
        logits = logits.masked_fill(logits < worst_kept, -torch.inf)
    probabilities = logits.softmax(-1)
    if top_p is not None:
        ordered, order = probabilities.sort(descending=True, stable=True)
        beyond = ordered.cumsum(-1) - ordered >= top_p  # what better tokens already reached: the best one always stays
        probabilities = probabilities.masked_fill(beyond.scatter(-1, order, beyond), 0)
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return probabilities


def check_request(ids: torch.Tensor, max_new_tokens: int, context: int) -> None:
    """CourseError if there is nothing to continue, or if the result could not fit in the context."""
    problem = f"os ids têm a forma {tuple(ids.shape)}."
    require(ids.ndim == 2 and ids.size(1), problem, "Passe (lote, tokens), com um token ao menos.", where="generate")
    tokens = ids.size(1)
    problem = f"{tokens} tokens do pedido e {max_new_tokens} novos passam do contexto, {context}."
    require(tokens + max_new_tokens <= context, problem, "Peça menos tokens, ou encurte o pedido.", where="generate")


@torch.no_grad()
def generate(
    model: GPT,
    ids: torch.Tensor,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | None = None,
    seed: int | None = None,
    use_cache: bool = True,
) -> torch.Tensor:
    """`ids` (batch, tokens) with up to `max_new_tokens` more; ends early once every row has written the token `stop`.

    Greedy by default; with a temperature it draws, the same way every time for the same `seed`. The cache changes the
    speed and not the text. The model must be in evaluation mode: dropout would write noise.
    """
    check_request(ids, max_new_tokens, model.config.context)
    generator = None if seed is None else torch.Generator(ids.device).manual_seed(seed)
    cache = model.new_cache() if use_cache else None
    done = torch.zeros(ids.size(0), dtype=torch.bool, device=ids.device)
    for step in range(max_new_tokens):
        new = ids[:, -1:] if use_cache and step else ids
        logits = F.linear(model.hidden(new, cache)[:, -1], model.tokens.weight)
        if temperature == 0:
            chosen = logits.argmax(-1, keepdim=True)
        else:
            chances = next_token_probabilities(logits, temperature, top_k, top_p)
            chosen = torch.multinomial(chances, 1, generator=generator)
        if stop is not None:
            chosen = chosen.masked_fill(done[:, None], stop)  # a finished row only repeats its end
            done |= chosen[:, 0] == stop
        ids = torch.cat((ids, chosen), dim=1)
        if done.all():
            break
    return ids
