"""`afina.jobs`: the verbs against the twins with the official clients, the ledger, and every way of not spending money."""

from __future__ import annotations

import ast
import itertools
import json
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import openai as official
import pytest
from cloud_base import chat_lines, tiny_base
from hypothesis import given, settings
from hypothesis import strategies as st

import afina.jobs
from afina import cli, whole
from afina.cloud import local_cloud
from afina.errors import CourseError, NetworkBlocked
from afina.jobs import Hiccup, JobEnded, View, bedrock, ledger, openai, watch
from afina.jsonl import dpo_example, write_jsonl

ROOT = Path(__file__).resolve().parent.parent
NOVA = "amazon.nova-micro-v1:0:128k"


@pytest.fixture(scope="module")
def twin():
    with local_cloud(base=tiny_base(), show=False) as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def own_ledger(tmp_path, monkeypatch):
    """Each test has its own ledger, and no wish to spend left over from the person who runs it."""
    monkeypatch.setenv("AFINA_LEDGER", str(tmp_path / "ledger"))
    for name in ("AFINA_CLOUD", "AFINA_CONFIRM", "NEBIUS_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def chat_file(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(chat_lines(12), encoding="utf-8")
    return path


@pytest.fixture
def aws_file(tmp_path):
    def blocks(message):
        return {"role": message["role"], "content": [{"text": message["content"]}]}

    rows = [
        {"schemaVersion": "bedrock-conversation-2024", "messages": [blocks(m) for m in json.loads(line)["messages"]]}
        for line in chat_lines(12).splitlines()
    ]
    path = tmp_path / "train_aws.jsonl"
    write_jsonl(path, rows)
    return path


def held_out(path):
    """The last lines of a file moved to a file of their own: the validator wants no line in both."""
    *rest, one, other = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(rest), encoding="utf-8")
    beside = path.with_name("valid_" + path.name)
    beside.write_text(one + other, encoding="utf-8")
    return beside


def raises(match, call, *args, **kwargs) -> CourseError:
    with pytest.raises(CourseError, match=match) as caught:
        call(*args, **kwargs)
    return caught.value


# --- OpenAI ----------------------------------------------------------------------------------------------------------


def test_a_job_from_submit_to_an_empty_ledger(twin, chat_file, capsys):
    client, valid = openai.connect(), held_out(chat_file)
    job = openai.submit(client, chat_file, valid, seed=3, n_epochs=2, batch_size=4)
    assert [entry.kind for entry in ledger.entries()] == ["openai-job", "openai-file", "openai-file"]
    done = openai.watch(client, job, deadline=120)
    assert capsys.readouterr().out == ""  # AFINA_PROGRESS=0: no word while it runs
    table = openai.metrics(client, done)
    assert list(table["step"]) == [1, 2, 3, 4, 5, 6]
    assert table["train_loss"].notna().all() and table["valid_loss"].notna().sum() == 2
    kinds = {entry.kind: entry.id for entry in ledger.entries()}
    assert kinds["openai-model"] == done.fine_tuned_model and "openai-job" not in kinds
    pairs = chat_file.with_name("dpo.jsonl")
    write_jsonl(pairs, [dpo_example(f"mouse {n}", f"a nice mouse {n}", f"bad {n}") for n in range(10)])
    second = openai.submit(client, pairs, model=done.fine_tuned_model, method="dpo", n_epochs=1, beta=0.2)
    assert second.method.dpo.hyperparameters.beta == 0.2
    second = openai.watch(client, second, deadline=120)
    assert second.fine_tuned_model != done.fine_tuned_model
    assert openai.clean_up(client) == [] and ledger.entries() == []
    assert list(client.files.list()) == []
    assert not [model.id for model in client.models.list() if model.id.startswith("ft:")]


def test_a_failed_job_says_why_and_leaves_the_ledger(twin, tmp_path):
    client = openai.connect()
    path = tmp_path / "seven.jsonl"
    path.write_text(chat_lines(7), encoding="utf-8")
    error = raises("nada foi enviado", openai.submit, client, path)
    assert "10" in str(error) and ledger.entries() == []
    file = openai.upload(client, path)
    bad = client.fine_tuning.jobs.create(model="gpt-4.1-mini", training_file=file.id)
    ledger.note("openai-job", "bad", *openai.place(client), id=bad.id)
    end = raises("invalid_n_examples.*training_file", openai.watch, client, bad, deadline=60)
    assert isinstance(end, JobEnded) and end.status == "failed" and end.job.error.code == "invalid_n_examples"
    assert [entry.kind for entry in ledger.entries()] == ["openai-file"]
    assert raises("não tem arquivo de resultados", openai.metrics, client, bad.id)
    openai.clean_up(client, show=False)


def test_a_deadline_cancels_the_job_and_a_second_look_says_so(twin, chat_file):
    client = openai.connect()
    job = openai.submit(client, chat_file)
    end = raises("o prazo de 0 s acabou", openai.watch, client, job, deadline=0)
    assert end.status == "deadline" and "pedi ao serviço que o pare" in end.problem
    assert raises("foi cancelado", openai.watch, client, job, deadline=60).status == "cancelled"
    openai.clean_up(client, show=False)


def test_a_new_account_is_refused_and_its_file_does_not_stay(twin, chat_file):
    with local_cloud(base=tiny_base(), training_not_available=True, show=False):
        client = openai.connect()
        raises("403 training_not_available", openai.submit, client, chat_file)
        assert list(client.files.list()) == [] and ledger.entries() == []


def test_a_wrong_key_is_told_without_the_key(twin, chat_file):
    client = official.OpenAI(api_key="nem-parece-chave", max_retries=0)
    with pytest.raises(official.AuthenticationError):
        openai.upload(client, chat_file)
    assert ledger.entries() == []  # refused: nothing was created
    entry = ledger.note("openai-file", "x.jsonl", *openai.place(client), id="file-x")
    error = raises("a chave foi recusada", openai.remove, client, entry)
    assert "nem-parece" not in str(error)


@pytest.mark.parametrize("status", ["paused", "pausing", "cancelled", "failed"])
def test_every_end_without_a_model_is_one_clear_error(status):
    end = openai._end(SimpleNamespace(id="ftjob-1", status=status, error=None))
    assert end.status == {"pausing": "paused"}.get(status, status) and end.where == "ftjob-1"
    assert ("resume" in str(end)) == (end.status == "paused")
    assert str(pickle.loads(pickle.dumps(end))) == str(end)
    assert openai._end(SimpleNamespace(id="ftjob-1", status="running", error=None)) is None


# --- Bedrock ---------------------------------------------------------------------------------------------------------


def test_a_bedrock_job_from_bucket_to_nothing_left(twin, aws_file, capsys):
    aws, valid = bedrock.connect(), held_out(aws_file)
    bucket = bedrock.make_bucket(aws, "afina-test")
    role = bedrock.make_role(aws, "afina-test", bucket)
    common = {"model": NOVA, "bucket": bucket, "epochCount": 1, "learningRate": 1e-5}
    raises("ValidationException", bedrock.submit, aws, aws_file, name="no-role", role=f"{role}x", **common)
    assert [entry.kind for entry in ledger.entries()] == ["s3-bucket", "iam-role"]
    sent = []
    event = "provide-client-params.bedrock.CreateModelCustomizationJob"
    aws.bedrock.meta.events.register(event, lambda params, **more: sent.append(params))
    job = bedrock.submit(aws, aws_file, valid, name="test-1", role=role, **common)
    assert sent[0]["hyperParameters"] == {"epochCount": "1", "learningRate": "0.00001"}
    assert sent[0]["clientRequestToken"] == f"afina-{ledger.entries()[0].key}"  # asked twice, created once
    done = bedrock.watch(aws, job, deadline=120)
    assert done["status"] == "Completed" and capsys.readouterr().out == ""
    table = bedrock.metrics(aws, job)
    assert table["training_loss"].notna().all() and table["validation_loss"].notna().sum() == 1
    # the documentation's path has no inner folder: the table must not depend on it
    keys = [item["Key"] for item in aws.s3.list_objects_v2(Bucket=bucket)["Contents"]]
    inner = next(key for key in keys if key.endswith("validation_metrics.csv"))
    body = aws.s3.get_object(Bucket=bucket, Key=inner)["Body"].read()
    aws.s3.delete_object(Bucket=bucket, Key=inner)
    aws.s3.put_object(Bucket=bucket, Key=inner.replace("/validation/", "/"), Body=body)
    assert bedrock.metrics(aws, job).equals(table)
    door = bedrock.deploy(aws, done["outputModelArn"], "test-door", deadline=30)
    talk = [{"role": "user", "content": [{"text": "mouse 3"}]}]
    reply = aws.runtime.converse(modelId=door, messages=talk, inferenceConfig={"maxTokens": 3})
    assert reply["usage"]["outputTokens"] <= 3
    dear = bedrock.deploy(aws, done["outputModelArn"], "test-dear", provisioned=True, deadline=30)
    costs = {entry.kind: entry.cost for entry in ledger.entries()}
    assert costs["bedrock-throughput"] == "nada (no serviço: US$ 60,50/h)" and costs["bedrock-deployment"] == "nada"
    assert ledger.entries()[0].id == dear  # what costs most goes first
    hasty = bedrock.submit(aws, aws_file, name="test-2", role=role, **common)
    assert raises("o prazo de 0 s", bedrock.watch, aws, hasty, deadline=0).status == "deadline"
    assert raises("foi parado", bedrock.watch, aws, hasty, deadline=60).status == "cancelled"
    assert bedrock.clean_up(aws) == [] and ledger.entries() == []
    assert aws.bedrock.list_custom_models()["modelSummaries"] == []
    assert aws.bedrock.list_custom_model_deployments()["modelDeploymentSummaries"] == []
    assert aws.bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"] == []
    assert aws.s3.list_buckets()["Buckets"] == [] and aws.iam.list_roles()["Roles"] == []


def test_a_failed_bedrock_job_names_phase_and_reason():
    details = {"validationDetails": {"status": "Completed"}, "trainingDetails": {"status": "Failed"}}
    job = {"jobName": "j", "status": "Failed", "statusDetails": details, "failureMessage": "internal error"}
    end = bedrock._end(job)
    assert end.status == "failed" and "na fase de treino: internal error" in end.problem
    assert "não disse por quê" in bedrock._end({"jobName": "j", "status": "Failed"}).problem
    assert bedrock._end({"jobName": "j", "status": "Stopping"}) is None


def test_the_policies_name_one_account_one_region_one_bucket():
    statement = bedrock.trust_policy("123456789012", "us-west-2")["Statement"][0]
    assert statement["Principal"] == {"Service": "bedrock.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
    assert ":us-west-2:123456789012:" in statement["Condition"]["ArnEquals"]["aws:SourceArn"]
    resources = [
        r
        for s in bedrock.data_policy("b")["Statement"]
        for r in [s["Resource"]]
        for r in ([r] * isinstance(r, str) or r)
    ]
    assert all(resource.startswith("arn:aws:s3:::b") for resource in resources) and "*" not in resources


# --- watching --------------------------------------------------------------------------------------------------------


class Clock:
    """Time that passes only while someone sleeps."""

    def __init__(self):
        self.now, self.naps = 0.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(watch, "time", clock)
    return clock


def told():
    return "pedi ao serviço que o pare"


def test_looks_grow_seldom_and_hiccups_are_outlived(clock):
    states = iter(["running"] * 12 + ["broken"] * 3 + ["running", "succeeded"])

    def look():
        state = next(states)
        if state == "broken":
            raise Hiccup("APIConnectionError")
        return View(state, state, done=state == "succeeded")

    assert afina.jobs.wait(look, "job", 10_000, told, local=False, show=True) == "succeeded"
    assert clock.naps == sorted(clock.naps) and clock.naps[0] == 5 and clock.naps[-1] == 60


@settings(max_examples=25, deadline=None)
@given(deadline=st.floats(0, 5000))
def test_the_deadline_holds_to_the_second_and_stops_the_job(deadline):
    clock, stopped = Clock(), []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(JobEnded) as caught:
        patch.setattr(watch, "time", clock)
        view = View(None, "queued")
        afina.jobs.wait(lambda: view, "job", deadline, lambda: stopped.append(clock.now) or "parado", False, False)
    assert caught.value.status == "deadline" and len(stopped) == 1
    assert deadline <= stopped[0] <= deadline + 1e-6


def test_a_service_that_never_answers_is_named_at_the_deadline(clock):
    def look():
        raise Hiccup("InternalServerError")

    error = raises("sem resposta .InternalServerError", afina.jobs.wait, look, "job", 100, told, False, False)
    assert error.job is None


def test_a_terminal_gets_a_line_a_change_and_a_silent_run_none(clock, monkeypatch, capsys):
    def look():
        step = min(3, len(clock.naps))
        return View(
            None, "running", step == 3, rows=[("último evento", f"Step {step}")], losses=[3.0, 2.0, 1.0][: step + 1]
        )

    afina.jobs.wait(look, "job", 100, told, True, True)
    assert capsys.readouterr().out == ""
    clock.naps.clear()
    monkeypatch.setenv("AFINA_PROGRESS", "1")
    afina.jobs.wait(look, "job", 100, told, True, True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[-1] == "job · running · Step 3 · █▅▁ 1.000"


@given(st.lists(st.floats(-1e6, 1e6), max_size=200))
def test_a_sparkline_is_never_wider_than_asked_and_spans_its_values(values):
    line = afina.jobs.sparkline(values, 20)
    assert len(line) == min(20, len(values))
    if len(values) <= 20 and len(set(values)) > 1:
        assert line[values.index(max(values))] == "█" and line[values.index(min(values))] == "▁"


# --- not spending ----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_twin(monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("room", [openai, bedrock])
def test_without_a_twin_and_without_afina_cloud_nothing_is_called(room, no_twin):
    raises("não há gêmeo", room.connect)


def test_the_wrong_room_the_wrong_name_and_what_is_missing(no_twin, monkeypatch):
    cases = {"banana": "não conheço", "aws": "bedrock", "openai": "chave", "nebius": "chave", "azure": "endereço"}
    for name, match in cases.items():
        monkeypatch.setenv("AFINA_CLOUD", name)
        raises(match, openai.connect)
    monkeypatch.setenv("AFINA_CLOUD", "nebius")
    raises("não é o Bedrock", bedrock.connect)


def test_real_services_are_refused_while_the_twin_is_open(twin, monkeypatch):
    monkeypatch.setenv("AFINA_CLOUD", "openai")
    raises("o gêmeo está aberto", openai.connect)
    monkeypatch.setenv("AFINA_CLOUD", "aws")
    raises("o gêmeo está aberto", bedrock.connect)


def test_every_provider_of_the_table_connects_to_its_own_address(no_twin, monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_BASE_URL", "https://loja.services.ai.azure.com/api/projects/p/openai/v1/")
    for name, service in afina.jobs.PROVIDERS.items():
        monkeypatch.setenv("AFINA_CLOUD", name)
        monkeypatch.setenv(service.key_variable, "faz-de-conta")
        provider, endpoint = openai.place(openai.connect())
        assert provider == name and endpoint.startswith("https://") and "projects" not in endpoint
    raises("não conheço example.org", openai.place, official.OpenAI(base_url="https://example.org/v1", api_key="x"))


def test_a_client_of_a_real_service_needs_afina_cloud(no_twin, chat_file):
    for service in (afina.jobs.PROVIDERS["nebius"], afina.jobs.PROVIDERS["openai"]):
        client = official.OpenAI(base_url=service.base_url, api_key="faz-de-conta")
        raises(f"AFINA_CLOUD={service.name}", openai.submit, client, chat_file)
        raises(f"AFINA_CLOUD={service.name}", openai.upload, client, chat_file)
    assert ledger.entries() == []


def test_the_estimate_must_be_typed_back(no_twin, chat_file, monkeypatch):
    monkeypatch.setenv("AFINA_CLOUD", "openai")
    monkeypatch.setenv("OPENAI_API_KEY", "faz-de-conta")
    client = openai.connect()
    error = raises("ninguém confirmou", openai.submit, client, chat_file, n_epochs=3)  # pytest has no keyboard
    assert "US$" in str(error) and "× 3 épocas" in str(error)
    monkeypatch.setenv("AFINA_CONFIRM", "sim")
    error = raises("não confere; nada foi feito", openai.submit, client, chat_file, n_epochs=3)
    assert ledger.entries() == []
    amount = error.remedy.split('"')[1]
    assert float(amount.replace(",", ".")) > 0
    monkeypatch.setenv("AFINA_CONFIRM", amount)  # confirmed: the next thing is the network, which the guard refuses
    with pytest.raises((official.APIConnectionError, NetworkBlocked)):
        openai.submit(client.with_options(max_retries=0), chat_file, n_epochs=3)
    (doubtful,) = ledger.entries()  # noted before the call: the file may have arrived
    assert doubtful.provider == "openai" and doubtful.id == "" and "faz-de-conta" not in str(doubtful)


def test_a_person_types_the_amount(monkeypatch, capsys):
    for typed, right in ((" 0,27 ", True), ("0,26", False), ("", False)):
        asked = []
        monkeypatch.setattr("builtins.input", lambda prompt, typed=typed, asked=asked: asked.append(prompt) or typed)
        if right:
            afina.jobs.confirm("Treinar: US$ 0,27.", "0,27")
        else:
            raises("não confere", afina.jobs.confirm, "Treinar: US$ 0,27.", "0,27")
        assert asked == ['Para confirmar, digite "0,27": '] and "Treinar: US$ 0,27." in capsys.readouterr().out


def test_where_no_price_is_known_that_must_be_typed(no_twin, chat_file, monkeypatch):
    monkeypatch.setenv("AFINA_CLOUD", "nebius")
    monkeypatch.setenv("NEBIUS_API_KEY", "faz-de-conta")
    monkeypatch.setenv("AFINA_CONFIRM", "0,00")
    error = raises("não confere", openai.submit, openai.connect(), chat_file, n_epochs=2)
    assert 'Esperava "preço não verificado"' in str(error)
    raises("dpo", openai.submit, openai.connect(), chat_file, method="dpo")
    monkeypatch.setenv("AFINA_CLOUD", "crusoe")
    monkeypatch.setenv("CRUSOE_API_KEY", "faz-de-conta")
    raises("modelo confirmado", openai.submit, openai.connect(), chat_file)


def real_aws():
    def refuse(*args, **kwargs):
        raise AssertionError("a real account was called")

    client = SimpleNamespace(**dict.fromkeys(
        ("create_bucket", "upload_file", "create_role", "create_provisioned_model_throughput"), refuse
    ))  # fmt: skip
    place = ("us-east-1", "123456789012", "aws", "https://bedrock.us-east-1.amazonaws.com")
    return bedrock.AwsClients(client, client, client, client, client, *place)


def test_a_real_aws_account_needs_the_word_and_the_amount(aws_file, monkeypatch):
    aws = real_aws()
    raises("AFINA_CLOUD=aws", bedrock.make_bucket, aws, "b")
    raises("AFINA_CLOUD=aws", bedrock.make_role, aws, "r", "b")
    raises("AFINA_CLOUD=aws", bedrock.deploy, aws, "m", "d")
    monkeypatch.setenv("AFINA_CLOUD", "aws")
    monkeypatch.setenv("AFINA_CONFIRM", "sim")
    raises("não confere", bedrock.submit, aws, aws_file, model=NOVA, name="n", bucket="b", role="r", epochCount="2")
    model = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abc"
    error = raises("não confere", bedrock.deploy, aws, model, "d", provisioned=True)
    assert 'Esperava "US$ 60,50"' in str(error) and ledger.entries() == []


def test_cleaning_real_accounts_asks_first(monkeypatch):
    entry = ledger.note("openai-model", "ft:x", "openai", "https://api.openai.com", id="ft:x")
    raises("ninguém confirmou", afina.jobs.clean, [entry])
    monkeypatch.setenv("AFINA_CONFIRM", "sim")
    error = raises("não confere", afina.jobs.clean, [entry])
    assert "openai: modelo ajustado ft:x" in str(error) and ledger.entries() == [entry]


# --- the ledger ------------------------------------------------------------------------------------------------------


class Refusal(Exception):
    def __init__(self, status):
        self.status_code = status


class AwsRefusal(Exception):
    response = {"ResponseMetadata": {"HTTPStatusCode": 409}}  # noqa: RUF012


def test_a_thing_is_noted_before_the_call_that_creates_it():
    with ledger.creating("s3-bucket", "b", "aws", "https://bedrock.us-east-1.amazonaws.com") as entry:
        (during,) = ledger.entries()
        assert during.name == "b" and during.id == ""
        entry.id = "b"
    assert ledger.entries() == [entry]


@pytest.mark.parametrize(
    "error, stays", [(Refusal(403), 0), (AwsRefusal(), 0), (Refusal(408), 1), (Refusal(500), 1), (ConnectionError(), 1)]
)
def test_a_refusal_leaves_no_entry_and_a_broken_call_does(error, stays):
    with pytest.raises(type(error)), ledger.creating("openai-job", "j", "openai", "https://api.openai.com"):
        raise error
    assert len(ledger.entries()) == stays


def run(code: str, **more) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=os.environ | more, cwd=ROOT)


def test_a_process_that_dies_in_the_call_leaves_its_entry():
    code = """
        import os
        from afina.jobs import ledger
        with ledger.creating("iam-role", "r", "aws", "https://bedrock.us-east-1.amazonaws.com"):
            os._exit(9)
    """
    assert run(code).wait(60) == 9
    (entry,) = ledger.entries()
    assert (entry.name, entry.id) == ("r", "")


def test_processes_that_write_at_once_lose_nothing():
    code = """
        from afina.jobs import ledger
        for n in range(40):
            entry = ledger.note("openai-file", f"{n}", "local", "http://127.0.0.1:9", id=str(n))
            if n % 2:
                ledger.forget(entry)
    """
    workers = [run(code) for _ in range(3)]
    while any(worker.poll() is None for worker in workers):
        ledger.entries()  # a reader among them never sees half an entry
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sorted(int(entry.id) for entry in ledger.entries()) == sorted([*range(0, 40, 2)] * 3)


def test_entries_come_in_the_order_of_removal():
    for kind in reversed(ledger.KINDS):
        ledger.note(kind, kind, "local", "http://127.0.0.1:9")
    assert [entry.kind for entry in ledger.entries()] == list(ledger.KINDS) == list(ledger.IDLE)


@given(user=st.text("abc", min_size=1), password=st.text("xyz", min_size=1))
def test_no_part_of_an_address_that_may_be_secret_is_noted(user, password):
    place = ledger.place_of(f"https://{user}:{password}@host.example:8443/v1?key=segredo")
    assert place == "https://host.example:8443"


def test_the_ledger_of_a_run_holds_no_key(twin, chat_file):
    client = openai.connect()
    openai.upload(client, chat_file)
    bedrock.make_bucket(bedrock.connect(), "afina-secret")
    text = "".join(path.read_text(encoding="utf-8") for path in ledger.folder().iterdir())
    assert "afina-secret" in text
    for name in ("OPENAI_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert twin.variables[name] not in text
    assert afina.jobs.clean(ledger.entries(), show=False) == []


def test_a_damaged_entry_is_named():
    good = ledger.note("iam-role", "r", "local", "http://127.0.0.1:9")
    for text in ("{", "[]", "{}", json.dumps(vars(good) | {"kind": "banana"})):
        (ledger.folder() / "1-x.json").write_text(text, encoding="utf-8")
        assert "1-x.json" in str(raises("estragada", ledger.entries))


class Windows:
    """The system as whole.py sees it, where a file that somebody reads cannot be replaced for a moment."""

    name = "nt"

    def __init__(self):
        self.refused = []

    def __getattr__(self, name):
        return getattr(os, name)

    def replace(self, *paths):
        if len(self.refused) < 3:
            self.refused.append(paths)
            raise PermissionError(13, "em uso")
        os.replace(*paths)


def test_a_file_that_is_being_read_is_tried_again(monkeypatch):
    windows = Windows()
    monkeypatch.setattr(whole, "os", windows)
    ledger.note("iam-role", "r", "local", "http://127.0.0.1:9")
    assert len(windows.refused) == 3 and len(ledger.entries()) == 1


def test_an_entry_that_is_being_written_is_not_read(monkeypatch):
    ledger.note("iam-role", "r", "local", "http://127.0.0.1:9")
    (done,) = ledger.folder().iterdir()
    (ledger.folder() / f".afina-{os.getpid()}-0123abcd.{done.name}").write_text("{", encoding="utf-8")
    assert [entry.name for entry in ledger.entries()] == ["r"]


def test_what_cannot_be_noted_is_not_created(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("AFINA_LEDGER", str(tmp_path / "file"))
    created = []

    def create():
        with ledger.creating("iam-role", "r", "local", "http://127.0.0.1:9"):
            created.append("r")

    raises("não consegui anotar", create)
    assert created == []


# --- afina jobs ------------------------------------------------------------------------------------------------------


def test_the_command_lists_prices_and_doubts(capsys):
    assert cli.main(["jobs", "list"]) == 0
    assert "O livro está vazio" in capsys.readouterr().out
    place = ("aws", "https://bedrock.us-east-1.amazonaws.com")
    ledger.note("bedrock-throughput", "caro", *place, id="arn", usd_per_hour=ledger.NOVA_THROUGHPUT)
    ledger.note("s3-bucket", "balde", *place)
    assert cli.main(["jobs", "list"]) == 0
    out = capsys.readouterr().out
    assert "US$ 60,50/h" in out and "US$ 60,50 por hora" in out and "pode existir ou não" in out
    assert cli.main(["jobs", "clean"]) == 2 and len(ledger.entries()) == 2  # nobody confirmed
    assert cli.main(["jobs", "clean", "--local"]) == 0 and len(ledger.entries()) == 2


def test_the_command_cleans_what_a_dead_kernel_left_in_a_living_twin(twin, chat_file, capsys):
    client = openai.connect()
    provider, endpoint = openai.place(client)
    # the answers of both calls got lost: the ledger has names, no ids
    with pytest.raises(ConnectionError), ledger.creating("openai-file", "x", provider, endpoint) as entry:
        entry.name = f"train-{entry.key}.jsonl"
        ledger.write_entry(entry)
        file = client.files.create(file=(entry.name, chat_file.read_bytes()), purpose="fine-tune")
        raise ConnectionError
    with pytest.raises(ConnectionError), ledger.creating("openai-job", "perdido", provider, endpoint) as entry:
        job = client.fine_tuning.jobs.create(model="gpt-4.1-mini", training_file=file.id, metadata={"afina": entry.key})
        raise ConnectionError
    ledger.note("openai-file", "nunca", provider, endpoint)
    ledger.note("openai-model", "ido", provider, endpoint, id="ft:gone")
    assert cli.main(["jobs", "clean"]) == 0
    out = capsys.readouterr().out
    assert "perdido: encerrado" in out and "ido: já não existia" in out and "nunca: o envio não chegou lá" in out
    assert client.fine_tuning.jobs.retrieve(job.id).status == "cancelled"
    assert list(client.files.list()) == [] and ledger.entries() == []


def test_a_twin_that_is_open_elsewhere_is_left_alone_and_a_dead_one_forgotten(twin, monkeypatch, capsys):
    _, endpoint = openai.place(openai.connect())
    ledger.note("openai-file", "vivo", "local", endpoint, id="file-1")
    ledger.note("openai-file", "morto", "local", "http://127.0.0.1:9", id="file-2")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert cli.main(["jobs", "clean"]) == 1
    out = capsys.readouterr().out
    assert "morto: o gêmeo já encerrou" in out and "vivo: ficou" in out
    assert [entry.name for entry in ledger.entries()] == ["vivo"]


# --- the house -------------------------------------------------------------------------------------------------------


def test_the_room_imports_nothing_that_stands_on_it():
    for path in (ROOT / "afina" / "jobs").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
            )
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert not any(name.startswith(("afina.teach", "afina.cloud", "afina.serve")) for name in names), path


def test_the_table_of_providers_is_complete():
    for name, service in afina.jobs.PROVIDERS.items():
        assert name == service.name and service.source and service.note
        assert bool(service.base_url) != bool(service.url_variable)
    keys = [service.key_variable for service in afina.jobs.PROVIDERS.values()]
    assert all(a != b for a, b in itertools.combinations(keys, 2))
