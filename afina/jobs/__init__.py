"""Fine-tuning jobs elsewhere: the same verbs for OpenAI's protocol (`afina.jobs.openai`) and Bedrock (`afina.jobs.bedrock`).

    submit → watch → metrics → clean_up

Without AFINA_CLOUD they only speak to the twins of `afina.cloud`. With it, a job starts after its estimate was typed back,
always has a deadline, and what it creates is in the ledger before the service answers. Also `afina jobs list|clean`.
"""

from __future__ import annotations

import argparse
import html
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from afina.errors import CourseError
from afina.jobs import ledger
from afina.jobs.ledger import Entry
from afina.jsonl.cost import dollars

# --- who speaks the protocol -----------------------------------------------------------------------------------------

READ_ON = "2026-11-20"  # when the table below was read, in stored copies of the providers' pages


@dataclass(frozen=True)
class Provider:
    """One service that takes the same calls. `model` is empty where no source confirmed an id: the caller must choose."""

    name: str
    title: str
    base_url: str  # empty: the account's own address, in `url_variable`
    hosts: tuple[str, ...]
    key_variable: str
    model: str
    note: str
    source: str
    url_variable: str = ""
    extra_body: Mapping[str, object] = field(default_factory=dict)
    hyperparameters: Mapping[str, object] = field(default_factory=dict)  # more of them, in the top-level field
    methods: tuple[str, ...] = ("supervised",)


PROVIDERS = {
    "openai": Provider(
        "openai", "OpenAI", "https://api.openai.com/v1", ("api.openai.com",), "OPENAI_API_KEY", "gpt-4.1-mini-2025-04-14",
        "Só contas com fine-tuning antigo e uso nos últimos 60 dias; ninguém cria jobs a partir de 2027-01-06.",
        "developers.openai.com/api/docs/deprecations", methods=("supervised", "dpo"),
    ),
    "azure": Provider(
        "azure", "Azure (Microsoft Foundry)", "", (".services.ai.azure.com", ".openai.azure.com"), "AZURE_OPENAI_API_KEY",
        "", "Clientes novos: modelos abertos (gpt-oss-20b, Ministral-3B, Qwen-32B); a implantação cobra por hora.",
        "github.com/MicrosoftDocs/azure-ai-docs; github.com/microsoft/azure-skills", url_variable="AZURE_OPENAI_BASE_URL",
        extra_body={"trainingType": "globalStandard"},
    ),
    "nebius": Provider(
        "nebius", "Nebius Token Factory", "https://api.tokenfactory.nebius.com/v1/", ("api.tokenfactory.nebius.com",),
        "NEBIUS_API_KEY", "meta-llama/Meta-Llama-3.1-8B-Instruct", "LoRA em modelos abertos; arquivo de até 5 GB.",
        "docs.tokenfactory.nebius.com; skills.sh/arindam200/nebius-skills", hyperparameters={"lora": True},
    ),
    "crusoe": Provider(
        "crusoe", "Crusoe Intelligence Foundry", "https://api.intelligence.crusoecloud.com/v1",
        ("api.intelligence.crusoecloud.com",), "CRUSOE_API_KEY", "",
        "LoRA em modelos abertos; arquivo de até 3 GB; os pesos podem ser baixados.",
        "docs.crusoecloud.com/serverless-fine-tuning/fine-tune-a-model",
    ),
}  # fmt: skip
CLOUDS = (*PROVIDERS, "aws")


def cloud() -> str:
    """The real service that AFINA_CLOUD asks for, or "local". CourseError for a name that is not in the table."""
    name = os.environ.get("AFINA_CLOUD", "").strip().lower() or "local"
    if name not in ("local", *CLOUDS):
        choices = ", ".join(CLOUDS)
        raise CourseError(f'não conheço o serviço "{name}".', f"Use um destes: {choices}.", "AFINA_CLOUD")
    return name


def is_loopback(url: object) -> bool:
    """Whether an address is this machine's: only a twin answers there."""
    return urlsplit(str(url)).hostname in ("127.0.0.1", "localhost", "::1")


def allow(provider: str, host: str) -> None:
    """Refuse to spend by accident: a client of a real service needs AFINA_CLOUD to say the same name."""
    if provider == "local":
        return
    if cloud() != provider:
        raise CourseError(
            f"este cliente fala com {host}, que é um serviço de verdade e cobra.",
            f"Para treinar lá, defina AFINA_CLOUD={provider}; para o gêmeo, abra local_cloud() antes do cliente.",
            where="afina.jobs",
        )


def check_data(training, validation, form: str, model: str | None):
    """The validator's report of a job's files; CourseError with the first errors where the service would refuse them."""
    from afina.jsonl import validate

    report = validate(training, validation, format=form, model=model)
    if not report.ok:
        errors = [str(problem) for problem in report.problems if problem.severity == "error"]
        more = f"\n… e mais {report.errors - 3}" if report.errors > 3 else ""
        raise CourseError("os dados têm erros; nada foi enviado.", "\n" + "\n".join(errors[:3]) + more, training)
    return report


def confirm(what: str, phrase: str) -> None:
    """Ask that `phrase` be typed back; AFINA_CONFIRM answers for a script. CourseError unless it is the same."""
    given = os.environ.get("AFINA_CONFIRM")
    if given is None:
        print(what)
        try:
            given = input(f'Para confirmar, digite "{phrase}": ')
        except (EOFError, NotImplementedError, OSError) as error:
            remedy = f'Em um script, defina AFINA_CONFIRM="{phrase}" depois de ler a estimativa: {what}'
            raise CourseError("ninguém confirmou, e não há teclado aqui.", remedy, "confirmação") from error
    if given.strip().casefold() != phrase.casefold():
        raise CourseError(
            "o que foi digitado não confere; nada foi feito.", f'Esperava "{phrase}". {what}', "confirmação"
        )


def confirm_spend(quote, title: str) -> None:
    """Confirm an estimate of `afina.jsonl`: its amount ("0,43"), or that nobody could verify a price."""
    phrase = "preço não verificado" if quote.usd is None else dollars(quote.usd).removeprefix("US$ ")
    confirm(f"Treinar em {title}: {quote.line}. Usar o modelo depois é cobrado à parte.", phrase)


# --- watching --------------------------------------------------------------------------------------------------------


class JobEnded(CourseError):
    """The job gave no model. `status`: failed, cancelled, paused, deadline; `job` is the service's last answer."""

    def __init__(self, status: str, problem: str, remedy: str, where: str, job: object = None):
        super().__init__(problem, remedy, where)
        self.status, self.job = status, job

    def __reduce__(self):
        return type(self), (self.status, self.problem, self.remedy, self.where)


class Hiccup(Exception):
    """One look at the job failed in a way that another may not: the network, a busy service."""


@dataclass
class View:
    """What one look tells: the service's answer, and what to show of it. `end` is the error of a job that gave no model."""

    answer: object
    status: str
    done: bool = False
    end: JobEnded | None = None
    rows: list[tuple[str, str]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def wait(look: Callable[[], View], name: str, deadline: float, stop: Callable[[], str], local: bool, show: bool):
    """Look again and again, ever more seldom, until the job is done (its answer is returned) or `deadline` seconds passed.

    JobEnded: it gave no model, or the deadline came, and then `stop()` was called, which says what came of it: what nobody
    watches must not go on costing. The live table is silent where AFINA_PROGRESS=0.
    """
    pause, longest = (0.2, 1.0) if local else (5.0, 60.0)
    board = _Board(name, show and os.environ.get("AFINA_PROGRESS") != "0")
    start = time.monotonic()
    trouble = ""
    while True:
        try:
            view, trouble = look(), ""
        except Hiccup as error:
            view, trouble = None, str(error)
        spent = time.monotonic() - start
        if view is not None:
            board.draw(view, spent)
            if view.end is not None:
                raise view.end
            if view.done:
                return view.answer
        if spent >= deadline:
            status = view.status if view else f"sem resposta ({trouble})"
            raise JobEnded(
                "deadline",
                f"o prazo de {deadline:g} s acabou com o job em {status}; {stop()}.",
                "Serviços têm filas: dê um prazo maior em deadline=, ou tente em outra hora.",
                name,
                view.answer if view else None,
            )
        time.sleep(max(0.0, min(pause, deadline - spent)))
        pause = min(pause * 1.5, longest)


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int = 40) -> str:
    """The values as a row of little bars, from their least to their greatest; at most `width`, evenly taken."""
    if not values:
        return ""
    if len(values) > width:
        values = [values[i * (len(values) - 1) // (width - 1)] for i in range(width)]
    low, high = min(values), max(values)
    return "".join(_BARS[round((v - low) / (high - low) * 7)] if high > low else _BARS[0] for v in values)


class _Board:
    """The table that a person watches: redrawn in place in a notebook, a line a change in a terminal."""

    def __init__(self, name: str, live: bool):
        self.name, self.live, self.last, self.handle = name, live, None, None

    def draw(self, view: View, seconds: float) -> None:
        if not self.live:
            return
        rows = [("job", self.name), ("estado", view.status), *view.rows]
        if view.losses:
            rows.append(("perda", f"{sparkline(view.losses)} {view.losses[-1]:.3f}"))
        if _in_notebook():
            self._page([*rows, ("tempo", f"{seconds:.0f} s")])
        elif rows != self.last:
            print(" · ".join(value for _, value in rows), flush=True)
        self.last = rows

    def _page(self, rows: list[tuple[str, str]]) -> None:
        from IPython.display import HTML, display

        cells = "".join(f"<tr><th>{html.escape(a)}</th><td><code>{html.escape(b)}</code></td></tr>" for a, b in rows)
        page = HTML(f"<table>{cells}</table>")
        if self.handle is None:
            self.handle = display(page, display_id=True)
        else:
            self.handle.update(page)


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None


# --- cleaning up -----------------------------------------------------------------------------------------------------


def clean(found: list[Entry], connected: Mapping[str, object] | None = None, show: bool = True) -> list[Entry]:
    """Remove these things from their accounts, in order, and their entries; what could not be removed comes back.

    `connected` maps addresses to clients that are already open. A twin that ended took everything with it. Real accounts
    are asked about first: the word "apagar" must be typed (or be in AFINA_CONFIRM).
    """
    real = [entry for entry in found if not entry.local]
    if real:
        names = "\n".join(f"  {entry.provider}: {ledger.KINDS[entry.kind]} {entry.name}" for entry in real)
        confirm(f"Vou apagar de contas de verdade:\n{names}", "apagar")
    clients, left = dict(connected or {}), []
    for entry in found:
        try:
            done = _remove(entry, clients)
        except CourseError as error:
            done = None
            say = f"ficou: {error}"
        else:
            say = done
        if done is None:
            left.append(entry)
        else:
            ledger.forget(entry)
        if show:
            print(f"{ledger.KINDS[entry.kind]:<24} {entry.name}: {say}")
    return left


def _remove(entry: Entry, clients: dict[str, object]) -> str:
    """Remove one thing and say how. CourseError: it is still there, or nobody can tell."""
    from afina.jobs import bedrock, openai

    room = openai if entry.kind.startswith("openai-") else bedrock
    key = f"{room.__name__} {entry.endpoint}"
    if key not in clients:
        if entry.local:
            here = os.environ.get("OPENAI_BASE_URL" if room is openai else "AWS_ENDPOINT_URL", "")
            if not _twin_answers(entry.endpoint):
                return "o gêmeo já encerrou, e lá nada cobra; anotação retirada"
            if ledger.place_of(here) != entry.endpoint:
                remedy = "Rode isto no notebook ou terminal que o abriu, ou encerre-o."
                raise CourseError(f"o gêmeo de {entry.endpoint} está aberto em outro lugar.", remedy, entry.name)
            clients[key] = room.connect("local")
        elif room is openai:
            clients[key] = openai.connect(entry.provider)
        else:
            clients[key] = bedrock.connect("aws", region=entry.endpoint.split(".")[1])
        if room.place(clients[key])[1] != entry.endpoint:
            remedy = "Ajuste a variável do endereço para ele e tente de novo."
            raise CourseError(
                f"isto está em {entry.endpoint}, e o ambiente aponta para outro lugar.", remedy, entry.name
            )
    return room.remove(clients[key], entry)


def _twin_answers(endpoint: str) -> bool:
    """Whether a twin, and not whatever took its port later, is at an address."""
    try:
        with urllib.request.urlopen(f"{endpoint}/v1/models", timeout=5) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:  # it wants its key, as it should
        headers = error.headers
        error.close()
    except (OSError, http.client.HTTPException):
        return False
    return headers.get("x-afina-local") == "true"


# --- command ---------------------------------------------------------------------------------------------------------


def main(argv: list[str]) -> int:
    """`afina jobs list` and `afina jobs clean`: what the ledger holds, from any terminal, with or without the notebook."""
    parser = argparse.ArgumentParser(
        prog="afina jobs", description="Mostra ou apaga o que os jobs do curso criaram, aqui e em contas de verdade."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|clean")
    verbs.add_parser("list", help="o que existe, onde, e quanto custa por hora parado")
    cleaner = verbs.add_parser("clean", help="apaga tudo, na ordem certa; contas de verdade, só depois de perguntar")
    cleaner.add_argument("--local", action="store_true", help="só o que é dos gêmeos locais")
    args = parser.parse_args(argv)
    found = ledger.entries()
    if not found:
        print("O livro está vazio: nada criado por aqui existe em serviço nenhum.")
        return 0
    if args.verb == "list":
        for entry in found:
            since = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.noted_at))
            doubt = "" if entry.id else "  (sem resposta do serviço: pode existir ou não)"
            where = "gêmeo local" if entry.local else entry.provider
            print(f"{ledger.KINDS[entry.kind]:<24} {entry.name:<40} {where:<12} desde {since}  {entry.cost}{doubt}")
        hourly = sum(entry.usd_per_hour or 0 for entry in found if not entry.local)
        print(f"Em contas de verdade, parado: {dollars(hourly)} por hora, fora o que não tem preço.")
        return 0
    if args.local:
        found = [entry for entry in found if entry.local]
    left = clean(found)
    print(f"Pronto: {len(found) - len(left)} de {len(found)} saíram do livro.")
    return 1 if left else 0
