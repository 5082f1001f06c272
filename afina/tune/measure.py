"""What tuning costs and changes: weights that learn, bytes that they take, fingerprints, memory used, Amdahl's limit."""

import hashlib
import sys

import torch


def trainable(model) -> tuple[int, int]:
    """(weights that learn, all weights). A matrix packed in 4 bits counts its weights, not its bytes."""
    learn = every = 0
    for parameter in model.parameters():
        packed = parameter.quant_state.shape.numel() if hasattr(parameter, "quant_state") else parameter.numel()
        every += packed
        learn += packed if parameter.requires_grad else 0
    return learn, every


def training_bytes(model) -> dict[str, int]:
    """Bytes that training must hold: the weights, and for each weight that learns a gradient and Adam's two averages.

    Activations come on top: they grow with batch and length, and an adapter adds its own.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    learn = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return {"weights": weights, "gradients": learn, "optimizer": 2 * learn}


def fingerprints(model, part: str) -> dict[str, str]:
    """{name: first digits of the SHA-256 of its bytes} of each parameter whose name contains `part` ("lora_B", "base_layer"…)."""
    chosen = {name: parameter.detach().cpu() for name, parameter in model.named_parameters() if part in name}
    data = {name: tensor.contiguous().view(torch.uint8).numpy() for name, tensor in chosen.items()}
    return {name: hashlib.sha256(its).hexdigest()[:12] for name, its in data.items()}


def peak_memory_mb() -> float:
    """The most memory used so far, in megabytes: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3  # bytes there, kilobytes here


def amdahl(parallel: float, times: float) -> float:
    """How many times faster a job gets when `parallel` of it (0 to 1) runs `times` faster (Amdahl, 1967)."""
    return 1 / (1 - parallel + parallel / times)
