"""What happens to a job before it trains, and to a model after it."""

import pytest
from cloud_base import chat_lines, converse_lines

from afina.cloud.intake import add_file, check_job, fail, forget_model, job_event, job_folder, parse_json
from afina.cloud.store import Store


class Twin:
    """A store, and one file on each side."""

    def __init__(self, folder, content):
        self.store, self.content = Store(folder), content
        self.openai = self.aws = self

    def content_of(self, name):
        return self.content.get(name)


def job(**change):
    return {
        "id": "j", "service": "openai", "status": "validating_files", "format": "openai-chat",
        "family": "gpt-4.1-mini-2025-04-14", "training_file": "train", "validation_file": None, "layers": [],
    } | change  # fmt: skip


@pytest.mark.parametrize(
    ("content", "change", "code", "words"),
    [
        (chat_lines(10), {}, None, ""),
        (chat_lines(7), {}, "invalid_n_examples", "Training file has 7 example(s), but must have at least 10"),
        (chat_lines(9) + "{x\n", {}, "invalid_file_format", "Line 10: the line is not valid JSON."),
        ("", {}, "invalid_file_format", "the file is empty"),
        (chat_lines(10), {"validation_file": "gone"}, "file_not_found", "gone does not exist (NoSuchKey)"),
        (
            converse_lines(8),
            {"service": "bedrock", "family": "amazon.nova-micro-v1:0:128k", "format": "bedrock-conversation"},
            None,
            "",
        ),
        (
            chat_lines(9).replace("assistant", "user", 1),
            {"service": "bedrock", "family": "amazon.nova-micro-v1:0:128k", "format": "bedrock-conversation"},
            "invalid_file_format",
            "problems in all",
        ),
    ],
)
def test_a_job_is_queued_or_failed(tmp_path, content, change, code, words):
    twin = Twin(tmp_path, {"train": content.encode()})
    one = twin.store.add("job", "j", job(**change))
    check_job(twin, one)
    found, events = twin.store.get("job", "j"), twin.store.all("event", "j")
    assert found["status"] == ("failed" if code else "queued") and len(events) == 1
    if code:
        assert found["error"]["code"] == code and words in found["error"]["message"]
        assert found["failed_in"] == "validating_files" and events[0]["message"] == found["error"]["message"]
    else:
        assert (job_folder(twin.store, "j") / "train.jsonl").read_text(encoding="utf-8") == content
    twin.store.close()


def test_a_job_cancelled_meanwhile_stays_so(tmp_path):
    twin = Twin(tmp_path, {"train": chat_lines(10).encode()})
    one = twin.store.add("job", "j", job())
    with twin.store.edit("job", "j") as found:
        found["status"] = "cancelled"
    check_job(twin, one)
    fail(twin.store, "j", "server_error", "too late")
    assert twin.store.get("job", "j")["status"] == "cancelled" and twin.store.all("event", "j") == []
    twin.store.close()


def test_a_model_may_go_before_the_twin_forgets_it(tmp_path):
    """A student deletes a checkpoint of a job that still trains: making the next ones must not fail on it."""
    store = Store(tmp_path)
    store.add("model", "ft:x:ckpt-step-1", {"id": "ft:x:ckpt-step-1", "layers": []})
    forget_model(store, "ft:x:ckpt-step-1")
    forget_model(store, "ft:x:ckpt-step-1")
    assert store.all("model") == []
    store.close()


@pytest.mark.parametrize("kind", ["model", "custom_model", "job", None])
def test_an_adapter_goes_with_the_last_that_stands_on_it(tmp_path, kind):
    store, folder = Store(tmp_path), tmp_path / "step-1"
    folder.mkdir()
    (folder / "adapter.safetensors").write_bytes(b"x")
    store.add("model", "old", {"layers": [str(folder)]})
    if kind:
        store.add(kind, "new", {"layers": [str(folder)], "status": "paused"})
    forget_model(store, "old")
    assert folder.exists() == bool(kind)
    store.close()


def test_events_and_files(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "files").mkdir()
    job_event(store, "j", "hello")
    job_event(store, "j", "step", data={"loss": 1.0})
    assert [(event["type"], event["level"], event["data"]) for event in store.all("event", "j")] == [
        ("message", "info", {}),
        ("metrics", "info", {"loss": 1.0}),
    ]
    file = add_file(store, "a.csv", "fine-tune-results", b"123")
    assert file == store.get("file", file["id"]) and file["bytes"] == 3
    assert (tmp_path / "files" / file["id"]).read_bytes() == b"123"
    store.close()


def test_only_an_object_of_json_is_a_body():
    assert parse_json('{"é": [1, null]}'.encode(), KeyError()) == {"é": [1, None]}
    for body in (
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b"[" * 9999 + b"]" * 9999,
    ):
        with pytest.raises(KeyError, match="no object"):
            parse_json(body, KeyError("no object"))
