"""Who is asked before anything is sent, created or removed: AFINA_CLOUD, the validator, and a person at the keyboard."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from afina.errors import CourseError, require
from afina.jobs import ledger
from afina.jobs.ledger import Entry
from afina.jsonl.cost import Estimate, in_dollars
from afina.jsonl.report import ValidationReport
from afina.jsonl.validate import validate
from afina.prices import PROVIDERS

CLOUDS = (*PROVIDERS, "aws")


def cloud() -> str:
    """The real service that AFINA_CLOUD asks for, or "local". CourseError for a name that is not in the table."""
    name = os.environ.get("AFINA_CLOUD", "").strip().lower() or "local"
    remedy = f"Use um destes: {', '.join(CLOUDS)}."
    require(name in ("local", *CLOUDS), f'não conheço o serviço "{name}".', remedy, "AFINA_CLOUD")
    return name


def is_local_url(url: object) -> bool:
    """Whether an address is this machine's: only a twin answers there."""
    return urlsplit(str(url)).hostname in ("127.0.0.1", "localhost", "::1")


def destination(provider: str | None, room: str, own: str, variable: str, secrets: str) -> str:
    """Where a client of `room` is to lead: `provider`, else what AFINA_CLOUD says.

    A twin sets `variable`, and the `secrets` of the service `own` with it. CourseError: no twin is open; `own` was asked
    for while one is.
    """
    name = provider or cloud()
    at_twin = is_local_url(os.environ.get(variable, ""))
    require(name != "local" or at_twin, "não há gêmeo aberto aqui.", "Abra-o antes com local_cloud().", room)
    remedy = "Feche-o com cloud.close(), que devolve as suas, e conecte de novo."
    require(name != own or not at_twin, f"o gêmeo está aberto, e {secrets}.", remedy, variable)
    return name


def allow(provider: str, host: str) -> tuple[str, str]:
    """Refuse to spend by accident: a client of a real service needs AFINA_CLOUD to say the same name. Returns both."""
    problem = f"este cliente fala com {host}, que é um serviço de verdade e cobra."
    remedy = f"Para treinar lá, defina AFINA_CLOUD={provider}; para o gêmeo, abra local_cloud() antes do cliente."
    require(provider == "local" or cloud() == provider, problem, remedy, "afina.jobs")
    return provider, host


def check_data(training: str | Path, validation: str | Path | None, form: str, model: str | None) -> ValidationReport:
    """The validator's report of a job's files; CourseError with the first errors where the service would refuse them."""
    report = validate(training, validation, format=form, model=model)
    errors = [str(problem) for problem in report.problems if problem.severity == "error"]
    more = [f"… e mais {report.errors - 3}"] if report.errors > 3 else []
    require(report.ok, "os dados têm erros; nada foi enviado.", "\n".join(["", *errors[:3], *more]), training)
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
    same = given.strip().casefold() == phrase.casefold()
    require(same, "o que foi digitado não confere; nada foi feito.", f'Esperava "{phrase}". {what}', "confirmação")


def confirm_spend(quote: Estimate, title: str) -> None:
    """Confirm an estimate of `afina.jsonl`: its amount ("0,43"), or that nobody could verify a price."""
    what = f"Treinar em {title}: {quote.line}. Usar o modelo depois é cobrado à parte."
    confirm(what, in_dollars(quote.usd).removeprefix("US$ "))


def clear(found: list[Entry], remove: Callable[[Entry], str], show: bool) -> list[Entry]:
    """Let `remove` take each thing away, in order, and forget it; what could not be removed comes back.

    Real accounts are asked about first: the word "apagar" must be typed (or be in AFINA_CONFIRM). `remove` says how it went,
    or raises a CourseError where the thing is still there.
    """
    names = [f"  {entry.provider}: {entry.title} {entry.name}" for entry in found if not entry.local]
    if names:
        confirm("\n".join(["Vou apagar de contas de verdade:", *names]), "apagar")
    left = []
    for entry in found:
        try:
            said = remove(entry)
            ledger.forget(entry)
        except CourseError as error:
            left.append(entry)
            said = f"ficou: {error}"
        if show:
            print(f"{entry.title:<24} {entry.name}: {said}")
    return left
