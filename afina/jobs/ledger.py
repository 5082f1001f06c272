"""What was created and may cost money: one small file an entry, in build/jobs/ledger (AFINA_LEDGER moves it).

    with creating("s3-bucket", name, "local", endpoint) as entry:    # noted before the call
        s3.create_bucket(Bucket=name)

An entry is written whole, and no two share a file: processes that write at once lose nothing. It outlives the kernel;
`afina jobs list` and `afina jobs clean` read it. No key is ever in it.
"""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from afina import whole
from afina.errors import CourseError
from afina.prices import IDLE, NOVA_THROUGHPUT  # noqa: F401 - lesson 16 asks the ledger for the price
from afina.prices import LEDGER_TITLES as KINDS
from afina.ptbr import dollars
from afina.runtime import build_folder


@dataclass
class Entry:
    """One thing that exists, or may exist, in an account. `id` is empty until the service has answered."""

    key: str
    kind: str
    name: str
    provider: str  # local, openai, azure, nebius, crusoe or aws
    endpoint: str
    usd_per_hour: float | None  # at the service, while idle; None: no sourced price
    noted_at: Annotated[int, msgspec.Meta(ge=0, lt=1 << 34)]  # seconds since 1970; past 2514 no system has a date
    id: str = ""

    @property
    def local(self) -> bool:
        return self.provider == "local"

    @property
    def title(self) -> str:
        return KINDS[self.kind]

    @property
    def where(self) -> str:
        return "gêmeo local" if self.local else self.provider

    @property
    def cost(self) -> str:
        """What it costs an hour while idle, in words; in a twin, nothing."""
        if self.usd_per_hour == 0:
            return "nada"
        price = "preço não verificado" if self.usd_per_hour is None else f"{dollars(self.usd_per_hour)}/h"
        return f"nada (no serviço: {price})" if self.local else price


def folder() -> Path:
    """Where the entries are."""
    return Path(os.environ.get("AFINA_LEDGER") or build_folder() / "jobs" / "ledger")


def place_of(url: object) -> str:
    """The address to note: scheme, host and port, without path, user or password."""
    parts = urlsplit(str(url))
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def note(
    kind: str, name: str, provider: str, endpoint: str, *, id: str = "", usd_per_hour: float | None = None
) -> Entry:
    """Write down one thing now. `usd_per_hour` overrides the table's idle price. CourseError if it cannot be written."""
    price = IDLE[kind] if usd_per_hour is None else usd_per_hour
    entry = Entry(secrets.token_hex(6), kind, name, provider, place_of(endpoint), price, int(time.time()), id)
    write_entry(entry)
    return entry


def write_entry(entry: Entry) -> None:
    """Write the entry, whole or not at all. CourseError: it could not be."""
    try:
        whole.write(_file(entry), msgspec.json.encode(entry))
    except OSError as error:
        problem = f"não consegui anotar no livro ({error.strerror or error})."
        remedy = "Sem anotar, nada é criado: confira a pasta, as permissões e o espaço."
        raise CourseError(problem, remedy, _file(entry)) from error


def forget(entry: Entry) -> None:
    """The thing is gone from the account: drop its entry."""
    whole.discard(_file(entry))


def forget_id(endpoint: str, id: str) -> None:
    """As `forget`, for what an address knows by this id."""
    for entry in entries(endpoint):
        if entry.id == id:
            forget(entry)


def _file(entry: Entry) -> Path:
    return folder() / f"{entry.noted_at}-{entry.key}.json"


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
        status = status_of(error)
        if status is not None and 400 <= status < 500 and status != 408:
            forget(entry)
        raise
    write_entry(entry)


def status_of(error: BaseException) -> int | None:
    """The HTTP status that a service answered, where it did."""
    if isinstance(response := getattr(error, "response", None), dict):  # botocore
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return getattr(error, "status_code", None)  # openai


def entries(endpoint: str | None = None) -> list[Entry]:
    """Everything noted, or noted at one address, in the order of removal. CourseError names a damaged entry or folder."""
    found, order = [], list(KINDS)
    try:
        listed = [Path(one) for one in os.scandir(folder()) if one.is_file()]  # reading a pipe would never end
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CourseError(f"não pude ler o livro ({error.strerror or error}).", "Confira a pasta.", folder()) from error
    for file in (path for path in listed if path.match("[0-9]*.json")):
        try:
            entry = msgspec.json.decode(file.read_bytes(), type=Entry)
            found.append((order.index(entry.kind), entry.noted_at, file.name, entry))
        except FileNotFoundError:  # another process has just forgotten it
            continue
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            remedy = "Abra-o, confira na página do serviço o que ele nomeia, e só depois apague-o."
            raise CourseError("esta anotação do livro está estragada.", remedy, file) from error
    return [entry for *_, entry in sorted(found) if endpoint is None or entry.endpoint == place_of(endpoint)]


def table(found: list[Entry] | None = None):
    """The entries as a pandas DataFrame: what, where, how much an hour."""
    import pandas as pd

    found = entries() if found is None else found
    rows = [(entry.title, entry.name, entry.where, entry.cost) for entry in found]
    return pd.DataFrame(rows, columns=["o quê", "nome", "onde", "parado custa"])
