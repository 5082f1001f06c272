"""Does a second process pay, and are its losses the same? Writes benchmarks/results/train.json.

    python benchmarks/train.py [--rounds 3] [--kinds gpt bert sft]

`afina train` as it is launched, one thread a process: one process against two on this CPU, in interleaved rounds, neither always
first. `seconds` are those of the run without starting Python (`training.json`); `wall` is the whole command. The batch of a step is the
same for both, so the losses must agree within 1e-2, or the ratio means nothing. The first GPT is that of lesson 09; the wider one
(`gpt_wide`) has more arithmetic for each gradient that the two must exchange. No more than the machine's cores can be gained.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import about, read, save

ROOT = Path(__file__).parents[1]
JOBS = {
    "gpt": ("gpt", {"steps": 200, "save_every": 100}),
    "gpt_wide": (
        "gpt",
        {
            "steps": 30,
            "save_every": 30,
            "context": 128,
            "d_model": 256,
            "n_layers": 4,
            "batch_size": 32,
            "validation_rows": 64,
        },
    ),
    "bert": ("bert", {"examples": 3200, "epochs": 1, "save_every": 1000}),
    "sft": ("sft", {"rows": 400, "save_every": 1000}),
}
PROCESSES = (1, 2)


def once(kind: str, job: dict, processes: int) -> tuple[dict, float]:
    """(what the run reports, seconds of the whole command)."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"  # JSON is YAML
        config.write_text(json.dumps(job | {"out": f"{folder}/out"}), encoding="utf-8")
        settings = ROOT / "train" / "accelerate" / "processes.yaml"
        launcher = ["-m", "accelerate.commands.launch", "--config_file", str(settings)] if processes > 1 else []
        command = [sys.executable, *launcher, "-m", "afina.cli", "train", kind, "--config", str(config)]
        start = time.perf_counter()
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900
        )
        wall = time.perf_counter() - start
        assert done.returncode == 0, done.stderr[-3000:]
        report = json.loads((Path(folder) / "out" / "training.json").read_text(encoding="utf-8"))
    assert (report["processes"], report["threads"]) == (processes, 1)
    return report, wall


def compare(kind: str, job: dict, rounds: int) -> dict:
    runs: dict[int, list[dict]] = {n: [] for n in PROCESSES}
    losses = {}
    for number in range(rounds):
        for n in PROCESSES[:: 1 if number % 2 == 0 else -1]:
            report, wall = once(kind, job, n)
            losses[n] = report["losses"]
            runs[n].append({"seconds": report["seconds"], "wall": round(wall, 2)})
            print(kind, n, runs[n][-1], flush=True)
    difference = max(abs(a - b) for a, b in zip(losses[1], losses[2], strict=True))
    assert difference < 1e-2, difference
    times = [one["seconds"] / two["seconds"] for one, two in zip(runs[1], runs[2], strict=True)]
    return {
        "job": job,
        "seconds": {str(n): statistics.median(run["seconds"] for run in rows) for n, rows in runs.items()},
        "wall": {str(n): statistics.median(run["wall"] for run in rows) for n, rows in runs.items()},
        "times_faster": round(statistics.median(times), 2),
        "times_faster_each_round": [round(value, 2) for value in times],
        "steps": len(losses[1]),
        "last_loss": {str(n): round(values[-1], 4) for n, values in losses.items()},
        "largest_difference_of_losses": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=JOBS, default=list(JOBS))
    args = parser.parse_args()
    taken = about("torch", "accelerate", "transformers", "trl")
    result = read("train")
    result |= {
        **taken,
        "threads_per_process": 1,
    }
    for name in args.kinds:
        kind, job = JOBS[name]
        result[name] = compare(kind, job, args.rounds)
    save("train", result)
    print({name: result[name]["times_faster"] for name in JOBS if name in result})


if __name__ == "__main__":
    main()
