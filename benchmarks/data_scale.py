"""`afina prep` at the real size and at ten times it: one machine, a local cluster of two workers, and a worker killed.

    python benchmarks/data_scale.py --folder DISK     # 2,248,619 and 22,486,190 lines; DISK needs 30 GB
    python benchmarks/data_scale.py --lines 30000 --times 2 --save small  # the code, not the figures
    python benchmarks/data_scale.py --page            # only docs/escala.md again, from the last result
    python benchmarks/data_scale.py --plan 1000000000 # only what so many lines would take, from the last result

The input is the generated catalogue in parts of the real size, made once and kept in --folder. Every run is a fresh process.
Wall time of `afina prep` is told apart from that of starting the cluster. CPU is the sum over all processes, seen a few times
a second; memory the peak of that sum, with shared pages counted once (PSS). All runs of one input must write the same
shards, byte for byte, or there is no result. The killed worker is the one with most results in memory, when every line is
cleaned and none is written.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from common import about, read, save
from data_prep import contents
from table import line, was_busy
from table import number as written

from afina.data.synthetic import REAL_LINES, catalogue_lines, write_catalogue
from afina.runtime import course_root

PAGE = course_root() / "docs" / "escala.md"
PLAN_LINES = 1_000_000_000
THRESHOLD = 0.8
STORE_BYTES = 1 << 30  # of each node's object store; what does not fit is spilled to disk
DISK_BYTES = 1_300  # a line: the input, the input packed again, the rows waiting and the rows written
WANTED_HOURS = (48, 24, 12, 6, 3)
NODE = {"cores": 16, "memory_gb": 64}  # what the plan counts in


# --- one run, in its fresh process -----------------------------------------------------------------------------------


def run_here(road: str, out: Path, near: float | None, sources: list[Path]) -> None:
    """Prints one JSON line: the report's figures, the seconds of `prep` alone and the CPU of this process alone."""
    from afina.data.prep import prep

    options = {"formats": ("jsonl",), "near_duplicates": near, "progress": False}
    lost: list[int] | None = [] if road == "killed" else None
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        if road != "local":
            options["ray"] = stack.enter_context(two_workers(out.parent, lost))
        ready = time.perf_counter()
        before = os.times()
        report = prep(sources, out, **options)
        after = os.times()
        print(
            json.dumps(
                {
                    "start_s": ready - started,
                    "prep_s": report.seconds,
                    "writer_cpu_s": after.user + after.system - before.user - before.system,
                    "read": report.read,
                    "rows": report.kept,
                    "dropped": report.dropped,
                    "checksum": report.checksum,
                    "shards": [
                        [shard["file"], shard["rows"], shard["bytes"], shard["sha256"]] for shard in report.shards
                    ],
                    "notes": report.notes,
                    "lost_mb": sum(lost or ()) / 2**20,
                }
            ),
            flush=True,
        )


@contextlib.contextmanager
def two_workers(folder: Path, lost: list[int] | None):
    """The address of a Ray cluster on this machine: a head that does no work and two workers of one core each.

    Where `lost` is a list, the worker with most results is killed once, and its bytes of results are added to the list.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's own switch for "stay on 127.0.0.1"
    import ray
    from ray._private.internal_api import node_stats
    from ray.cluster_utils import Cluster

    from afina.scale import prep as cluster

    spill = folder / "spill"
    spill.mkdir()
    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "object_spilling_directory": str(spill)}
    nodes = Cluster(initialize_head=True, head_node_args=node | {"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        nodes.add_node(**node)

    def held(worker) -> int:
        return node_stats(worker.node_ip_address, worker.node_manager_port).store_stats.object_store_bytes_used

    first_account = cluster._account

    def account_then_kill(*arguments):
        account = first_account(*arguments)
        if not lost:
            victim = max(nodes.list_all_nodes()[1:], key=held)
            lost.append(held(victim))
            nodes.remove_node(victim, allow_graceful=False)
        return account

    if lost is not None:
        cluster._account = account_then_kill
    try:
        yield nodes.address
    finally:
        cluster._account = first_account
        ray.shutdown()
        nodes.shutdown()


# --- watching it -----------------------------------------------------------------------------------------------------


def watch(road: str, sources: list[Path], folder: Path, near: float | None = None, check: bool = False) -> dict:
    """One run: what it printed, and the wall, CPU, memory and spilled bytes of all its processes. Its files are removed."""
    import psutil

    place = folder / "run"
    place.mkdir(parents=True)
    for source in sources:
        with source.open("rb") as file:  # every run finds the input in the system's cache, as far as it fits
            while file.read(1 << 24):
                pass
    command = [sys.executable, __file__, "--run", road, str(place / "out"), str(near or ""), *map(str, sources)]
    cpu: dict[int, float] = {}
    peak = spilled = 0
    started = time.perf_counter()
    try:
        environment = os.environ | {"AFINA_PROGRESS": "0", "RAY_DEDUP_LOGS": "0"}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            said = []
            reader = threading.Thread(target=lambda: said.extend(process.stdout))
            reader.start()
            root = psutil.Process(process.pid)
            while process.poll() is None:
                looked = time.perf_counter()
                peak = max(peak, _look(root, cpu))
                spilled = max(spilled, _bytes_in(place / "spill"))
                time.sleep(max(0.1, 50 * (time.perf_counter() - looked)))  # looking takes 2 % of a core at most
            reader.join()
        wall = time.perf_counter() - started
        if process.returncode:
            raise SystemExit(f"{road} failed")
        result = json.loads(said[-1])
        if check:  # read back from the files: the writer's own account is not enough
            rows, _ = contents(place / "out")
            if rows != result["rows"]:
                raise SystemExit(f"{road}: {rows} rows in the files, {result['rows']} in the report")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    measured = {"wall_s": wall, "cpu_s": sum(cpu.values()), "peak_mb": peak / 2**20, "spilled_mb": spilled / 2**20}
    if road == "local":
        del measured["spilled_mb"]
    print(f"  {road:<8}{result['read']:>12,} lines {result['prep_s']:8.1f} s {peak / 2**20:8.0f} MB", flush=True)
    return measured | result


def _look(root, cpu: dict[int, float]) -> int:
    """Memory of all processes now, in bytes; `cpu` gets the seconds that each has used so far."""
    import psutil

    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                times = process.cpu_times()
                cpu[process.pid] = times.user + times.system
                total += getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss
    return total


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*") if folder.exists() else ():
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


# --- the measurements ------------------------------------------------------------------------------------------------


def parts(folder: Path, lines: int, times: int) -> list[Path]:
    """The catalogue of lines × times lines, in files of `lines`; made by two processes where they are not there yet."""
    paths = [folder / f"part-{number:02d}-of-{lines}.json.gz" for number in range(times)]
    missing = [(path, number) for number, path in enumerate(paths) if not path.exists()]
    if missing:
        print(f"making {len(missing)} files of {lines:,} lines …", flush=True)
        with ProcessPoolExecutor(2) as pool:
            list(pool.map(partial(_make_part, lines), *zip(*missing, strict=True)))
    return paths


def _make_part(lines: int, path: Path, number: int) -> None:
    os.environ["AFINA_PROGRESS"] = "0"
    write_catalogue(path, lines, start=number * lines)


def compare(sources: list[Path], folder: Path, roads: list[str], rounds: int, check: bool) -> dict:
    """Roads in turn, forth and back. Medians of times, the largest peak; one set of shards or no result."""
    runs: dict[str, list[dict]] = {road: [] for road in roads}
    for turn in range(rounds):
        for road in roads if turn % 2 == 0 else roads[::-1]:
            if road == "killed" and turn:
                continue
            runs[road].append(watch(road, sources, folder, check=check and not turn))
    every = [run for many in runs.values() for run in many]
    for name in ("read", "rows", "dropped", "checksum", "shards"):
        if any(run[name] != every[0][name] for run in every):
            raise SystemExit(f"the roads do not agree on {name}")
    for run in runs.get("killed", ()):
        if not run["lost_mb"]:
            raise SystemExit("the worker that was killed held nothing: nothing is proved")
    out: dict = {
        "lines": every[0]["read"],
        "gzip_bytes": sum(path.stat().st_size for path in sources),
        "rows": every[0]["rows"],
        "dropped": every[0]["dropped"],
        "checksum": every[0]["checksum"],
        "written_bytes": sum(shard[2] for shard in every[0]["shards"]),
        "shards": len(every[0]["shards"]),
        "roads": {road: _summary(many) for road, many in runs.items()},
    }
    if {"local", "cluster"} <= set(runs):
        out["times_cluster"] = round(out["roads"]["cluster"]["prep_s"] / out["roads"]["local"]["prep_s"], 2)
    return out


def _summary(many: list[dict]) -> dict:
    names = [name for name in ("wall_s", "start_s", "prep_s", "cpu_s", "writer_cpu_s") if name in many[0]]
    summary = {name: round(statistics.median(run[name] for run in many), 2) for name in names}
    summary |= {n: round(max(run[n] for run in many), 1) for n in ("peak_mb", "spilled_mb") if n in many[0]}
    summary["prep_s_all"] = [round(run["prep_s"], 2) for run in many]
    if many[0]["lost_mb"]:
        summary |= {"lost_mb": round(many[0]["lost_mb"], 1), "notes": many[0]["notes"]}
    return summary


def near_quality(rows: int) -> dict:
    """Catalogue products, each with a copy of which some words are changed, through the index and by every pair compared."""
    from afina.data.near import NearDuplicates, runs, sketches
    from afina.data.rows import prepare

    draw = random.Random(11)
    table = prepare(b"".join(catalogue_lines(rows * 2)))
    originals = list(
        {key: f"{row.title} {row.content}" for key, row in zip(table.key, table.rows, strict=True)}.values()
    )
    originals = originals[:rows]
    words = sorted({word for text in originals for word in text.split()})
    texts = []
    for number, original in enumerate(originals):
        pieces = original.split()
        for place in draw.sample(range(len(pieces)), min(len(pieces), number % 6)):
            pieces[place] = draw.choice(words)
        texts += [original, " ".join(pieces)]

    index = NearDuplicates(THRESHOLD)
    found = [index.repeats(sketch) for sketch in sketches(texts)]
    kept, true = [], []
    for text in texts:
        mine = frozenset(runs(text))
        near = any(_jaccard(mine, other) >= THRESHOLD for other in kept)
        true.append(near)
        if not near:
            kept.append(mine)
    both = sum(a and b for a, b in zip(found, true, strict=True))
    return {
        "texts": len(texts),
        "near_by_every_pair": sum(true),
        "near_found": sum(found),
        "recall": round(both / sum(true), 3),
        "precision": round(both / sum(found), 3),
    }


def _jaccard(one: frozenset, other: frozenset) -> float:
    if min(len(one), len(other)) < THRESHOLD * max(len(one), len(other)):
        return 0.0  # too unequal in size to reach it
    both = len(one & other)
    return both / (len(one) + len(other) - both)


def near_cost(source: Path, folder: Path, without: dict) -> dict:
    run = watch("local", [source], folder, near=THRESHOLD)
    plain = without["roads"]["local"]
    return {
        "threshold": THRESHOLD,
        "lines": run["read"],
        "dropped": run["dropped"]["near_duplicate"],
        "prep_s": round(run["prep_s"], 2),
        "prep_s_without": plain["prep_s"],
        "lines_per_s": round(run["read"] / run["prep_s"]),
        "lines_per_s_without": round(without["lines"] / plain["prep_s"]),
        "peak_mb": round(run["peak_mb"], 1),
        "peak_mb_without": plain["peak_mb"],
        "bytes_per_row": round((run["peak_mb"] - plain["peak_mb"]) * 2**20 / run["rows"]),
    }


def growth(small: dict, large: dict, times: int) -> dict:
    """From one size to the other: exponents of time, and memory per row that stays."""
    roads = {}
    for road in small["roads"].keys() & large["roads"].keys():
        one, ten = small["roads"][road], large["roads"][road]
        roads[road] = {
            "time_exponent": round(math.log(ten["prep_s"] / one["prep_s"], times), 3),
            "bytes_per_row": round((ten["peak_mb"] - one["peak_mb"]) * 2**20 / (large["rows"] - small["rows"]), 1),
        }
    return dict(sorted(roads.items(), reverse=True))


# --- what more lines would take --------------------------------------------------------------------------------------


def plan(results: dict, lines: int) -> dict:
    """Time, memory, disk and network for `lines`, from the largest measured run; nothing here is typed by hand.

    One machine: the measured rate. A cluster: the one writer's CPU seconds a line are serial, all other CPU seconds a line
    are shared by the workers' cores (Amdahl's law); cores as fast as the measured ones, network and disk no obstacle.
    """
    large = results["sizes"][-1]
    local, scale, stay = large["roads"]["local"], lines / large["lines"], lines * large["rows"] / large["lines"]
    bytes_per_row = results["growth"]["local"]["bytes_per_row"]
    out: dict = {
        "lines": lines,
        "cores": results["machine"]["cpus"],
        "rows": round(stay),
        "one_machine": {
            "hours": local["prep_s"] * scale / 3600,
            "lines_per_s": large["lines"] / local["prep_s"],
            "key_bytes_per_row": bytes_per_row,
            "key_memory_gb": bytes_per_row * stay / 1e9,
        },
        "disk_tb": {
            "gzip": large["gzip_bytes"] * scale / 1e12,
            "plain": results["plain_bytes_per_line"] * lines / 1e12,
            "written": large["written_bytes"] * scale / 1e12,
        },
        "near_memory_tb": results["near"]["bytes_per_row"] * stay / 1e12,
    }
    cluster = large["roads"].get("cluster")
    if cluster:
        first = results["sizes"][0]  # by difference: what it costs to start the cluster is not paid again for each line
        more = {name: cluster[name] - first["roads"]["cluster"][name] for name in ("cpu_s", "writer_cpu_s")}
        hours = lines / (large["lines"] - first["lines"]) / 3600
        serial, shared = more["writer_cpu_s"] * hours, (more["cpu_s"] - more["writer_cpu_s"]) * hours
        out["cluster"] = {
            "serial_hours": serial,
            "shared_core_hours": shared,
            "most_times_faster": (serial + shared) / serial,
            "network_tb": {
                "rows": out["disk_tb"]["written"],
                "keys": 24 * stay / 1e12,
                "lines": out["disk_tb"]["plain"],
            },
            "places_gb": 8 * stay / 1e9,
            "wanted": [{"hours": h, "cores": _cores_for(h, serial, shared)} for h in WANTED_HOURS],
            "nodes": [_cluster_of(count, serial, shared) for count in (1, 2, 4, 8, 16)],
        }
    return out


def _cluster_of(nodes: int, serial: float, shared: float) -> dict:
    hours = serial + shared / (nodes * NODE["cores"])
    return {"nodes": nodes, "cores": nodes * NODE["cores"], "hours": hours, "writer_share": serial / hours}


def _cores_for(hours: float, serial: float, shared: float) -> int | None:
    return math.ceil(shared / (hours - serial)) if hours > serial else None


# --- the page --------------------------------------------------------------------------------------------------------


def number(value: float, digits: int = 0) -> str:
    return written(value, f",.{digits}f", 0)


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(line(*row) for row in [head, ["---"] * len(head), *rows])


def blocks(results: dict) -> dict[str, str]:
    """The parts of docs/escala.md that hold figures, by the name of their markers."""
    names = {
        "local": "uma máquina",
        "cluster": "cluster, dois trabalhadores",
        "killed": "cluster, um deles morto no meio",
    }
    rows = []
    for size in results["sizes"]:
        for road, run in size["roads"].items():
            speed = number(size["lines"] / run["prep_s"])
            spilled = number(run["spilled_mb"] / 1e3, 1) if "spilled_mb" in run else "0"
            cells = [number(run["prep_s"], 1), speed, number(run["cpu_s"]), number(run["peak_mb"] / 1e3, 2), spilled]
            rows.append([number(size["lines"]), names[road], *cells])
    head = ["linhas", "caminho", "segundos", "linhas/s", "CPU, s", "memória, GB", "resultados em disco, GB"]
    small, large = results["sizes"][0], results["sizes"][-1]
    local = results["growth"]["local"]
    box, versions = results["machine"], results["versions"]
    busy = " †" if was_busy(results) else ""
    measured = [
        f"Medido em {results['date']}{busy}: {box['cpus']} núcleos ({box['cpu']}), Python {results['python']}, "
        f"Daft {versions['daft']} sobre Ray {versions['ray']}. Entrada de {number(large['gzip_bytes'] / 1e9, 1)} GB em gzip, "
        f"{number(large['rows'])} linhas aproveitadas de {number(large['lines'])}; nos dois caminhos, os mesmos {large['shards']} "
        f"fragmentos, byte a byte (soma `{large['checksum']}`).",
        _table(head, rows),
        f"Na máquina sozinha, {number(large['lines'] / small['lines'])} vezes mais linhas custam expoente "
        f"{number(local['time_exponent'], 2)} no tempo (1 é linear) e {number(local['bytes_per_row'])} bytes de memória por linha "
        "aproveitada: as chaves das repetidas.",
    ]
    if "cluster" in large["roads"]:
        slower = large["roads"]["cluster"]["prep_s"] / large["roads"]["local"]["prep_s"]
        measured.append(
            f"Em {box['cpus']} núcleos o cluster não ganha nada: leva {number(slower, 1)} vezes o tempo da máquina sozinha, "
            "porque os mesmos núcleos fazem o trabalho, mais o transporte. Ele serve para quando há mais máquinas."
        )
    if "killed" in small["roads"]:
        killed, whole = small["roads"]["killed"], small["roads"]["cluster"]
        how = (
            "O Daft não refaz os resultados que um nó morto guardava: o `afina prep` refez a consulta inteira, pulou o que já "
            "tinha gravado, e avisou no relatório."
            if killed["notes"]
            else "O Ray refez as tarefas cujos resultados se perderam; o `afina prep` não precisou refazer a consulta."
        )
        measured.append(
            f"O trabalhador morto levou {number(killed['lost_mb'])} MB de resultados, quando tudo estava limpo e nada gravado. "
            f"{how} Custou {number(killed['prep_s'] - whole['prep_s'], 1)} segundos a mais, e as linhas são as mesmas."
        )
    if busy:
        measured.append("† Com a máquina ocupada por outros: espere tempos menores em uma máquina quieta.")
    near = results["near"]
    quality = near["quality"]
    close = [
        _table(
            ["", "linhas/s", "memória, GB"],
            [
                ["sem", number(near["lines_per_s_without"]), number(near["peak_mb_without"] / 1e3, 2)],
                [
                    f"`--near-duplicates {near['threshold']}`",
                    number(near["lines_per_s"]),
                    number(near["peak_mb"] / 1e3, 2),
                ],
            ],
        ),
        f"São {number(near['bytes_per_row'])} bytes de memória a mais por linha aproveitada. Contra a comparação de todos os pares, "
        f"em {number(quality['texts'])} textos com 0 a 5 palavras trocadas, a opção achou {number(100 * quality['recall'], 1)} % das "
        f"{number(quality['near_by_every_pair'])} quase iguais (*recall*), e {number(100 * quality['precision'], 1)} % do que tirou "
        "era mesmo quase igual (*precision*).",
    ]
    return {
        "medidas": "\n\n".join(measured),
        "quase": "\n\n".join(close),
        "plano": _plan_text(plan(results, PLAN_LINES)),
    }


def _plan_text(p: dict) -> str:
    one, disk = p["one_machine"], p["disk_tb"]
    rows = [
        [
            f"tempo em uma máquina de {p['cores']} núcleos",
            f"{number(one['hours'], 1)} h, a {number(one['lines_per_s'])} linhas/s",
        ],
        ["linhas aproveitadas", f"{number(p['rows'] / 1e6)} milhões"],
        ["memória das chaves, em uma máquina", f"{number(one['key_memory_gb'])} GB"],
        ["entrada em disco", f"{number(disk['gzip'], 2)} TB em gzip, {number(disk['plain'], 2)} TB aberta"],
        ["saída em disco, JSONL", f"{number(disk['written'], 2)} TB"],
        ["memória das quase iguais, se pedidas", f"{number(p['near_memory_tb'], 2)} TB"],
    ]
    if "cluster" not in p:
        return _table([f"{number(p['lines'])} de linhas", ""], rows)
    c = p["cluster"]
    net = c["network_tb"]
    rows += [
        [
            "rede, no cluster",
            f"{number(net['lines'], 2)} TB lidos, {number(net['keys'], 3)} TB de chaves, {number(net['rows'], 2)} TB até o escritor",
        ],
        ["memória do escritor, no cluster", f"{number(c['places_gb'], 1)} GB"],
    ]
    nodes = [
        [str(n["nodes"]), str(n["cores"]), number(n["hours"], 1), f"{number(100 * n['writer_share'])} %"]
        for n in c["nodes"]
    ]
    fewest, most = c["nodes"][0], c["nodes"][-1]
    wanted = "; ".join(
        f"{w['hours']} h, {number(w['cores'])} núcleo{'s' * (w['cores'] > 1)}"
        if w["cores"]
        else f"{w['hours']} h, impossível"
        for w in c["wanted"]
    )
    return "\n\n".join(
        [
            _table([f"{number(p['lines'])} de linhas", ""], rows),
            f"O que se divide são {number(c['shared_core_hours'], 1)} horas de núcleo; o que não se divide, {number(c['serial_hours'], 1)} "
            f"horas do único escritor. Pela lei de Amdahl, nenhum cluster faz isso mais de {number(c['most_times_faster'], 1)} vezes "
            "mais depressa que um núcleo só:",
            _table(
                [f"nós de {NODE['cores']} núcleos e {NODE['memory_gb']} GB", "núcleos", "horas", "parte do escritor"],
                nodes,
            ),
            f"Núcleos de trabalho para terminar em um tempo dado: {wanted}.",
            f"Com {fewest['cores']} núcleos o escritor é {number(100 * fewest['writer_share'])} % do tempo. Uma máquina de "
            f"{p['cores']} núcleos, com memória para as chaves, leva {number(one['hours'], 1)} h; o maior destes clusters, "
            f"{number(most['hours'], 1)} h. Um nó de {NODE['memory_gb']} GB"
            f"{' não' * (one['key_memory_gb'] > NODE['memory_gb'])} guarda os {number(one['key_memory_gb'])} GB de chaves.",
        ]
    )


def write_page(results: dict, page: Path = PAGE) -> None:
    """Put the figures between their markers; everything else on the page stays as it is."""
    text = page.read_text(encoding="utf-8")
    for name, block in blocks(results).items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        text, found = pattern.subn(lambda marks, block=block: f"{marks[1]}{block}\n{marks[2]}", text)
        if found != 1:
            raise SystemExit(f"{page}: the markers of {name} are not there once")
    page.write_text(text, encoding="utf-8", newline="\n")


# --- the command -----------------------------------------------------------------------------------------------------


def measure(options, folder: Path) -> dict:
    roads = options.roads.split(",")
    need, free = options.lines * options.times * DISK_BYTES, shutil.disk_usage(folder).free
    if need > free:
        raise SystemExit(
            f"{folder} needs {need / 1e9:.0f} GB, has {free / 1e9:.0f}: use --folder, or a smaller --times"
        )
    sources = parts(folder, options.lines, options.times)
    results = about(
        *(["daft", "ray"] if {"cluster", "killed"} & set(roads) else []), "rensa", "msgspec", "isal", "xxhash"
    )
    results["sizes"] = []
    results["sizes"].append(compare(sources[:1], folder, roads, options.rounds, check=True))
    results["near"] = near_cost(sources[0], folder, results["sizes"][0]) | {"quality": near_quality(options.near_rows)}
    if options.times > 1:
        results["sizes"].append(compare(sources, folder, [r for r in roads if r != "killed"], 1, check=False))
        results["growth"] = growth(*results["sizes"], options.times)
    sample = 20_000
    results["plain_bytes_per_line"] = round(sum(map(len, catalogue_lines(sample))) / sample, 1)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=REAL_LINES, help="lines of one part (default: %(default)s)")
    parser.add_argument("--times", type=int, default=10, help="parts of the large input (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="turns at the small size (default: %(default)s)")
    parser.add_argument("--roads", default="local,cluster,killed")
    parser.add_argument("--near-rows", type=int, default=1_000, help="products for recall and precision")
    parser.add_argument("--folder", type=Path, help="where inputs stay and outputs pass (default: a temporary folder)")
    parser.add_argument("--save", default="data_scale", metavar="NAME", help="results/NAME.json (default: %(default)s)")
    parser.add_argument("--page", action="store_true", help="only write docs/escala.md again")
    parser.add_argument("--plan", type=int, metavar="LINES", help="only print what so many lines would take")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        road, out, near, *sources = options.run
        run_here(road, Path(out), float(near) if near else None, [Path(source) for source in sources])
        return
    if options.page or options.plan:
        results = read(options.save)
        if not results:
            raise SystemExit(f"no results/{options.save}.json: measure first")
        if options.plan:
            print(_plan_text(plan(results, options.plan)))
        else:
            write_page(results)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = measure(options, folder)
    save(options.save, results)
    if options.save == parser.get_default("save"):
        write_page(results)


if __name__ == "__main__":
    main()
