"""A small dirty catalogue, and no progress bars."""

import gzip

import pytest
from catalogue import joined

from afina.data.synthetic import catalogue_lines


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("AFINA_PROGRESS", "0")


@pytest.fixture(scope="module")
def lines():
    return list(catalogue_lines(4_000, seed=7))


@pytest.fixture
def source(tmp_path, lines):
    path = tmp_path / "trn.json.gz"
    path.write_bytes(gzip.compress(joined(lines), 1))
    return path
