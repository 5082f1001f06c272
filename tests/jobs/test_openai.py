"""The verbs at OpenAI's twin with the official client, and at services that must not be paid by accident."""

import pickle
from types import SimpleNamespace

import openai as official
import pytest
from cloud_base import chat_lines, tiny_base
from jobs_base import held_out, raises

import afina.jobs
from afina.cloud import local_cloud
from afina.errors import NetworkBlocked
from afina.jobs import JobEnded, ledger, openai
from afina.jsonl import dpo_example, write_jsonl


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
