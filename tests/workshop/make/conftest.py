"""The committed files of data/, read once a module."""

import gzip
import json

import pytest
from course_data import DATA, jsonl


@pytest.fixture(scope="module")
def clubs():
    return json.loads((DATA / "clubes.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def reviews():
    return jsonl("reviews.jsonl.gz")


@pytest.fixture(scope="module")
def messages():
    return jsonl("messages.jsonl.gz")


@pytest.fixture(scope="module")
def prose():
    return {
        part: gzip.decompress((DATA / f"prose_{part}.txt.gz").read_bytes()).decode().removesuffix("\n\n").split("\n\n")
        for part in ("train", "validation")
    }
