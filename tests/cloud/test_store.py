"""The twin's memory: order, transactions, several threads and processes."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from afina.cloud.store import Store, new_id, now


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "state")
    yield store
    store.close()


def test_documents_come_in_the_order_of_arrival_by_kind_and_parent(store):
    for id, parent in (("b", "x"), ("a", "y"), ("c", "x")):
        assert store.add("event", id, {"id": id}, parent=parent) == {"id": id}
    store.add("job", "a", {"id": "job"})
    assert [one["id"] for one in store.all("event")] == ["b", "a", "c"]
    assert [one["id"] for one in store.all("event", "x")] == ["b", "c"] and store.get("job", "a") == {"id": "job"}
    assert store.get("event", "z") is None and store.all("nothing") == []
    assert store.delete("event", "a") and not store.delete("event", "a")
    with pytest.raises(sqlite3.IntegrityError):
        store.add("event", "b", {})


def test_a_change_is_whole_or_not_at_all(store):
    store.add("job", "a", {"n": 1})
    with pytest.raises(ZeroDivisionError), store.edit("job", "a") as job:
        job["n"] = 2
        store.add("event", "e", {}, parent="a")  # part of the same transaction
        raise ZeroDivisionError
    assert store.get("job", "a") == {"n": 1} and store.all("event") == []
    with store.edit("job", "a") as job:
        job["n"] = 3
    assert job == {"n": 3} == store.get("job", "a")
    with pytest.raises(KeyError), store.edit("job", "z"):
        pass


def test_no_change_is_lost_between_threads_and_processes(store):
    store.add("job", "a", {"n": 0})

    def count(_):
        with store.edit("job", "a") as job:
            job["n"] += 1

    code = (
        "import sys; from pathlib import Path; from afina.cloud.store import Store; store = Store(Path(sys.argv[1]))\n"
        "for _ in range(50):\n    with store.edit('job', 'a') as job: job['n'] += 1"
    )
    others = [subprocess.Popen([sys.executable, "-c", code, str(store.folder)]) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(100)))
    assert [other.wait(60) for other in others] == [0, 0] and store.get("job", "a") == {"n": 200}


def test_ids_and_times():
    assert len({new_id("x-", 12, "ab") for _ in range(99)}) > 90 and set(new_id("", 50, "ab")) == {"a", "b"}
    assert new_id("file-").startswith("file-") and len(new_id("file-")) == 29 and isinstance(now(), int)
