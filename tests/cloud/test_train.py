"""The training process: rows of every format, settings, whose a job is, and that it ends whole or not at all."""

import json
import time
from types import SimpleNamespace

import pytest
from cloud_base import converse_lines, tiny_base

import afina.cloud.engine
from afina.cloud import local_cloud, train
from afina.cloud.store import Store
from afina.cloud.train import Gone, JobRun, claim, decide_hyperparameters, read_rows
from afina.errors import CourseError
from afina.jobs import bedrock

BASE = "gpt-4.1-mini"


def wait_for(what, seconds=120.0):
    """Until `what()` is true; an assertion where it never is."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


class Tokenizer:
    """A chat form that shows roles and texts."""

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        assert add_generation_prompt and not tokenize
        return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"


def rows_of(tmp_path, form, *rows):
    file = tmp_path / "rows.jsonl"
    file.write_text("\ufeff" + "\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return read_rows(file, form, Tokenizer())


def test_an_answer_that_counts_is_a_row(tmp_path):
    messages = [
        {"role": "developer", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0},
        {"role": "user", "content": "r"}, {"role": "assistant", "content": None, "tool_calls": [{"id": "é"}]},
    ]  # fmt: skip
    assert rows_of(tmp_path, "openai-chat", {"messages": messages}) == [
        {"prompt": "<system>s<user>q<assistant>a<user>r<assistant>", "completion": '[{"id": "é"}]'}
    ]


def test_rows_of_bedrock(tmp_path):
    row = json.loads(converse_lines(1))
    (found,) = rows_of(tmp_path, "bedrock-conversation", row)
    assert found["prompt"] == "<system>product<user>mouse 0<assistant>"
    assert rows_of(tmp_path, "bedrock-completion", {"prompt": "p", "completion": "c"}) == [
        {"prompt": "<user>p<assistant>", "completion": "c"}
    ]


def test_a_preference_is_a_pair(tmp_path):
    row = {
        "input": {"messages": [{"role": "user", "content": "q"}]},
        "preferred_output": [{"role": "assistant", "content": "good"}],
        "non_preferred_output": [{"role": "assistant", "content": "bad"}],
    }
    expected = {"prompt": "<user>q<assistant>", "chosen": "good", "rejected": "bad"}
    assert rows_of(tmp_path, "openai-dpo", row, row) == [expected] * 2


def test_pictures_are_refused(tmp_path):
    message = {"role": "user", "content": [{"image": {}}]}
    with pytest.raises(CourseError, match="text only"):
        rows_of(tmp_path, "bedrock-conversation", {"messages": [message, {"role": "assistant", "content": "a"}]})


def test_every_auto_is_decided():
    auto = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    assert decide_hyperparameters({"method": "supervised", "hyperparameters": auto}, 90) == {
        "n_epochs": 3, "batch_size": 6, "learning_rate_multiplier": train.AUTO_SFT,
    }  # fmt: skip
    found = decide_hyperparameters({"method": "dpo", "hyperparameters": auto | {"beta": "auto", "n_epochs": 7}}, 4)
    assert found == {"n_epochs": 7, "batch_size": 1, "learning_rate_multiplier": train.AUTO_DPO, "beta": 0.1}


def test_the_oldest_job_that_waits_is_claimed_by_one(tmp_path):
    store = Store(tmp_path)
    for id, status in (("done", "succeeded"), ("dead", "running"), ("next", "queued")):
        store.add("job", id, {"id": id, "status": status})
    assert claim(store, "me")["id"] == "dead" and store.get("job", "dead") | {"owner": "me", "starts": 1} == store.get(
        "job", "dead"
    )
    run = JobRun(store, tmp_path, store.get("job", "dead"), "me")
    with run.mine() as job:
        job["step"] = 3
    assert not run.should_stop() and run.job["step"] == 3 == store.get("job", "dead")["step"]
    assert claim(store, "another start")["starts"] == 2 and run.should_stop()
    with pytest.raises(Gone), run.mine():
        pass
    for id in ("dead", "next"):
        with store.edit("job", id) as job:
            job["status"] = "failed"
    assert claim(store, "me") is None
    store.close()


def test_the_old_name_still_trains():
    assert afina.cloud.engine.read_rows is read_rows and afina.cloud.engine.main is train.main
    assert afina.cloud.engine.Run is JobRun


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_job_ends_whole_or_not_at_all(tmp_path, cancelled):
    """Cancelled in the last moment, it leaves neither a model nor a result file; else all of it is there at once."""
    store = Store(tmp_path)
    (tmp_path / "files").mkdir()
    job = {
        "id": "ftjob-x", "service": "openai", "status": "running", "owner": "me", "family": BASE, "layers": [],
        "new_model": "ft:x", "hyperparameters": {"n_epochs": 1}, "method": "supervised",
    }  # fmt: skip
    store.add("job", "ftjob-x", job)
    run = JobRun(store, tiny_base(), job, "me")
    run.beta = None
    row = {"step": 1, "loss": 1.0, "epoch": 1.0, "mean_token_accuracy": 0.5}
    trained = SimpleNamespace(history=[row], steps=1, prepared=SimpleNamespace(tokens=7))
    if cancelled:
        with store.edit("job", "ftjob-x") as found:
            found["status"] = "cancelled"
        with pytest.raises(Gone):
            run.finish(trained)
    else:
        run.finish(trained)
    kept = [len(store.all(kind)) for kind in ("model", "file", "event")]
    assert kept == ([0, 0, 0] if cancelled else [1, 1, 2]) and len(list((tmp_path / "files").iterdir())) == kept[1]
    assert store.get("job", "ftjob-x")["status"] == ("cancelled" if cancelled else "succeeded")
    store.close()


def test_a_bedrock_job_outlives_a_kill(tmp_path, monkeypatch):
    """kill -9 while it trains: started again, the twin finishes it, and its metrics find their bucket."""
    monkeypatch.setenv("AFINA_LEDGER", str(tmp_path / "ledger"))
    file, state = tmp_path / "train.jsonl", tmp_path / "state"
    file.write_text(converse_lines(10), encoding="utf-8")
    with local_cloud(state, base=tiny_base(), show=False) as cloud:
        aws = bedrock.connect()
        bucket = bedrock.make_bucket(aws, "afina-kill")
        role = bedrock.make_role(aws, "afina-kill", bucket)
        model = "amazon.nova-micro-v1:0:128k"
        job = bedrock.submit(aws, file, model=model, name="k", bucket=bucket, role=role, epochCount=5)
        folder = state / "jobs" / job.rsplit("/", 1)[1]
        wait_for(lambda: any(folder.glob("resume/checkpoint-*/trainer_state.json")))
        cloud.process.kill()
        cloud.process.wait()
    with local_cloud(state, base=tiny_base(), show=False):
        aws = bedrock.connect()
        assert bedrock.watch(aws, job, deadline=240, show=False)["status"] == "Completed"
        assert list(bedrock.metrics(aws, job)["step_number"]) == list(range(50))
