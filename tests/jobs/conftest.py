"""Twins, files and a ledger of its own for each test of the jobs."""

import json

import pytest
from cloud_base import chat_lines, tiny_base

from afina.cloud import local_cloud
from afina.jsonl import write_jsonl


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


@pytest.fixture
def no_twin(monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
