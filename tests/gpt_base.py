"""What the tests of several modules of `afina.gpt` share."""

import torch

from afina.gpt.model import GPTConfig

SMALL = GPTConfig(vocab_size=90, context=24, d_model=32, n_heads=4, n_layers=3)


def spread(model: torch.nn.Module, seed: int = 0, std: float = 0.3) -> torch.nn.Module:
    """Every weight far from zero and from one: a swapped or forgotten one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return model.eval()


def ids_of(*shape, seed=0, vocabulary=90):
    return torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(seed))
