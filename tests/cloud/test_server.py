"""The process of the twins: what it loads, what a kill leaves, and a crowd at the door."""

import http.client
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import openai
import psutil
import pytest
from cloud_base import chat_lines, tiny_base

from afina.cloud import local_cloud
from afina.cloud.server import Twin

BASE = "gpt-4.1-mini"


def settings(**values):
    return {"type": "supervised", "supervised": {"hyperparameters": values}}


def wait_for(what, seconds=120.0):
    """Until `what()` is true; an assertion where it never is."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_serving_loads_no_torch():
    code = (
        "import sys, afina.cloud.server, afina.cloud.bedrock\n"
        "print(sorted({'torch', 'transformers', 'peft', 'trl', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_wind_down_can_be_switched_on(monkeypatch):
    def refused():
        client = openai.OpenAI(max_retries=0)
        file = client.files.create(file=("t.jsonl", chat_lines(10).encode()), purpose="fine-tune")
        with pytest.raises(openai.PermissionDeniedError) as error:
            client.fine_tuning.jobs.create(model=BASE, training_file=file.id)
        assert error.value.code == "training_not_available"
        assert client.files.delete(file.id).deleted

    with local_cloud(base=tiny_base(), training_not_available=True, show=False):
        refused()
    monkeypatch.setenv("AFINA_CLOUD_TRAINING_NOT_AVAILABLE", "1")
    with local_cloud(base=tiny_base(), show=False) as cloud:
        refused()
        address = urlsplit(cloud.url)
        wire = http.client.HTTPConnection(address.hostname, address.port)  # a body too large is refused by its length
        wire.putrequest("POST", "/v1/files")
        wire.putheader("Authorization", f"Bearer {os.environ['OPENAI_API_KEY']}")
        wire.putheader("Content-Type", "multipart/form-data; boundary=x")
        wire.putheader("Content-Length", str(1 << 30))
        wire.endheaders()
        assert wire.getresponse().status == 413
        wire.close()


def test_two_hundred_at_once_get_answers_and_lose_no_file():
    with local_cloud(base=tiny_base(), show=False):
        client = openai.OpenAI(max_retries=0, timeout=300)

        def one(number: int):
            if number % 2:
                ask = [{"role": "user", "content": f"mouse {number}"}]
                answer = client.chat.completions.create(model=BASE, messages=ask, max_tokens=5, temperature=0)
                return answer.choices[0].message.content
            text = f"file {number}\n" * 100
            file = client.files.create(file=(f"{number}.jsonl", text.encode()), purpose="fine-tune")
            return client.files.content(file.id).read() == text.encode()

        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(one, range(200)))
        assert all(answer is True for answer in answers[::2]) and all(isinstance(a, str) for a in answers[1::2])
        assert {file.filename for file in client.files.list()} == {f"{n}.jsonl" for n in range(0, 200, 2)}


def test_twenty_jobs_two_cancelled_and_a_kill_in_the_middle(tmp_path):
    """The jobs run in order; kill -9 of the serving process in the first one loses nothing: it goes on where it was."""
    long = settings(n_epochs=4, batch_size=1)
    short = settings(n_epochs=1, batch_size=10)
    with local_cloud(tmp_path, base=tiny_base(), show=False) as cloud:
        client = openai.OpenAI(max_retries=0)
        file = client.files.create(file=("t.jsonl", chat_lines(10).encode()), purpose="fine-tune").id
        create = client.fine_tuning.jobs.create
        jobs = [
            create(model=BASE, training_file=file, seed=5, suffix=f"n{n}", method=long if n in (0, 19) else short).id
            for n in range(20)
        ]
        for n in (4, 11):
            assert client.fine_tuning.jobs.cancel(jobs[n]).status == "cancelled"
        wait_for(lambda: client.fine_tuning.jobs.retrieve(jobs[0]).status == "running")
        wait_for(lambda: any((tmp_path / "jobs" / jobs[0]).glob("resume/checkpoint-*/trainer_state.json")))
        children = psutil.Process(cloud.process.pid).children()
        cloud.process.kill()
        cloud.process.wait()
        wait_for(lambda: all(gone(child.pid) for child in children), 20)  # the worker ends with it
    with local_cloud(tmp_path, base=tiny_base(), show=False):
        client = openai.OpenAI(max_retries=0)
        unfinished = ("validating_files", "queued", "running")
        wait_for(lambda: not any(job.status in unfinished for job in client.fine_tuning.jobs.list(limit=20).data), 240)
        ends = [client.fine_tuning.jobs.retrieve(id).status for id in jobs]
        assert ends == ["cancelled" if n in (4, 11) else "succeeded" for n in range(20)]
        names = [model.id.split(":")[3] for model in client.models.list() if model.id.startswith("ft:")]
        assert names == [f"n{n}" for n in range(20) if n not in (4, 11)]  # finished in the order of creation
        texts = [event.message for event in client.fine_tuning.jobs.list_events(jobs[0], limit=100)]
        assert any("resumed after step" in text for text in texts)
        assert sum(text.startswith("Step ") for text in texts) == 40  # none lost, none told twice

        def result(id):
            return client.files.content(client.fine_tuning.jobs.retrieve(id).result_files[0]).read()

        assert result(jobs[0]) == result(jobs[19])  # the same job, never interrupted


def test_a_job_that_kills_its_worker_three_times_is_failed(tmp_path, monkeypatch):
    twin = Twin(tmp_path, tiny_base())
    body = {"id": "ftjob-x", "service": "openai", "status": "running", "starts": 3}
    twin.store.add("job", "ftjob-x", body)
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: None)
    twin._look()
    job = twin.store.get("job", "ftjob-x")
    assert job["status"] == "failed" and job["error"]["code"] == "server_error"
    assert [event["level"] for event in twin.store.all("event", "ftjob-x")] == ["error"]
    twin.store.close()


def test_the_supervisor_and_a_request_meet_the_same_aws(tmp_path, monkeypatch):
    """After a restart both ask at once; two would replay the buckets twice."""

    class Slow:
        def __init__(self, twin):
            time.sleep(0.2)

    monkeypatch.setattr("afina.cloud.aws.Aws", Slow)
    twin = Twin(tmp_path, tiny_base())
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: twin.aws, range(4)))) == 1
    twin.store.close()
