"""The catalogue engine beside three other ways to do the same work, in one interleaved run on the same file.

    python benchmarks/data_prep.py                          # 500,000 lines, 3 rounds, then the engine up to 2.25 million
    python benchmarks/data_prep.py --lines 100000 --rounds 1 --scaling ""

Every engine reads the same gzip file and writes JSONL of uid, title and content, one file per split, in a fresh process.
Wall time includes its start. CPU counts its children. Memory is the peak, summed over its processes, polled 50 times a
second. Afterwards all outputs are read again and must hold the same rows, or there is no result. `decompress` and `parse`
are the floor: the file unpacked, and unpacked and decoded, with nothing done to it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import html
import itertools
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
from pathlib import Path

from common import about, processor, save

SPLITS = ("train", "validation", "test")
FLOOR = ("decompress", "parse")
ENGINES = ("afina", "naive", "pandas", "datasets", *FLOOR)
SCALING = "125000,500000,1000000,2248619"
TARGETS = {"naive": 4.3, "datasets": 3.0, "pandas": 3.0}


# --- the engines: each reads SOURCE and writes OUT/<split>.jsonl -----------------------------------------------------


def afina(source: Path, out: Path) -> None:
    from afina.data.prep import prep

    prep(source, out, formats=("jsonl",), progress=False)


def _marks() -> str:
    """Python's \\w lacks the combining marks that the rules keep; as ranges, for a quick character class."""
    marks = [c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c))[0] == "M"]
    starts = [c for c in marks if unicodedata.category(chr(c - 1))[0] != "M"]
    ends = [c for c in marks if c == sys.maxunicode or unicodedata.category(chr(c + 1))[0] != "M"]
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in zip(starts, ends, strict=True))


_NESTED = re.compile(r"&(?:amp;)+(?=#[0-9]|#[xX][0-9a-fA-F]|[A-Za-z][A-Za-z0-9])")
_TAG = re.compile(r"<[A-Za-z/!?][^<>]*>")
_UNWANTED_ASCII = re.compile(r"[^\w\s,.]|_")
_SPACE = re.compile(r"\s+")


@functools.cache
def _unwanted() -> re.Pattern:
    return re.compile(rf"[^\w\s,.{_marks()}]|_")


def _tidy(text: str) -> str:
    """The seed's way, well meant: a library call or a compiled `re.sub` per rule, and less of it for ASCII."""
    if "&" in text:
        text = html.unescape(_NESTED.sub("&", text))
    text = _TAG.sub(" ", text)
    text = (_UNWANTED_ASCII if text.isascii() else _unwanted()).sub("", text)
    text = _SPACE.sub(" ", text).strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _product(line: bytes) -> dict[str, str] | None:
    try:
        product = json.loads(line)
        product = {name: product[name] for name in ("uid", "title", "content")}
    except (ValueError, KeyError, TypeError):
        return None
    return product if all(isinstance(value, str) for value in product.values()) else None


def naive(source: Path, out: Path) -> None:
    """The loop anybody writes first, well meant: one process, compiled patterns, a set of what was seen."""
    from afina.data.split import assign_splits

    seen = set()
    files = {split: (out / f"{split}.jsonl").open("w", encoding="utf-8") for split in SPLITS}
    with gzip.open(source) as lines:
        for line in lines:
            product = _product(line)
            if product is None:
                continue
            title, content = _tidy(product["title"]), _tidy(product["content"])
            if not title or not content or (title, content) in seen:
                continue
            seen.add((title, content))
            row = {"uid": product["uid"], "title": title, "content": content}
            files[assign_splits([title])[0]].write(json.dumps(row, ensure_ascii=False) + "\n")
    for file in files.values():
        file.close()


def pandas(source: Path, out: Path) -> None:
    """Chunks of 50,000 lines; the rules of the course by `.map`, as the notebook does; duplicates by a set of hashes."""
    import pandas as pd

    from afina.data.clean import RULES
    from afina.data.split import assign_splits

    seen: set[int] = set()
    with gzip.open(source) as lines:
        while chunk := list(itertools.islice(lines, 50_000)):
            frame = pd.DataFrame([product for line in chunk if (product := _product(line))])
            for name in ("title", "content"):
                for rule in RULES:
                    frame[name] = frame[name].map(rule)
            frame = frame[(frame["title"] != "") & (frame["content"] != "")]
            keys = pd.util.hash_pandas_object(frame["title"] + "\n" + frame["content"], index=False)
            frame = frame[~(keys.isin(seen) | keys.duplicated())]
            seen.update(keys)
            for split, rows in frame.groupby(pd.Series(assign_splits(frame["title"]), frame.index)):
                rows.to_json(out / f"{split}.jsonl", orient="records", lines=True, force_ascii=False, mode="a")


def datasets(source: Path, out: Path) -> None:
    """`map` and `filter` with two processes, the rules of the course inside; duplicates by a set, which needs one process."""
    from datasets import Dataset, Features, Value

    from afina.data.split import assign_splits

    text = Features(dict.fromkeys(("uid", "title", "content"), Value("string")))
    folder = tempfile.mkdtemp(dir=out)
    data = Dataset.from_generator(_products, features=text, gen_kwargs={"source": source}, cache_dir=folder)
    data = data.map(_clean_batch, batched=True, num_proc=2)
    data = data.filter(_not_empty, batched=True, num_proc=2)
    seen: set[int] = set()
    data = data.filter(functools.partial(_first_of_its_kind, seen=seen), batched=True, new_fingerprint="first")
    splits = [split for batch in data.iter(10_000) for split in assign_splits(batch["title"])]
    for name in SPLITS:
        rows = data.select([index for index, split in enumerate(splits) if split == name])
        rows.to_json(out / f"{name}.jsonl", force_ascii=False)
    shutil.rmtree(folder)


def _products(source):
    with gzip.open(source) as lines:
        for line in lines:
            if product := _product(line):
                yield product


def _clean_batch(batch):
    from afina.data.clean import clean

    return {name: [clean(text) for text in batch[name]] for name in ("title", "content")}


def _not_empty(batch):
    return [bool(title and content) for title, content in zip(batch["title"], batch["content"], strict=True)]


def _first_of_its_kind(batch, seen):
    first = []
    for pair in zip(batch["title"], batch["content"], strict=True):
        first.append(hash(pair) not in seen)
        seen.add(hash(pair))
    return first


def decompress(source: Path, out: Path) -> None:
    from afina.data.prep import BLOCK_BYTES
    from afina.data.reading import read_blocks

    for _ in read_blocks(source, BLOCK_BYTES):
        pass


def parse(source: Path, out: Path) -> None:
    import msgspec

    from afina.data.prep import BLOCK_BYTES
    from afina.data.reading import read_blocks
    from afina.data.rows import Row

    decode = msgspec.json.Decoder(Row).decode
    for block, _ in read_blocks(source, BLOCK_BYTES):
        for line in block.splitlines():
            with contextlib.suppress(ValueError):
                decode(line)


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(engine: str, source: Path, out: Path) -> dict:
    """One run in a fresh process: wall and CPU seconds, and the peak of the memory of all its processes in MB."""
    import psutil

    out.mkdir(parents=True)
    environment = os.environ | {"AFINA_PROGRESS": "0", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, "--run", engine, str(source), str(out)]
    peak, started = 0, time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, _memory(root))
            time.sleep(0.02)
        wall = time.perf_counter() - started
        said = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{engine} failed")
    return {"wall_s": wall, "cpu_s": float(said.split()[-1]), "peak_mb": peak / 2**20}


def _memory(root) -> int:
    import psutil

    total = 0
    try:
        for process in (root, *root.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        pass
    return total


def run_here(engine: str, source: str, out: str) -> None:
    """Inside the fresh process. The last word printed is the CPU time of this process and its children."""
    globals()[engine](Path(source), Path(out) / "rows" if engine == "afina" else Path(out))
    times = os.times()
    print(sum(times[:4]))


def contents(out: Path) -> tuple[int, str]:
    """Rows and an order-independent sum over all splits, read from the files that an engine wrote."""
    import orjson
    import xxhash

    rows = total = 0
    for number, split in enumerate(SPLITS):
        for path in out.rglob(f"{split}*.jsonl"):
            with path.open("rb") as lines:
                for line in lines:
                    product = orjson.loads(line)
                    rows += 1
                    canonical = orjson.dumps([product["uid"], product["title"], product["content"]])
                    total += xxhash.xxh3_64_intdigest(canonical, number)
    return rows, f"{total % 2**64:016x}"


def catalogue(folder: Path, lines: int) -> Path:
    from afina.data.synthetic import write_catalogue

    path = folder / f"catalogue-{lines}.json.gz"
    if not path.exists():
        print(f"making {lines:,} lines …", flush=True)
        write_catalogue(path, lines)
    return path


def compare(folder: Path, engines: list[str], lines: int, rounds: int) -> dict:
    source = catalogue(folder, lines)
    source.read_bytes()  # every engine finds the file in the system's cache
    runs: dict[str, list[dict]] = {engine: [] for engine in engines}
    written = {}
    for turn in range(rounds):
        order = engines if turn % 2 == 0 else engines[::-1]
        for engine in order:
            out = folder / f"out-{engine}"
            runs[engine].append(measure(engine, source, out))
            print(f"  round {turn + 1} {engine:<11}{runs[engine][-1]['wall_s']:7.2f} s", flush=True)
            if engine not in FLOOR:
                written[engine] = contents(out)
            shutil.rmtree(out)
    if len(set(written.values())) > 1:
        raise SystemExit(f"the engines do not agree: {written}")
    medians = {
        engine: {name: round(statistics.median(run[name] for run in many), 3) for name in many[0]}
        | {"wall_s_all": [round(run["wall_s"], 3) for run in many]}
        for engine, many in runs.items()
    }
    for engine in medians:
        if "afina" in medians and engine not in FLOOR:
            medians[engine]["times_afina"] = round(medians[engine]["wall_s"] / medians["afina"]["wall_s"], 2)
    rows, checksum = next(iter(written.values()), (None, None))
    return {"lines": lines, "bytes": source.stat().st_size, "rows": rows, "checksum": checksum, "engines": medians}


def scale(folder: Path, sizes: list[int], rounds: int) -> dict:
    """The engine alone, over sizes. The exponent is the slope of log time over log lines, by least squares."""
    sources = {lines: catalogue(folder, lines) for lines in sizes}
    points = {lines: [] for lines in sizes}
    for _ in range(rounds):
        for lines, source in sources.items():
            source.read_bytes()
            points[lines].append(measure("afina", source, folder / "out-scale"))
            shutil.rmtree(folder / "out-scale")
    walls = {lines: statistics.median(run["wall_s"] for run in many) for lines, many in points.items()}
    slope, _ = statistics.linear_regression([math.log(n) for n in sizes], [math.log(walls[n]) for n in sizes])
    table = [
        {"lines": n, "wall_s": round(walls[n], 3), "peak_mb": round(max(run["peak_mb"] for run in many), 1)}
        for n, many in points.items()
    ]
    return {"points": table, "exponent": round(slope, 3)}


def machine() -> dict:
    """What benchmarks/data_scale.py says of itself, on one level."""
    from afina.runtime import versions_of

    told = about()
    names = ("afina", "msgspec", "isal", "xxhash", "pandas", "datasets", "pyarrow")
    return {
        "cpu": processor(),
        "cores": told["machine"]["cpus"],
        "system": f"{told['machine']['system']} {told['machine']['arch']}",
        "python": told["python"],
        "versions": dict(versions_of(names)),
        "date": told["date"],
        "load_before": told["load_before"],
        "busy_before": told["busy_before"],
    }


def table(result: dict) -> str:
    lines = [f"{'engine':<12}{'wall s':>8}{'x afina':>9}{'cpu s':>8}{'peak MB':>9}"]
    for engine, run in result["engines"].items():
        ratio = run.get("times_afina", "")
        lines.append(f"{engine:<12}{run['wall_s']:>8.2f}{ratio:>9}{run['cpu_s']:>8.2f}{run['peak_mb']:>9.0f}")
    return "\n".join(lines)


def verdicts(results: dict) -> list[str]:
    engines = results["comparison"]["engines"]
    checks = [
        (f"{name}: {engines[name]['times_afina']} x (at least {least})", engines[name]["times_afina"] >= least)
        for name, least in TARGETS.items()
        if "times_afina" in engines.get(name, {})
    ]
    if "afina" in engines:
        peak = engines["afina"]["peak_mb"]
        checks.append((f"peak {peak:.0f} MB (under 400)", peak < 400))
    if "scaling" in results:
        largest = results["scaling"]["points"][-1]
        exponent = results["scaling"]["exponent"]
        checks.append(
            (f"{largest['lines']:,} lines: peak {largest['peak_mb']:.0f} MB (under 500)", largest["peak_mb"] < 500)
        )
        checks.append((f"exponent {exponent} (at most 1.05)", exponent <= 1.05))
    return [f"{'ok  ' if met else 'MISS'} {text}" for text, met in checks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--scaling", default=SCALING, help='sizes for the engine alone; "" for none')
    parser.add_argument("--folder", type=Path, help="where inputs and outputs go (default: a temporary folder)")
    parser.add_argument("--run", nargs=3, metavar=("ENGINE", "SOURCE", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_here(*options.run)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = about("msgspec", "isal", "xxhash", "pandas", "datasets", "pyarrow")
        results["comparison"] = compare(folder, options.engines.split(","), options.lines, options.rounds)
        print(table(results["comparison"]))
        if options.scaling:
            results["scaling"] = scale(folder, [int(size) for size in options.scaling.split(",")], options.rounds)
            for point in results["scaling"]["points"]:
                print(f"{point['lines']:>12,} lines {point['wall_s']:8.2f} s {point['peak_mb']:6.0f} MB")
        print("\n".join(verdicts(results)))
    save("data_prep", results)


if __name__ == "__main__":
    main()
