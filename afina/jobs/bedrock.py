"""Jobs at Amazon Bedrock and its twin: the verbs of `afina.jobs.openai`, with a bucket, a role and a deployment around them.

Sources: docs.aws.amazon.com/bedrock/latest/userguide/{custom-model-fine-tuning, model-customization-iam-role,
model-customization-submit, deploy-custom-model-on-demand}.html.
"""

import io
import json
import os
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from string import Template
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from afina.errors import CourseError, require
from afina.jobs import ledger
from afina.jobs.consent import allow, check_data, clear, confirm, confirm_spend, destination
from afina.jobs.ledger import Entry, creating, place_of, status_of
from afina.jobs.watch import Hiccup, JobEnded, View, follow
from afina.jsonl.cost import estimate, in_dollars
from afina.prices import NOVA_THROUGHPUT, find_model

PHASES = {"validationDetails": "validação", "dataProcessingDetails": "preparo", "trainingDetails": "treino"}
STATES = {
    "NotStarted": "à espera", "InProgress": "em andamento", "Completed": "pronto", "Failed": "falhou",
    "Stopping": "parando", "Stopped": "parado",
}  # fmt: skip
_MISSING = ("ResourceNotFoundException", "NoSuchEntity", "NoSuchBucket", "404", "NoSuchKey")


@dataclass(frozen=True)
class AwsClients:
    """The five official clients that a job needs, of one region, and where they lead."""

    s3: Any  # boto3 makes the methods of its clients from JSON while it runs: there is no class to name
    iam: Any
    sts: Any
    bedrock: Any
    runtime: Any
    region: str
    account: str
    provider: str  # local or aws
    endpoint: str


def connect(provider: str | None = None, region: str = "us-east-1") -> AwsClients:
    """Clients of the twin, or of the AWS account whose credentials are in the environment, if AFINA_CLOUD (or `provider`) is aws.

    CourseError: no twin is open; the twin's variables are set while AWS was asked for; AWS knows no such credentials.
    """
    secrets = "as credenciais no ambiente são as dele"
    name = destination(provider, "afina.jobs.bedrock", "aws", "AWS_ENDPOINT_URL", secrets)
    right = name in ("local", "aws")
    require(right, "este serviço não é o Bedrock.", "Use afina.jobs.openai.", f"AFINA_CLOUD={name}")
    settings = Config(connect_timeout=10, read_timeout=120, retries={"mode": "standard", "max_attempts": 5})
    names = ("s3", "iam", "sts", "bedrock", "bedrock-runtime")
    s3, iam, sts, bedrock, runtime = (boto3.client(one, region_name=region, config=settings) for one in names)
    try:
        account = sts.get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        reason = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        remedy = "Configure um perfil (aws configure sso) ou as variáveis de ambiente, fora do notebook."
        raise CourseError(f"a AWS não reconheceu as credenciais ({reason}).", remedy, "credenciais") from error
    endpoint = f"https://bedrock.{region}.amazonaws.com" if name == "aws" else place_of(os.environ["AWS_ENDPOINT_URL"])
    return AwsClients(s3, iam, sts, bedrock, runtime, region, account, name, endpoint)


def place(aws: AwsClients) -> tuple[str, str]:
    """(provider, address) that these clients speak to."""
    return aws.provider, aws.endpoint


def trust_policy(account: str, region: str) -> dict:
    """Who may wear the role: Bedrock alone, and only for customization jobs of this account and region."""
    return _policy("trust", account=account, region=region)


def data_policy(bucket: str) -> dict:
    """What the role may do: read the data, write the results, and nothing outside this bucket."""
    return _policy("data", bucket=bucket)


def _policy(name: str, **values: str) -> dict:
    text = Path(__file__).with_name("policies.json").read_text(encoding="utf-8")
    return json.loads(Template(text).safe_substitute(values))[name]


def make_bucket(aws: AwsClients, name: str) -> str:
    """Create a private bucket in the clients' region and return its name."""
    where = {} if aws.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
    with creating("s3-bucket", name, *allow(*place(aws))) as entry:
        aws.s3.create_bucket(Bucket=name, **where)
        entry.id = name
    return name


def make_role(aws: AwsClients, name: str, bucket: str) -> str:
    """Create the role that a job wears, with both policies, and return its ARN."""
    with creating("iam-role", name, *allow(*place(aws))) as entry:
        trust = json.dumps(trust_policy(aws.account, aws.region))
        arn = aws.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        entry.id = name
    aws.iam.put_role_policy(RoleName=name, PolicyName="dados", PolicyDocument=json.dumps(data_policy(bucket)))
    if aws.provider == "aws":
        time.sleep(15)  # IAM answers before all of AWS knows: a job made at once would be refused
    return arn


def submit(
    aws: AwsClients, training: str | Path, validation: str | Path | None = None, *,
    model: str, name: str, bucket: str, role: str, **hyperparameters: Any,
) -> str:  # fmt: skip
    """Check the files, confirm the estimate (real account), upload, create the job `name` and model `name`. Returns its ARN.

    `role` is an ARN; hyperparameters, all numbers, go as text without an exponent. CourseError: problems in the data, no
    confirmation, a refusal of the service.
    """
    allow(*place(aws))
    base = find_model(model)
    report = check_data(training, validation, base.format, base.id)
    if aws.provider == "aws":
        train, epochs = report.train, hyperparameters.get("epochCount")
        epochs = epochs if epochs is None else int(epochs)
        confirm_spend(estimate(train.tokens, base, epochs=epochs, examples=train.examples), "Amazon Bedrock")
    uris = []
    for path in (training, *([validation] if validation else [])):
        key = f"dados/{name}/{Path(path).name}"
        aws.s3.upload_file(str(path), bucket, key)
        uris.append(f"s3://{bucket}/{key}")
    more = {"validationDataConfig": {"validators": [{"s3Uri": uri} for uri in uris[1:]]}} if uris[1:] else {}
    try:
        with creating("bedrock-job", name, *place(aws)) as entry:
            answer = aws.bedrock.create_model_customization_job(
                jobName=name, customModelName=name, roleArn=role, baseModelIdentifier=base.id,
                customizationType="FINE_TUNING", trainingDataConfig={"s3Uri": uris[0]},
                outputDataConfig={"s3Uri": f"s3://{bucket}/saida/"}, clientRequestToken=f"afina-{entry.key}",
                hyperParameters={key: format(Decimal(str(value)), "f") for key, value in hyperparameters.items()}, **more,
            )  # fmt: skip
            entry.id = answer["jobArn"]
    except ClientError as error:
        raise _explained(error, name) from error
    return entry.id


def _explained(error: ClientError, where: str) -> CourseError:
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    return CourseError(f"a AWS recusou ({code}): {message}", "", where)


def watch(aws: AwsClients, job: str, *, deadline: float = 6 * 3600, show: bool = True) -> dict:
    """Follow a job's phases to the end and return the service's description of it; its model is then in the ledger.

    JobEnded (a CourseError): it failed or was stopped, or `deadline` seconds passed and it was told to stop.
    """

    def look() -> View:
        try:
            found = aws.bedrock.get_model_customization_job(jobIdentifier=job)
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and status_of(error) in (400, 403, 404):
                raise _explained(error, job) from error
            raise Hiccup(type(error).__name__) from error
        rows = [(phase, STATES[state]) for phase, state in _phases(found).items()]
        return View(found, found["status"], found["status"] == "Completed", _end(found), rows)

    def made(done: dict) -> list[tuple[str, str, str]]:
        return [("bedrock-model", done["outputModelName"], done["outputModelArn"])]

    def stop() -> object:
        return aws.bedrock.stop_model_customization_job(jobIdentifier=job)

    return follow(job, job.rsplit("/", 1)[-1], place(aws), look, stop, made, deadline, show)


def _phases(job: dict) -> dict[str, str]:
    """{title: the service's word for its state} of each phase."""
    details = job.get("statusDetails", {})
    return {title: details.get(phase, {}).get("status", "NotStarted") for phase, title in PHASES.items()}


def _end(job: dict) -> JobEnded | None:
    name = job["jobName"]
    if job["status"] == "Failed":
        failed = [phase for phase, state in _phases(job).items() if state == "Failed"]
        where = f" na fase de {failed[0]}" if failed else ""
        reason = job.get("failureMessage", "o serviço não disse por quê")
        return JobEnded("failed", f"o job falhou{where}: {reason}", "Conserte e crie outro, com outro nome.", name, job)
    ended = JobEnded("cancelled", "o job foi parado.", "Crie outro quando quiser, com outro nome.", name, job)
    return ended if job["status"] == "Stopped" else None


def metrics(aws: AwsClients, job: str):
    """The CSVs that a job left in S3, as one DataFrame: a row a step, validation beside it where it was measured.

    They are found by name under the job's own prefix: the documentation and AWS's samples disagree on the folders between.
    """
    import pandas as pd

    output = aws.bedrock.get_model_customization_job(jobIdentifier=job)["outputDataConfig"]["s3Uri"]
    bucket, _, prefix = output.removeprefix("s3://").partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    found: dict[str, Any] = {}
    for key in _keys(aws, bucket, prefix):
        if f"model-customization-job-{job.rsplit('/', 1)[-1]}/" in key and key.endswith(".csv"):
            body = aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            found[key.rsplit("/", 1)[-1]] = pd.read_csv(io.BytesIO(body))
    there = "step_wise_training_metrics.csv" in found
    require(there, "não achei as métricas deste job no bucket.", "Ele terminou? Veja com watch.", output)
    table = found["step_wise_training_metrics.csv"]
    if (held_out := found.get("validation_metrics.csv")) is not None:
        held_out = held_out.drop(columns=["perplexity", "validation_perplexity"], errors="ignore")
        keys = [key for key in ("step_number", "epoch_number") if key in held_out and key in table]
        table = table.merge(held_out, on=keys, how="outer").sort_values(keys, ignore_index=True)
    return table


def deploy(aws: AwsClients, model: str, name: str, *, provisioned: bool = False, deadline: float = 1800) -> str:
    """Make a custom model answer, and return the ARN to converse with, once it is ready.

    On demand by default: idle, it costs nothing. `provisioned=True` buys one unit by the hour, idle or not, and a real
    account must confirm it. CourseError: refused, failed, or not ready in `deadline` seconds (the ledger has it).
    """
    allow(*place(aws))
    kind, hourly = "bedrock-deployment", None
    if provisioned:
        kind, hourly = "bedrock-throughput", NOVA_THROUGHPUT if "amazon.nova-" in model else None
        if aws.provider == "aws":
            price = in_dollars(hourly)
            confirm(f"Throughput provisionado: {price} por hora, mesmo parado, até você apagar.", price)
    try:
        with creating(kind, name, *place(aws), usd_per_hour=hourly) as entry:
            token = f"afina-{entry.key}"
            if provisioned:
                entry.id = aws.bedrock.create_provisioned_model_throughput(
                    modelUnits=1, provisionedModelName=name, modelId=model, clientRequestToken=token
                )["provisionedModelArn"]
            else:
                entry.id = aws.bedrock.create_custom_model_deployment(
                    modelDeploymentName=name, modelArn=model, clientRequestToken=token
                )["customModelDeploymentArn"]
    except ClientError as error:
        raise _explained(error, name) from error
    _until_ready(aws, entry, deadline)
    return entry.id


def _until_ready(aws: AwsClients, entry: Entry, deadline: float) -> None:
    start = time.monotonic()
    while True:
        if entry.kind == "bedrock-throughput":
            answer = aws.bedrock.get_provisioned_model_throughput(provisionedModelId=entry.id)
        else:
            answer = aws.bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=entry.id)
        if (status := answer["status"]) in ("Active", "InService"):
            return
        going = status != "Failed" and time.monotonic() - start < deadline
        remedy = "Está anotada no livro: apague-a com clean_up ou afina jobs clean."
        require(going, f"a implantação não ficou pronta ({status}).", remedy, entry.name)
        time.sleep(0.2 if entry.local else 10.0)


def clean_up(aws: AwsClients, show: bool = True) -> list[Entry]:
    """Remove everything the ledger knows at this address, in the order that works; what could not be removed comes back."""
    found = [entry for entry in ledger.entries(aws.endpoint) if not entry.kind.startswith("openai-")]
    return clear(found, lambda entry: remove(aws, entry), show)


def remove(aws: AwsClients, entry: Entry) -> str:
    """Remove one noted thing and say how; what is not there any more counts as removed. CourseError: it may still be there."""
    try:
        return _remove(aws, entry, entry.id or entry.name)
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            return "já não existia"
        raise _explained(error, entry.name) from error
    except BotoCoreError as error:
        raise CourseError(f"a AWS não respondeu ({type(error).__name__}).", "Tente de novo.", entry.name) from error


def _remove(aws: AwsClients, entry: Entry, id: str) -> str:
    match entry.kind:
        case "bedrock-deployment":
            aws.bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier=id)
            return "apagada; o modelo fica"
        case "bedrock-throughput":
            aws.bedrock.delete_provisioned_model_throughput(provisionedModelId=id)
        case "bedrock-model":
            aws.bedrock.delete_custom_model(modelIdentifier=id)
        case "bedrock-job":
            return _remove_job(aws, id)
        case "s3-bucket":
            keys = _keys(aws, entry.name)
            for key in keys:
                aws.s3.delete_object(Bucket=entry.name, Key=key)
            aws.s3.delete_bucket(Bucket=entry.name)
            return f"esvaziado ({len(keys)} objetos) e apagado"
        case "iam-role":
            for policy in aws.iam.list_role_policies(RoleName=entry.name)["PolicyNames"]:
                aws.iam.delete_role_policy(RoleName=entry.name, PolicyName=policy)
            aws.iam.delete_role(RoleName=entry.name)
    return "apagado"


def _remove_job(aws: AwsClients, id: str) -> str:
    """A job cannot be deleted: it is stopped, and the model it may have made is taken away."""
    job = aws.bedrock.get_model_customization_job(jobIdentifier=id)
    if job["status"] == "InProgress":
        aws.bedrock.stop_model_customization_job(jobIdentifier=job["jobArn"])
        return "mandado parar"
    if not job.get("outputModelArn"):
        return "terminado"
    aws.bedrock.delete_custom_model(modelIdentifier=job["outputModelArn"])
    return "terminado; o modelo dele, apagado"


def _keys(aws: AwsClients, bucket: str, prefix: str = "") -> list[str]:
    pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]
