"""Without the [cluster] extra: the cluster's road is found by its entry point, and what is missing is said in one sentence."""

import os
import sys
import tomllib
from functools import partial

import pytest

from afina.data.account import REASONS
from afina.data.prep import prep
from afina.data.split import SHARES
from afina.errors import CourseError
from afina.runtime import course_root
from afina.scale.prep import _account, _clean_range, _Range, ray_road


def test_the_entry_point_names_the_road():
    """As pyproject.toml writes it: an installation made before it does not know it yet."""
    project = tomllib.loads((course_root() / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["afina.roads"] == {"ray": f"{ray_road.__module__}:{ray_road.__name__}"}


@pytest.mark.parametrize("missing", ["daft", "ray"])
def test_what_is_missing_is_named_and_nothing_is_left(tmp_path, monkeypatch, missing):
    source = tmp_path / "a.json"
    source.write_bytes(b'{"uid": "1", "title": "a", "content": "b"}\n')
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name in ("daft", "ray"):
        monkeypatch.setitem(sys.modules, name, None if name == missing else object())
    with pytest.raises(CourseError, match=rf"falta {missing} para usar um cluster.*afina\[cluster\]"):
        prep(source, tmp_path / "out", road=partial(ray_road, "auto"), progress=False)
    assert list(tmp_path.iterdir()) == [source]


def test_a_worker_gives_rows_and_one_account_for_each_range(tmp_path):
    """What travels between machines, made and read here: rows have keys, accounts have none, and lines count on within a file."""
    path = tmp_path / "a.json"
    lines = b'{"uid": "1", "title": "a", "content": "b"}\n{\n', b'\n{"uid": "2", "title": "c", "content": ""}\n[]\n'
    path.write_bytes(b"".join(lines))
    ranges = [_Range(path, path, 0, len(lines[0]), 0), _Range(path, path, len(lines[0]), len(lines[1]), 0)]
    made = [row for place in enumerate(ranges) for row in _clean_range(*place, SHARES, near=False).to_pylist()]
    rows, entries = ([row for row in made if (row["key"] is None) is empty] for empty in (False, True))
    assert [(row["place"], row["row"]) for row in rows] == [
        (1, lines[0].splitlines()[0].replace(b": ", b":").replace(b", ", b","))
    ]
    account, kept = _account(entries, ranges, {path: "o gzip foi cortado antes do fim"})
    assert (account.read, kept) == (5, 1)
    assert account.dropped == {"broken": 2, "blank": 1, "empty_content": 1} and set(account.dropped) <= set(REASONS)
    assert [broken.line for broken in account.broken] == [2, 5]
    assert "depois da linha 5" in account.damaged[0]
