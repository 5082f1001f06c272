"""What the ledger holds, as a list, and out of the accounts: from any terminal, with or without the notebook. Also `afina jobs`."""

import os
import time
from types import ModuleType
from typing import Any

from afina.errors import require
from afina.jobs import ledger
from afina.jobs.consent import clear
from afina.jobs.ledger import Entry
from afina.ptbr import dollars


def listing(found: list[Entry]) -> str:
    """What exists, where, since when, and what it costs an hour while it only lies there."""
    lines = []
    for entry in found:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.noted_at))
        doubt = "" if entry.id else "  (sem resposta do serviço: pode existir ou não)"
        lines.append(f"{entry.title:<24} {entry.name:<40} {entry.where:<12} desde {since}  {entry.cost}{doubt}")
    hourly = sum(entry.usd_per_hour or 0 for entry in found if not entry.local)
    lines.append(f"Em contas de verdade, parado: {dollars(hourly)} por hora, fora o que não tem preço.")
    return "\n".join(lines)


def clean_ledger(found: list[Entry], show: bool = True) -> list[Entry]:
    """Remove these things from their accounts, in order, and their entries; what could not be removed comes back.

    A twin that ended took everything with it. Real accounts are asked about first (see `consent.clear`).
    """
    clients: dict[str, Any] = {}
    return clear(found, lambda entry: _remove(entry, clients), show)


def _remove(entry: Entry, clients: dict[str, Any]) -> str:
    """Remove one thing and say how. CourseError: it is still there, or nobody can tell."""
    from afina.jobs import bedrock, openai  # the libraries of both services, only where something is to be removed

    room: ModuleType = openai if entry.kind.startswith("openai-") else bedrock
    key = f"{room.__name__} {entry.endpoint}"
    if key not in clients:
        if entry.local:
            here = os.environ.get("OPENAI_BASE_URL" if room is openai else "AWS_ENDPOINT_URL", "")
            if not _twin_answers(entry.endpoint):
                return "o gêmeo já encerrou, e lá nada cobra; anotação retirada"
            problem = f"o gêmeo de {entry.endpoint} está aberto em outro lugar."
            remedy = "Rode isto no notebook ou terminal que o abriu, ou encerre-o."
            require(ledger.place_of(here) == entry.endpoint, problem, remedy, entry.name)
            clients[key] = room.connect("local")
        elif room is openai:
            clients[key] = openai.connect(entry.provider)
        else:
            clients[key] = bedrock.connect("aws", region=entry.endpoint.split(".")[1])
        problem = f"isto está em {entry.endpoint}, e o ambiente aponta para outro lugar."
        remedy = "Ajuste a variável do endereço para ele e tente de novo."
        require(room.place(clients[key])[1] == entry.endpoint, problem, remedy, entry.name)
    return room.remove(clients[key], entry)


def _twin_answers(endpoint: str) -> bool:
    """Whether a twin, and not whatever took its port later, is at an address."""
    import httpx

    try:  # it wants its key, and refuses; the mark is on every answer
        return httpx.get(f"{endpoint}/v1/models", timeout=5).headers.get("x-afina-local") == "true"
    except (OSError, httpx.HTTPError):
        return False
