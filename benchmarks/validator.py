"""How fast is `afina validate`, and does its memory stay flat? Writes benchmarks/results/validator.json.

    python benchmarks/validator.py [--rounds 7] [--lines 200000] [--big-mb 1000]

Four engines read the same file of chat examples, one fresh process each, in interleaved rounds: the whole of our
`validate` (rules, tokens, duplicates, summary), a plain pydantic loop that validates each line against a chat model and
collects its errors, and two lower limits that check nothing: orjson and msgspec parsing every line. The seconds are those
of the work, without imports. Then `validate` alone reads 20 MB and 1 GB (and any `--huge-mb`), for its peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import about, save

from afina.runtime import build_folder

PROSE = (
    "o produto chega bem embalado em duas caixas e traz manual em português para montar sem ferramentas a nova versão "
    "disponível na loja tem bateria que dura três dias carregador incluído garantia de doze meses e cor azul já não vem "
    "com cabo porém funciona melhor do que a anterior segundo quem comprou no mês passado"
)
WORDS = PROSE.split()
SYSTEM = "Você é um assistente de uma loja e responde em português, com frases curtas e exatas."


def make_file(path: Path, lines: int | None = None, size: int | None = None) -> int:
    """Write chat examples of 100 to 1,100 bytes until there are `lines` of them or `size` bytes; return the lines."""
    rng = random.Random(42)
    phrases = [" ".join(rng.choices(WORDS, k=rng.randint(4, 12))).capitalize() + "." for _ in range(5000)]
    count = written = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        while count != lines and (size is None or written < size):
            count += 1
            question = f"{' '.join(rng.choices(phrases, k=rng.randint(1, 4)))} Pedido {count}?"
            answer = " ".join(rng.choices(phrases, k=rng.randint(1, 6)))
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            if count % 4:
                messages.insert(0, {"role": "system", "content": SYSTEM})
            written += file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    return count


# --- the engines: each returns how many lines it accepted -------------------------------------------------------------


def run_afina(path: str) -> int:
    from afina.jsonl import validate

    started = time.perf_counter(), time.process_time()
    report = validate(path, tokens="estimate")
    return finish(started, report.train.good if report.ok else 0)


def run_pydantic(path: str) -> int:
    from typing import Annotated, Literal

    from pydantic import BaseModel, ConfigDict, Field, ValidationError

    class Message(BaseModel):
        model_config = ConfigDict(extra="forbid")
        role: Literal["system", "developer", "user", "assistant", "tool"]
        content: Annotated[str, Field(min_length=1)]
        name: str | None = None
        weight: Literal[0, 1] | None = None
        tool_calls: list[dict] | None = None
        tool_call_id: str | None = None

    class Example(BaseModel):
        model_config = ConfigDict(extra="forbid")
        messages: Annotated[list[Message], Field(min_length=1)]
        tools: list[dict] | None = None
        parallel_tool_calls: bool | None = None

    started = time.perf_counter(), time.process_time()
    good, errors = 0, []
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                Example.model_validate_json(line)
                good += 1
            except ValidationError as error:
                errors.append((number, error.errors()))
    return finish(started, good)


def run_orjson(path: str) -> int:
    import orjson

    return finish(*parse_all(path, orjson.loads))


def run_msgspec(path: str) -> int:
    import msgspec

    return finish(*parse_all(path, msgspec.json.Decoder().decode))


def parse_all(path: str, parse) -> tuple[tuple[float, float], int]:
    started = time.perf_counter(), time.process_time()
    good = 0
    with open(path, "rb") as file:
        for line in file:
            parse(line)
            good += 1
    return started, good


def finish(started: tuple[float, float], good: int) -> int:
    """Print this process's figures for the parent and return `good`."""
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    print(json.dumps({"wall_s": wall, "cpu_s": cpu, "peak_mb": peak_mb(), "good": good}))
    return good


def peak_mb() -> float:
    """Peak resident memory of this process. /proc first: getrusage also remembers the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1024)


ENGINES = {"afina": run_afina, "pydantic": run_pydantic, "orjson": run_orjson, "msgspec": run_msgspec}


def measure(engine: str, path: Path) -> dict:
    command = [sys.executable, __file__, "--engine", engine, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"AFINA_PROGRESS": "0"})
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--big-mb", type=int, default=1000, help="the large file of the memory run; 0 leaves it out")
    parser.add_argument("--huge-mb", type=int, default=0, help="one more, for patient people: 5000")
    parser.add_argument("--engine", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.engine:
        ENGINES[args.engine[0]](args.engine[1])
        return
    folder = build_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "validator-bench.jsonl"
    results: dict = {
        **about("orjson", "msgspec", "pydantic", "xxhash", "numpy"),
    }
    try:
        results["lines"] = make_file(path, lines=args.lines)
        results["bytes"] = path.stat().st_size
        runs: dict[str, list[dict]] = {engine: [] for engine in ENGINES}
        for turn in range(args.rounds):
            order = list(ENGINES)[turn % len(ENGINES) :] + list(ENGINES)[: turn % len(ENGINES)]
            for engine in order:
                run = measure(engine, path)
                if run.pop("good") != results["lines"]:
                    raise SystemExit(f"{engine} did not accept every line")
                runs[engine].append(run)
        results["speed"] = {engine: summary(runs[engine], results["lines"]) for engine in ENGINES}
        walls = {engine: [run["wall_s"] for run in runs[engine]] for engine in ENGINES}
        for other in ("pydantic", "orjson", "msgspec"):
            ratios = [a / b for a, b in zip(walls["afina"], walls[other], strict=True)]
            results["speed"]["afina"][f"times_{other}"] = round(statistics.median(ratios), 3)
        results["memory"] = []
        for megabytes in (20, args.big_mb, args.huge_mb):
            if megabytes:
                lines = make_file(path, size=megabytes * 1_000_000)
                run = measure("afina", path)
                run.pop("good")
                entry = {"mb": megabytes, "lines": lines} | {key: round(value, 3) for key, value in run.items()}
                results["memory"].append(entry)
    finally:
        path.unlink(missing_ok=True)
    save("validator", results)
    show(results)


def summary(runs: list[dict], lines: int) -> dict:
    middle = {key: round(statistics.median(run[key] for run in runs), 3) for key in ("wall_s", "cpu_s", "peak_mb")}
    walls = [run["wall_s"] for run in runs]
    return middle | {"wall_range_s": [round(min(walls), 3), round(max(walls), 3)],
                     "lines_per_s": round(lines / statistics.median(walls))}  # fmt: skip


def show(results: dict) -> None:
    print(f"{results['lines']:,} lines, {results['bytes'] / 1e6:.1f} MB; medians")
    print(f"{'engine':<10}{'wall s':>9}{'min-max':>16}{'cpu s':>9}{'peak MB':>9}{'lines/s':>12}")
    for engine, row in results["speed"].items():
        low, high = row["wall_range_s"]
        span = f"{low:.3f}-{high:.3f}"
        print(
            f"{engine:<10}{row['wall_s']:>9.3f}{span:>16}{row['cpu_s']:>9.3f}{row['peak_mb']:>9.0f}{row['lines_per_s']:>12,}"
        )
    ours = results["speed"]["afina"]
    print(
        f"afina takes {ours['times_orjson']:.2f} × orjson's bare parsing, {ours['times_msgspec']:.2f} × msgspec's, "
        f"{ours['times_pydantic']:.2f} × the pydantic loop (median of paired rounds)"
    )
    for row in results["memory"]:
        print(
            f"validate on {row['mb']:>5} MB ({row['lines']:>10,} lines): {row['wall_s']:7.2f} s, peak {row['peak_mb']:.0f} MB"
        )


if __name__ == "__main__":
    main()
