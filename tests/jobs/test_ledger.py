"""The ledger: noted before the call, whole, in the order of removal, without a key."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs_base import raises

from afina import whole
from afina.cli import main
from afina.jobs import bedrock, ledger, openai
from afina.jobs.cleaning import clean_ledger
from afina.prices import IDLE
from afina.runtime import course_root


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
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=os.environ | more, cwd=course_root())


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
    assert [entry.kind for entry in ledger.entries()] == list(ledger.KINDS) == list(IDLE)


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
    assert clean_ledger(ledger.entries(), show=False) == []


def test_a_damaged_entry_is_named():
    good = ledger.note("iam-role", "r", "local", "http://127.0.0.1:9")
    for text in ("{", "[]", "{}", json.dumps(vars(good) | {"kind": "banana"})):
        (ledger.folder() / "1-x.json").write_text(text, encoding="utf-8")
        assert "1-x.json" in str(raises("estragada", ledger.entries))


@pytest.mark.parametrize(
    "change",
    [
        {"usd_per_hour": "caro"},
        {"noted_at": "ontem"},
        {"noted_at": 1e99},
        {"noted_at": 10**30},
        {"name": 5},
        {"kind": []},
    ],
)
def test_an_entry_with_a_wrong_type_is_damaged(change):
    good = ledger.note("iam-role", "r", "local", "http://127.0.0.1:9")
    (ledger.folder() / "1-x.json").write_text(json.dumps(vars(good) | change), encoding="utf-8")
    assert "1-x.json" in str(raises("estragada", ledger.entries))


def test_only_regular_files_are_entries():
    entry = ledger.note("iam-role", "r", "local", "http://127.0.0.1:9")
    (ledger.folder() / "1-folder.json").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(ledger.folder() / "1-fifo.json")  # to open it would wait for ever
    assert ledger.entries() == [entry]


@pytest.mark.parametrize("kind", ["file", "loop", "locked"])
def test_a_ledger_that_cannot_be_read_is_not_empty(kind, monkeypatch, tmp_path, capsys):
    path = tmp_path / "livro"
    monkeypatch.setenv("AFINA_LEDGER", str(path))
    assert ledger.entries() == []
    if kind == "file":
        path.write_text("", encoding="utf-8")
    elif kind == "loop":
        path.symlink_to(path)
    else:  # permissions do not stop an administrator
        monkeypatch.setattr(ledger.os, "scandir", lambda path: (_ for _ in ()).throw(PermissionError(13, "negado")))
    for verb in ("list", "clean"):
        assert main(["jobs", verb]) == 2
        out, err = capsys.readouterr()
        assert out == "" and str(path) in err and "não pude ler o livro" in err


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
    (ledger.folder() / f".afina-{whole._room()}-{os.getpid()}-0123abcd.{done.name}").write_text("{", encoding="utf-8")
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
