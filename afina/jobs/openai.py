"""Jobs at OpenAI, at its twin, and at the services that speak its protocol (`afina.jobs.PROVIDERS`).

Source: developers.openai.com/api/docs/guides/supervised-fine-tuning and the published OpenAPI document.
"""

import base64
import io
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
from openai.types.fine_tuning import FineTuningJob

from afina.errors import CourseError, require
from afina.jobs import ledger
from afina.jobs.consent import allow, check_data, clear, confirm_spend, destination, is_local_url
from afina.jobs.ledger import Entry, creating, place_of
from afina.jobs.watch import Hiccup, JobEnded, View, follow
from afina.jsonl.cost import Estimate, estimate
from afina.prices import MODELS, PROVIDERS, Model

ENDED = ("succeeded", "failed", "cancelled")
_BUSY = (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError)


def connect(provider: str | None = None) -> openai.OpenAI:
    """A client of the twin, or of the service that AFINA_CLOUD (or `provider`) names, with time-outs and retries.

    CourseError: no twin is open; the key or address is not in its environment variable; the variables are the twin's.
    """
    secrets = "a chave no ambiente é a dele"
    name = destination(provider, "afina.jobs.openai", "openai", "OPENAI_BASE_URL", secrets)
    if name == "local":
        return openai.OpenAI()
    problem = "este serviço não fala o protocolo da OpenAI."
    require(name in PROVIDERS, problem, "Use afina.jobs.bedrock.", f"AFINA_CLOUD={name}")
    service = PROVIDERS[name]
    url, key = service.base_url or os.environ.get(service.url_variable, ""), os.environ.get(service.key_variable)
    remedy = "Copie o endereço do seu projeto para essa variável."
    require(url, f"falta o endereço de {service.title}.", remedy, service.url_variable)
    remedy = "Ponha-a nessa variável de ambiente, fora do notebook: chave não se escreve em célula."
    require(key, f"falta a chave de {service.title}.", remedy, service.key_variable)
    return openai.OpenAI(base_url=url, api_key=key, timeout=60, max_retries=4)


def place(client: openai.OpenAI) -> tuple[str, str]:
    """(provider, address) that a client speaks to. CourseError for a host that is not in the table."""
    if is_local_url(client.base_url):
        return "local", place_of(client.base_url)
    host = urlsplit(str(client.base_url)).hostname or ""
    for name, service in PROVIDERS.items():
        if any(host == known or (known.startswith(".") and host.endswith(known)) for known in service.hosts):
            return name, place_of(client.base_url)
    raise CourseError(f"não conheço {host}.", f"A tabela tem: {', '.join(PROVIDERS)}.", "base_url")


def approve(client: openai.OpenAI, quote: Estimate) -> None:
    """Before a job: a real service needs AFINA_CLOUD and the estimate typed back; a twin needs nothing. CourseError: not given."""
    provider, _ = allow(*place(client))
    if provider != "local":
        confirm_spend(quote, PROVIDERS[provider].title)


def upload(client: openai.OpenAI, path: str | Path) -> openai.types.FileObject:
    """Send a JSONL file for fine-tuning; it is in the ledger before it leaves. Its name carries the entry's key."""
    path = Path(path)
    with creating("openai-file", path.name, *allow(*place(client))) as entry:
        entry.name = f"{path.stem}-{entry.key}{path.suffix}"  # to be found again, should the answer get lost
        ledger.write_entry(entry)
        with path.open("rb") as file:
            sent = client.files.create(file=(entry.name, file), purpose="fine-tune")
        entry.id = sent.id
    return sent


def submit(
    client: openai.OpenAI, training: str | Path, validation: str | Path | None = None, *,
    model: str = "", method: str = "supervised", suffix: str = "afina", seed: int | None = None, **hyperparameters: object,
) -> FineTuningJob:  # fmt: skip
    """Check the files, confirm the estimate (real services), upload, create the job. Returns the service's job.

    `model` is a base, a tuned model to go on from, or empty for the provider's in the table; `method` is "supervised" or
    "dpo". CourseError: problems in the data, no confirmation, a refusal of the service; its uploads are then removed.
    """
    provider, endpoint = allow(*place(client))
    service = PROVIDERS["openai" if provider == "local" else provider]
    model = model or service.model
    problem = f"a tabela do curso não tem um modelo confirmado em {service.title}."
    require(model, problem, 'Escolha um na página dele e diga model="…".', "model")
    problem = f'{service.title} não treina com o método "{method}" por aqui.'
    require(method in service.methods, problem, f"Use um destes: {', '.join(service.methods)}.", "method")
    form = "openai-dpo" if method == "dpo" else "openai-chat"
    base = model.split(":")[1] if model.startswith("ft:") else model
    known = next((m.id for m in MODELS if m.id.startswith(base) and m.service == "openai"), None)
    report = check_data(training, validation, form, known)
    epochs, train = hyperparameters.get("n_epochs"), report.train
    epochs = epochs if isinstance(epochs, int) else None
    priced = known or Model(model, "", form, 0, epochs=(1, 50, None), notes=(), limits=service.source)
    approve(client, estimate(train.tokens, priced, epochs=epochs, examples=train.examples))
    files = [upload(client, path).id for path in (training, validation) if path is not None]
    more: dict[str, Any] = dict(zip(("training_file", "validation_file"), files, strict=False))
    if service.hyperparameters:
        more["hyperparameters"] = {**hyperparameters, **service.hyperparameters}
    else:
        more["method"] = {"type": method, method: {"hyperparameters": hyperparameters}}
    if seed is not None:
        more["seed"] = seed
    try:
        with creating("openai-job", suffix, provider, endpoint) as entry:
            if provider in ("local", "openai"):  # the others do not document it
                more["metadata"] = {"afina": entry.key}
            job = client.fine_tuning.jobs.create(
                model=model, suffix=suffix, extra_body=dict(service.extra_body) or None, **more
            )
            entry.id = job.id
    except openai.APIStatusError as error:
        if error.status_code < 500:  # nothing else knows these uploads; after a broken answer they stay
            for sent in [entry for entry in ledger.entries(endpoint) if entry.id in files]:
                remove(client, sent)
                ledger.forget(sent)
        raise _explained(error, service.title) from error
    return job


def _explained(error: openai.APIStatusError, title: str) -> CourseError:
    """A service's refusal as a sentence; what it says of a key is left out."""
    if error.code == "training_not_available":
        problem = "a OpenAI não aceita mais jobs desta conta (403 training_not_available)."
        remedy = "O fine-tuning está sendo encerrado: use o gêmeo, ou outro serviço da tabela. O arquivo enviado foi apagado."
        return CourseError(problem, remedy, title)
    if error.status_code == 401:
        return CourseError("a chave foi recusada (401).", "Confira a variável de ambiente dela.", title)
    return CourseError(f"o serviço recusou o job ({error.status_code}): {error.message}", "", title)


def watch(
    client: openai.OpenAI, job: str | FineTuningJob, *, deadline: float = 6 * 3600, show: bool = True
) -> FineTuningJob:
    """Follow a job to its end and return it; its model and result files are then in the ledger.

    JobEnded (a CourseError): it failed, was cancelled or paused, or `deadline` seconds passed and it was cancelled.
    """
    id = job if isinstance(job, str) else job.id

    def look() -> View:
        try:
            found = client.fine_tuning.jobs.retrieve(id)
            view = View(found, found.status, done=found.status == "succeeded", end=_end(found))
            if show and os.environ.get("AFINA_PROGRESS") != "0":
                events = client.fine_tuning.jobs.list_events(id, limit=100).data
                view.rows = [("último evento", events[0].message)] if events else []
                steps = [event.data for event in reversed(events) if event.type == "metrics"]
                view.losses = [step["train_loss"] for step in steps if isinstance(step, dict) and "train_loss" in step]
        except _BUSY as error:
            raise Hiccup(type(error).__name__) from error
        return view

    def made(done: FineTuningJob) -> list[tuple[str, str, str]]:
        model = str(done.fine_tuned_model)
        return [("openai-model", model, model), *(("openai-file", file, file) for file in done.result_files)]

    def stop() -> object:
        return client.fine_tuning.jobs.cancel(id)

    return follow(id, id, place(client), look, stop, made, deadline, show)


def _end(job: FineTuningJob) -> JobEnded | None:
    if job.status == "failed":
        code, message = (job.error.code, job.error.message) if job.error else ("", "sem explicação")
        param = f" (campo {job.error.param})" if job.error and job.error.param else ""
        remedy = "Confira o arquivo com afina validate, conserte e crie outro job."
        return JobEnded("failed", f"o job falhou: {code}{param}: {message}", remedy, job.id, job)
    if job.status == "cancelled":
        return JobEnded("cancelled", "o job foi cancelado.", "Crie outro quando quiser.", job.id, job)
    if job.status in ("paused", "pausing"):
        remedy = f'Continue com client.fine_tuning.jobs.resume("{job.id}") e chame watch de novo.'
        return JobEnded("paused", "o job está em pausa.", remedy, job.id, job)
    return None


def metrics(client: openai.OpenAI, job: str | FineTuningJob):
    """The result file of a finished job as a DataFrame, a row a step. OpenAI wraps the CSV in base64; others may not."""
    import pandas as pd

    found = client.fine_tuning.jobs.retrieve(job if isinstance(job, str) else job.id)
    require(found.result_files, f"este job não tem arquivo de resultados (está em {found.status}).", "", found.id)
    content = client.files.content(found.result_files[0]).read()
    if not content.startswith(b"step,"):
        content = base64.b64decode(content)
    return pd.read_csv(io.BytesIO(content))


def clean_up(client: openai.OpenAI, show: bool = True) -> list[Entry]:
    """Remove everything the ledger knows at this client's address; what could not be removed comes back."""
    found = [entry for entry in ledger.entries(place(client)[1]) if entry.kind.startswith("openai-")]
    return clear(found, lambda entry: remove(client, entry), show)


def remove(client: openai.OpenAI, entry: Entry) -> str:
    """Remove one noted thing and say how; what is not there any more counts as removed. CourseError: it may still be there."""
    try:
        if entry.kind == "openai-file":
            ids = [entry.id]
            if not entry.id:
                ids = [file.id for file in client.files.list(purpose="fine-tune") if file.filename == entry.name]
            for id in ids:
                client.files.delete(id)
            return "apagado" if ids else "o envio não chegou lá"
        if entry.kind == "openai-model":
            client.models.delete(entry.id)
            return "apagado"
        return _remove_job(client, entry)
    except openai.NotFoundError:
        return "já não existia"
    except openai.AuthenticationError as error:
        raise CourseError("a chave foi recusada (401).", "Confira a variável de ambiente dela.", entry.name) from error
    except openai.APIError as error:
        problem = f"o serviço não deixou ({error.message})."
        raise CourseError(problem, "Tente de novo daqui a pouco.", entry.name) from error


def _remove_job(client: openai.OpenAI, entry: Entry) -> str:
    """Stop a job that is not over, and take away what it made."""
    jobs, problem = client.fine_tuning.jobs, "o serviço não respondeu ao criá-lo: pode existir ou não."
    findable = entry.id or entry.provider in ("local", "openai")
    require(findable, problem, "Confira a lista de jobs na página do serviço.", entry.name)
    listed = [jobs.retrieve(entry.id)] if entry.id else jobs.list()
    found = [job for job in listed if entry.id or (job.metadata or {}).get("afina") == entry.key]
    for job in found:
        if job.status not in ENDED:
            jobs.cancel(job.id)
        if job.fine_tuned_model:
            client.models.delete(job.fine_tuned_model)
        for file in job.result_files:
            client.files.delete(file)
    return "encerrado" if found else "o job não chegou a existir"
