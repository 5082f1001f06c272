"""What was created and may cost money: one small file an entry, in build/jobs/ledger (AFINA_LEDGER moves it).

    with creating("s3-bucket", name, "local", endpoint) as entry:    # noted before the call
        s3.create_bucket(Bucket=name)

An entry is written aside and renamed, and no two share a file: processes that write at once lose nothing. It outlives the
kernel; `afina jobs list` and `afina jobs clean` read it. No key is ever in it.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from afina.errors import CourseError
from afina.jsonl.cost import dollars
from afina.runtime import build_folder

# In the order of removal: what costs most first, and nothing before what depends on it.
KINDS = {
    "bedrock-throughput": "throughput provisionado",
    "bedrock-deployment": "implantação sob demanda",
    "openai-job": "job de fine-tuning",
    "bedrock-job": "job de fine-tuning",
    "openai-model": "modelo ajustado",
    "bedrock-model": "modelo ajustado",
    "openai-file": "arquivo",
    "s3-bucket": "bucket S3",
    "iam-role": "papel IAM",
}
# USD an hour for a thing that only lies there, where a source was found: AWS Price List API, answers of 2026-08-02. OpenAI
# bills training and tokens, and its pages name no price for a stored file or model. S3 bills by size: None.
MODEL_MONTH, HOURS = 1.95, 730
NOVA_THROUGHPUT = 60.50
IDLE = {
    "bedrock-throughput": None,  # Nova has a sourced price, other models have not: the creator says
    "bedrock-deployment": 0.0,
    "openai-job": 0.0,
    "bedrock-job": 0.0,
    "openai-model": 0.0,
    "bedrock-model": MODEL_MONTH / HOURS,
    "openai-file": 0.0,
    "s3-bucket": None,
    "iam-role": 0.0,
}


@dataclass
class Entry:
    """One thing that exists, or may exist, in an account. `id` is empty until the service has answered."""

    key: str
    kind: str
    name: str
    provider: str  # local, openai, azure, nebius, crusoe or aws
    endpoint: str
    usd_per_hour: float | None  # at the service, while idle; None: no sourced price
    noted_at: int
    id: str = ""

    @property
    def local(self) -> bool:
        return self.provider == "local"

    @property
    def cost(self) -> str:
        """What it costs an hour while idle, in words; in a twin, nothing."""
        price = "nada" if self.usd_per_hour == 0 else "preço não verificado"
        if self.usd_per_hour:
            price = f"{dollars(self.usd_per_hour)}/h"
        return price if not self.local or price == "nada" else f"nada (no serviço: {price})"


def folder() -> Path:
    """Where the entries are."""
    return Path(os.environ.get("AFINA_LEDGER") or build_folder() / "jobs" / "ledger")


def place_of(url: str) -> str:
    """The address to note: scheme, host and port, without path, user or password."""
    parts = urlsplit(str(url))
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def note(
    kind: str, name: str, provider: str, endpoint: str, *, id: str = "", usd_per_hour: float | None = None
) -> Entry:
    """Write down one thing now. `usd_per_hour` overrides the table's idle price. CourseError if it cannot be written."""
    price = IDLE[kind] if usd_per_hour is None else usd_per_hour
    entry = Entry(secrets.token_hex(6), kind, name, provider, place_of(endpoint), price, int(time.time()), id)
    save(entry)
    return entry


def save(entry: Entry) -> None:
    """Write the entry aside, then rename: whole or not there."""
    target = folder() / f"{entry.noted_at}-{entry.key}.json"
    aside = target.with_suffix(".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", encoding="utf-8") as file:
            json.dump(asdict(entry), file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        _patiently(lambda: os.replace(aside, target))
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "Sem anotar, nada é criado: confira a pasta, as permissões e o espaço."
        raise CourseError(f"não consegui anotar no livro ({reason}).", remedy, target) from error


def forget(entry: Entry) -> None:
    """The thing is gone from the account: drop its entry."""
    file = folder() / f"{entry.noted_at}-{entry.key}.json"
    _patiently(lambda: file.unlink(missing_ok=True))


def _patiently(act: Callable[[], object]) -> None:
    """Windows refuses to replace or remove a file while another process reads it: that lasts a moment."""
    for _ in range(20):
        try:
            act()
            return
        except PermissionError:
            time.sleep(0.05)
    act()


@contextmanager
def creating(
    kind: str, name: str, provider: str, endpoint: str, *, usd_per_hour: float | None = None
) -> Iterator[Entry]:
    """Note the thing, let the caller create it and set `entry.id`, and note the id.

    A refusal (HTTP 4xx) leaves no entry. Anything else that breaks the call leaves one: the thing may exist.
    """
    entry = note(kind, name, provider, endpoint, usd_per_hour=usd_per_hour)
    try:
        yield entry
    except BaseException as error:
        if _refused(error):
            forget(entry)
        raise
    save(entry)


def _refused(error: BaseException) -> bool:
    status = getattr(error, "status_code", None)  # openai
    if status is None and isinstance(response := getattr(error, "response", None), dict):  # botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status is not None and 400 <= status < 500 and status != 408


def entries(endpoint: str | None = None) -> list[Entry]:
    """Everything noted, or noted at one address, in the order of removal. CourseError names a damaged entry."""
    found = []
    for file in sorted(folder().glob("*.json")):
        try:
            entry = Entry(**json.loads(file.read_text(encoding="utf-8")))
            list(KINDS).index(entry.kind)
            found.append(entry)
        except FileNotFoundError:  # another process has just forgotten it
            continue
        except (ValueError, TypeError) as error:
            remedy = "Abra-o, confira na página do serviço o que ele nomeia, e só depois apague-o."
            raise CourseError("esta anotação do livro está estragada.", remedy, file) from error
    if endpoint is not None:
        found = [entry for entry in found if entry.endpoint == place_of(endpoint)]
    order = list(KINDS)
    return sorted(found, key=lambda entry: (order.index(entry.kind), entry.noted_at))


def table(found: list[Entry] | None = None):
    """The entries as a pandas DataFrame: what, where, how much an hour."""
    import pandas as pd

    rows = [
        (KINDS[entry.kind], entry.name, "gêmeo local" if entry.local else entry.provider, entry.cost)
        for entry in (entries() if found is None else found)
    ]
    return pd.DataFrame(rows, columns=["o quê", "nome", "onde", "parado custa"])
