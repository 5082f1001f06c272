"""`afina jobs`: prices and doubts listed, what a dead kernel left cleaned, what is open elsewhere left alone."""

import pytest

from afina import cli
from afina.jobs import ledger, openai


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
