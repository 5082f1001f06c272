"""Without the [cluster] extra: the cluster's road is found by its entry point, and what is missing is said in one sentence."""

import os
import sys
import tomllib
from functools import partial

import pytest

from afina.data.account import REASONS
from afina.data.prep import prep
from afina.errors import CourseError
from afina.runtime import course_root
from afina.scale.prep import ray_road


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


def test_the_column_of_the_account_never_meets_a_reason_of_the_engine():
    assert {"read", "kept", "broken line"}.isdisjoint(REASONS)
