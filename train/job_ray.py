"""`afina train` on a Ray cluster, by Ray Train: a worker that dies is replaced, and the run goes on from its last checkpoint.

    python train/job_ray.py gpt train/gpt.yaml --workers 2 --address auto
    ray job submit --working-dir . -- python train/job_ray.py gpt train/gpt.yaml --workers 2

Needs the [cluster] extra, here and on every node; `out` must lie in a folder that the nodes share.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from afina import whole
from afina.errors import CourseError
from afina.scale.job import JOBS, read_job


def work(asked: dict) -> None:
    """What each worker runs: Ray Train has set RANK, WORLD_SIZE and the process group, and Accelerate takes them as they are."""
    from afina.scale.train import run

    # a finished run that lost a worker at its very end is not done again
    if not Path(asked["job"]["out"]).exists():
        run(asked["kind"], JOBS[asked["kind"]](**asked["job"]))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Um treino do Afina em um cluster Ray.")
    parser.add_argument("kind", choices=JOBS)
    parser.add_argument("config", nargs="?", help="YAML de train/")
    parser.add_argument("--workers", type=int, default=2, help="processos, um por GPU onde houver")
    parser.add_argument("--gpu", action="store_true", help="dá uma GPU a cada processo")
    parser.add_argument("--address", default="auto", help="endereço do cluster (auto: o que estiver ligado aqui)")
    parser.add_argument("--failures", type=int, default=3, help="quantas vezes recomeçar do último ponto salvo")
    args = parser.parse_args(argv)
    try:
        job = asdict(read_job(args.kind, args.config))
        job["out"] = str(Path(job["out"]).resolve())  # the workers stand in other folders
        if Path(job["out"]).exists():
            raise CourseError("este treino já terminou.", "Use outro out, ou apague a pasta.", where=job["out"])
        if not ray.is_initialized():
            ray.init(address=args.address)
    except ConnectionError:
        print("erro: não encontrei um cluster Ray aqui. Inicie um com `ray start --head`.", file=sys.stderr)
        return 2
    except CourseError as error:
        print(f"erro: {error}", file=sys.stderr)
        return 2
    notes = Path(job["out"] + ".ray.partial")  # Ray Train's own; the checkpoints are ours, in out.partial
    TorchTrainer(
        work,
        train_loop_config={"kind": args.kind, "job": job},
        torch_config=TorchConfig(backend="nccl" if args.gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=args.workers, use_gpu=args.gpu),
        run_config=RunConfig(
            name="afina",
            storage_path=str(notes),
            failure_config=FailureConfig(max_failures=args.failures),
        ),
    ).fit()
    whole.discard(notes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
