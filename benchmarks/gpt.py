"""Our GPT against transformers' `GPT2LMHeadModel`: training and generation. Writes benchmarks/results/gpt.json.

    python benchmarks/gpt.py [--rounds 5] [--steps 30] [--threads 2]
    python benchmarks/gpt.py --gpu            # GPT-2 124M in bf16 with torch.compile, on the CUDA device at hand

Training. The same configuration and weights, the same batches, the same fused AdamW and clipping; the peer computes its loss
through `labels` and `shift_labels`. In interleaved rounds, neither always first. The last losses must agree, or the ratio means nothing.
GPT-2's own activation, `gelu_new`, is written in plain PyTorch; "peer_fused" is the peer with `gelu_pytorch_tanh`, the
same function as one kernel, so that the share of that choice shows.

Generation. Greedy, batch 1 and 8, from the same weights: ours with the cache against the peer's `generate()`, whose cache
is on. Same tokens, or the run stops.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from datetime import date

import torch
from common import about, read, save
from torch import nn
from transformers import GPT2LMHeadModel

from afina.gpt.generate import generate
from afina.gpt.model import GPT, GPTConfig, count_parameters, next_token_loss
from afina.gpt.train import Recipe, make_optimizer
from afina.gpt.weights import to_gpt2

CONFIG = GPTConfig(vocab_size=2048, context=256, d_model=128, n_heads=4, n_layers=4)
BATCH, TOKENS = 16, 128
GPU_CONFIG = GPTConfig(vocab_size=50_304, context=1024, d_model=768, n_heads=12, n_layers=12)
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "T4": 65e12, "L4": 121e12}  # dense bf16/fp16, data sheets


def ours(model: GPT, ids: torch.Tensor) -> torch.Tensor:
    return next_token_loss(model(ids[:, :-1]), ids[:, 1:])


def peer(model: GPT2LMHeadModel, ids: torch.Tensor) -> torch.Tensor:
    return model(input_ids=ids[:, :-1], labels=ids[:, :-1], shift_labels=ids[:, 1:].contiguous(), use_cache=False).loss


def fused(start: GPT) -> GPT2LMHeadModel:
    """The peer with its activation as one kernel."""
    model = to_gpt2(start)
    for block in model.transformer.h:
        block.mlp.act = nn.GELU(approximate="tanh")
    return model


def train_seconds(model: nn.Module, loss_of, batches: list[torch.Tensor]) -> tuple[float, float]:
    """(seconds, last loss) of one update a batch."""
    model.train()
    optimizer = make_optimizer(model, Recipe(steps=len(batches), learning_rate=1e-3))
    start = time.perf_counter()
    for ids in batches:
        loss = loss_of(model, ids)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - start, loss.item()


def training(rounds: int, steps: int) -> dict:
    torch.manual_seed(0)
    start = GPT(CONFIG)
    batches = list(torch.randint(CONFIG.vocab_size, (steps, BATCH, TOKENS + 1)))
    roads = {
        "ours": (lambda: copy_of(start), ours),
        "peer": (lambda: to_gpt2(start), peer),
        "peer_fused": (lambda: fused(start), peer),
    }
    for make, loss_of in roads.values():
        train_seconds(make(), loss_of, batches[:3])
    speeds, losses = {name: [] for name in roads}, {}
    for number in range(rounds):
        for name in list(roads)[:: 1 if number % 2 == 0 else -1]:
            make, loss_of = roads[name]
            seconds, losses[name] = train_seconds(make(), loss_of, batches)
            speeds[name].append(steps * BATCH * TOKENS / seconds)
    assert max(losses.values()) - min(losses.values()) < 1e-3, losses
    return report(speeds) | {"last_loss": losses, "steps": steps, "batch": BATCH, "tokens": TOKENS}


def copy_of(start: GPT) -> GPT:
    model = GPT(start.config)
    model.load_state_dict(start.state_dict())
    return model


def generation(rounds: int, new: int = 200) -> dict:
    torch.manual_seed(0)
    model = GPT(CONFIG)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.15)  # far from ties: both must write the same
    model.eval()
    theirs = to_gpt2(model)
    theirs.generation_config.eos_token_id = None
    results = {}
    for batch in (1, 8):
        prompt = torch.randint(CONFIG.vocab_size, (batch, 8))
        mask = torch.ones_like(prompt)
        roads = {
            "ours": lambda prompt=prompt: generate(model, prompt, new),
            "ours_without_cache": lambda prompt=prompt: generate(model, prompt, new, use_cache=False),
            "peer": lambda prompt=prompt, mask=mask: theirs.generate(
                prompt, attention_mask=mask, max_new_tokens=new, do_sample=False, pad_token_id=0
            ),
        }
        written = {name: road() for name, road in roads.items()}
        assert all(torch.equal(text, written["ours"]) for text in written.values())
        speeds = {name: [] for name in roads}
        for number in range(rounds):
            for name in list(roads)[:: 1 if number % 2 == 0 else -1]:
                start = time.perf_counter()
                roads[name]()
                speeds[name].append(batch * new / (time.perf_counter() - start))
        results[f"batch_{batch}"] = report(speeds)
    return results | {"new_tokens": new}


def report(speeds: dict[str, list[float]]) -> dict:
    """Median tokens a second of each road, and ours over each other road, round by round."""
    ratios = {
        name: [ours / theirs for ours, theirs in zip(speeds["ours"], others, strict=True)]
        for name, others in speeds.items()
        if name != "ours"
    }
    return {
        "tokens_per_second": {name: round(statistics.median(values)) for name, values in speeds.items()},
        "times": {name: round(statistics.median(values), 2) for name, values in ratios.items()},
        "times_each_round": {name: [round(value, 2) for value in values] for name, values in ratios.items()},
    }


def on_gpu(steps: int = 40, batch: int = 16) -> dict:
    """Tokens a second and the share of the device's peak (model FLOPs utilisation) of GPT-2 124M: bf16, SDPA, compile.

    FLOPs of a token: six for each weight of a matrix product, and 12 × layers × columns × tokens for attention (Chowdhery et al.,
    2022, PaLM, appendix B).
    """
    torch.set_float32_matmul_precision("high")
    c, device = GPU_CONFIG, torch.device("cuda")
    model = GPT(c).to(device)
    optimizer = make_optimizer(model, Recipe(steps=1, learning_rate=6e-4))

    @torch.compile
    def loss_of(ids: torch.Tensor) -> torch.Tensor:
        return next_token_loss(model(ids[:, :-1]), ids[:, 1:])

    batches = torch.randint(50_257, (8, batch, c.context + 1), device=device)
    for step in range(10 + steps):
        if step == 10:
            torch.cuda.synchronize()
            start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            loss = loss_of(batches[step % 8])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    torch.cuda.synchronize()
    speed = steps * batch * c.context / (time.perf_counter() - start)
    name = torch.cuda.get_device_name(0)
    flops = 6 * (count_parameters(c) - c.context * c.d_model) + 12 * c.n_layers * c.d_model * c.context
    peak = next((value for chip, value in PEAK.items() if chip in name), None)
    return {
        "device": name,
        "torch": torch.__version__,
        "precision": "bf16",
        "weights": count_parameters(c),
        "batch": batch,
        "context": c.context,
        "tokens_per_second": round(speed),
        "model_flops_utilisation": round(speed * flops / peak, 3) if peak else None,
        "peak_memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1),
        "last_loss": round(loss.item(), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpu", action="store_true", help="only the part for a CUDA device")
    args = parser.parse_args()
    result = read("gpt")
    if args.gpu:
        result["gpu"] = on_gpu() | {"date": date.today().isoformat()}
    else:
        torch.set_num_threads(args.threads)
        taken = about("torch", "transformers")
        result |= {
            **taken,
            "threads": args.threads,
            "config": vars(CONFIG),
            "weights": count_parameters(CONFIG),
            "training": training(args.rounds, args.steps),
            "generation": generation(args.rounds),
        }
    save("gpt", result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
