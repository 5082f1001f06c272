"""What every result file says of itself, and how it is written."""

from __future__ import annotations

import json
import os
import platform
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def processor() -> str:
    """The model's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def about(*packages: str) -> dict:
    """Date, machine, versions of `packages`, and whether the machine was quiet. Call it before anything is measured.

    `busy_before` is the share of the processors that others used in the three seconds of this call, from 0 to 1: unlike the load averages
    of `load_before`, it forgets the benchmark that ran just before this one.
    """
    import importlib.metadata  # here, since two benchmarks import this module in the processes that they measure

    import psutil

    return {
        "date": date.today().isoformat(),
        "machine": {
            "cpu": processor(),
            "cpus": os.cpu_count(),
            "arch": platform.machine(),
            "system": platform.system(),
        },
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "load_before": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "busy_before": round(psutil.cpu_percent(interval=3) / 100, 2),
    }


def read(name: str) -> dict:
    """An earlier result, for a benchmark that renews only a part of it; empty where there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def save(name: str, result: dict, indent: int = 2) -> Path:
    """Write results/NAME.json, whole or not at all."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(result, indent=indent) + "\n", encoding="utf-8")
    partial.replace(path)
    return path
