"""The OpenAI twin, spoken to by the official client; every response is held to OpenAI's document and the client's types."""

import base64
import csv
import io
import json
import re
import time

import openai
import pytest
from cloud_base import chat_lines, preference_lines, tiny_base
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import FileDeleted, FileObject, Model, ModelDeleted
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from pydantic import TypeAdapter

from afina.chat.checkpoint import load_model
from afina.cloud import local_cloud
from afina.cloud.openai import validator
from afina.cloud.train import read_rows, validation_figures

BASE = "gpt-4.1-mini-2025-04-14"
# method and path -> the document's schema, the client's type (of the items, for a list)
CONTRACTS = [
    ("POST", "/v1/files", "OpenAIFile", FileObject),
    ("GET", "/v1/files", "ListFilesResponse", FileObject),
    ("GET", "/v1/files/[^/]+", "OpenAIFile", FileObject),
    ("DELETE", "/v1/files/[^/]+", "DeleteFileResponse", FileDeleted),
    ("POST", "/v1/fine_tuning/jobs(/[^/]+/(cancel|pause|resume))?", "FineTuningJob", FineTuningJob),
    ("GET", "/v1/fine_tuning/jobs", "ListPaginatedFineTuningJobsResponse", FineTuningJob),
    ("GET", "/v1/fine_tuning/jobs/[^/]+", "FineTuningJob", FineTuningJob),
    ("GET", "/v1/fine_tuning/jobs/[^/]+/events", "ListFineTuningJobEventsResponse", FineTuningJobEvent),
    ("GET", "/v1/fine_tuning/jobs/[^/]+/checkpoints", "ListFineTuningJobCheckpointsResponse", FineTuningJobCheckpoint),
    ("GET", "/v1/models", "ListModelsResponse", Model),
    ("GET", "/v1/models/[^/]+", "Model", Model),
    ("DELETE", "/v1/models/[^/]+", "DeleteModelResponse", ModelDeleted),
    ("POST", "/v1/chat/completions", "CreateChatCompletionResponse", ChatCompletion),
]
checked = set()


def hold_to_contract(response) -> None:
    assert response.headers["x-afina-local"] == "true"
    path, kind = response.request.url.path, response.headers["content-type"]
    if path.endswith("/content") or kind.startswith("text/event-stream"):
        return
    response.read()
    body = response.json()
    if response.status_code >= 400:
        validator("ErrorResponse").validate(body)
        assert set(body["error"]) == {"message", "type", "param", "code"}
        return
    for method, pattern, schema, kind in CONTRACTS:
        if method == response.request.method and re.fullmatch(pattern, path):
            validator(schema).validate(body)
            for item in body.get("data", [body]):
                if item.get("status") != "paused":  # the document has it, the client's type does not
                    TypeAdapter(kind).validate_python(item)
            checked.add(schema)
            return
    raise AssertionError(f"no contract for {response.request.method} {path}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("twin")


@pytest.fixture(scope="module")
def client(folder):
    with local_cloud(folder, base=tiny_base(), show=False):
        hooks = {"response": [hold_to_contract]}
        yield openai.OpenAI(http_client=openai.DefaultHttpxClient(event_hooks=hooks), max_retries=0)


def upload(client, text, name="train.jsonl"):
    return client.files.create(file=(name, text.encode()), purpose="fine-tune")


def finish(client, job, *ends):
    ends = ends or ("succeeded", "failed", "cancelled")
    for _ in range(2400):
        job = client.fine_tuning.jobs.retrieve(job.id)
        if job.status in ends:
            return job
        time.sleep(0.05)
    raise AssertionError(f"still {job.status}")


def table(client, job):
    text = base64.b64decode(client.files.content(job.result_files[0]).read()).decode()
    return list(csv.DictReader(io.StringIO(text)))


def method(kind="supervised", **values):
    return {"type": kind, kind: {"hyperparameters": values}}


@pytest.fixture(scope="module")
def tuned(client):
    train, valid = upload(client, chat_lines(20)), upload(client, chat_lines(4), "valid.jsonl")
    job = client.fine_tuning.jobs.create(
        model="gpt-4.1-mini", training_file=train.id, validation_file=valid.id, suffix="Mouse é", seed=7,
        metadata={"class": "15"}, method=method(n_epochs=4, batch_size=5, learning_rate_multiplier=4.0),
    )  # fmt: skip
    return finish(client, job)


def test_a_supervised_job_trains_and_reports(client, tuned):
    assert tuned.status == "succeeded" and tuned.error is None
    assert re.fullmatch(rf"ft:{BASE}:local:mouse:\w{{8}}", tuned.fine_tuned_model)
    assert tuned.organization_id == "org-local" and tuned.trained_tokens > 100
    assert tuned.method.supervised.hyperparameters.n_epochs == 4
    rows = table(client, tuned)
    assert [int(row["step"]) for row in rows] == list(range(1, 17))
    assert float(rows[-1]["train_loss"]) < 0.9 * float(rows[0]["train_loss"])
    measured = [(int(row["step"]), float(row["valid_loss"])) for row in rows if row["valid_loss"]]
    assert [step for step, _ in measured] == [4, 8, 12, 16] and measured[-1][1] < measured[0][1]
    kept = client.fine_tuning.jobs.checkpoints.list(tuned.id).data
    assert [c.step_number for c in kept] == [16, 12, 8]  # the last three epochs
    assert kept[0].metrics.full_valid_loss == pytest.approx(measured[-1][1])


def test_events_tell_the_story_newest_first_over_pages(client, tuned):
    events = list(client.fine_tuning.jobs.list_events(tuned.id, limit=5))  # the client follows has_more
    texts = [event.message for event in events][::-1]
    assert texts[0] == f"Created fine-tuning job: {tuned.id}" and texts[-1] == "The job has successfully completed"
    assert sum(text.startswith("Step ") for text in texts) == 16 and len({event.id for event in events}) == len(events)
    steps = [event.data["step"] for event in events if event.type == "metrics"]
    assert steps == list(range(16, 0, -1))


def test_the_weights_that_answer_are_those_that_were_trained(client, tuned, folder):
    """The worker measured its PEFT model; the merged one, loaded here as the chat loads it, must measure the same."""
    from transformers import AutoTokenizer

    rows = read_rows(
        folder / "jobs" / tuned.id / "valid.jsonl", "openai-chat", AutoTokenizer.from_pretrained(tiny_base())
    )
    model = load_model(tiny_base(), (str(folder / "jobs" / tuned.id / "step-16"),))
    loss, accuracy = validation_figures(model, AutoTokenizer.from_pretrained(tiny_base()), rows, None)
    metrics = client.fine_tuning.jobs.checkpoints.list(tuned.id).data[0].metrics
    assert metrics.full_valid_loss == pytest.approx(loss, rel=1e-4)
    assert metrics.full_valid_mean_token_accuracy == pytest.approx(accuracy, abs=0.01)


def test_a_tuned_model_answers_as_trained(client, tuned):
    ask = {"messages": [{"role": "user", "content": "mouse 3"}], "temperature": 0, "max_tokens": 30}
    base = client.chat.completions.create(model=BASE, **ask)
    mine = client.chat.completions.create(model=tuned.fine_tuned_model, **ask)
    assert base.model == f"{BASE}:local" and mine.model == tuned.fine_tuned_model
    assert mine.choices[0].message.content != base.choices[0].message.content
    first = client.fine_tuning.jobs.checkpoints.list(tuned.id).data[-1].fine_tuned_model_checkpoint
    assert client.chat.completions.create(model=first, **ask).choices[0].message.content is not None
    again = client.chat.completions.create(model=tuned.fine_tuned_model, **ask)
    assert again.choices[0].message.content == mine.choices[0].message.content


def test_streaming_sends_the_same_text_in_pieces_that_fit_the_schema(client, tuned):
    ask = {"messages": [{"role": "user", "content": "mouse 3"}], "temperature": 0, "max_tokens": 12}
    whole = client.chat.completions.create(model=tuned.fine_tuned_model, **ask)
    options = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(model=tuned.fine_tuned_model, stream=True, stream_options=options, **ask)
    )
    for chunk in chunks:
        body = chunk.model_dump(mode="json", exclude_unset=True)
        validator("CreateChatCompletionStreamResponse").validate(body)
        TypeAdapter(ChatCompletionChunk).validate_python(body)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage and chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason


def test_chat_settings_act(client):
    ask = {"model": BASE, "messages": [{"role": "user", "content": "mouse"}], "max_tokens": 6}
    text = client.chat.completions.create(**ask, temperature=0).choices[0].message.content
    cut = client.chat.completions.create(**ask, temperature=0, stop=[text[2:4]]).choices[0]
    assert cut.message.content == text[: text.index(text[2:4])] and cut.finish_reason == "stop"
    several = client.chat.completions.create(**ask, n=3, seed=1)
    assert len(several.choices) == 3 and several.usage.completion_tokens <= 18
    same = client.chat.completions.create(**ask, n=3, seed=1)
    assert [c.message.content for c in same.choices] == [c.message.content for c in several.choices]
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=BASE, messages=[{"role": "user", "content": "word " * 400}])
    assert error.value.code == "context_length_exceeded"


def test_preferences_lower_their_loss_on_top_of_the_tuned_model(client, tuned):
    file, valid = upload(client, preference_lines(12)), upload(client, preference_lines(3))
    values = method("dpo", n_epochs=3, batch_size=4, beta=0.3, learning_rate_multiplier=4.0)
    job = client.fine_tuning.jobs.create(
        model=tuned.fine_tuned_model, training_file=file.id, validation_file=valid.id, seed=1, method=values
    )
    job = finish(client, job)
    assert job.status == "succeeded", job.error
    rows = table(client, job)
    assert float(rows[0]["train_loss"]) == pytest.approx(0.6931, abs=0.01)  # no preference yet: ln 2
    assert float(rows[-1]["train_loss"]) < 0.6
    assert float([row["valid_loss"] for row in rows if row["valid_loss"]][-1]) < 0.6
    assert job.method.dpo.hyperparameters.beta == 0.3
    ask = {"messages": [{"role": "user", "content": "mouse 3"}], "temperature": 0, "max_tokens": 5}
    assert client.chat.completions.create(model=job.fine_tuned_model, **ask).model == job.fine_tuned_model


def test_the_seed_decides_and_the_rate_acts(client):
    file = upload(client, chat_lines(10))

    def losses(seed, rate=1.0):
        values = method(n_epochs=1, batch_size=4, learning_rate_multiplier=rate)
        job = client.fine_tuning.jobs.create(model=BASE, training_file=file.id, seed=seed, method=values)
        return [row["train_loss"] for row in table(client, finish(client, job))]

    first = losses(3)
    assert losses(3) == first and losses(4) != first and losses(3, 3.0) != first


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (chat_lines(7), "invalid_n_examples", "has 7 example(s), but must have at least 10"),
        (chat_lines(9) + "{not json}\n", "invalid_file_format", "Line 10: the line is not valid JSON"),
        (chat_lines(10).replace('"assistant"', '"asistant"', 1), "invalid_file_format", "Line 1, messages[1].role: invalid role"),
        ("", "invalid_file_format", "the file is empty"),
    ],
)  # fmt: skip
def test_bad_data_ends_in_a_failed_job_with_the_services_error(client, text, code, words):
    job = client.fine_tuning.jobs.create(model=BASE, training_file=upload(client, text).id)
    job = finish(client, job)
    assert (job.status, job.error.code, job.error.param) == ("failed", code, "training_file")
    assert words in job.error.message
    assert client.fine_tuning.jobs.list_events(job.id).data[0].level == "error"


def test_pause_resume_cancel(client):
    file = upload(client, chat_lines(40))
    job = client.fine_tuning.jobs.create(
        model=BASE, training_file=file.id, seed=1, method=method(n_epochs=40, batch_size=1)
    )
    finish(client, job, "running")
    assert client.fine_tuning.jobs.pause(job.id).status == "paused"
    time.sleep(0.5)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "paused"
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    finish(client, job, "running")
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    for change in (client.fine_tuning.jobs.cancel, client.fine_tuning.jobs.pause, client.fine_tuning.jobs.resume):
        with pytest.raises(openai.BadRequestError):
            change(job.id)


def test_files_come_back_as_they_went_and_no_name_reaches_the_disk(client):
    before = len(list(client.files.list()))
    text = 'é"\n' * 50
    file = client.files.create(file=("../../../tmp/x\\..\\evil.jsonl", text.encode()), purpose="fine-tune")
    assert file.filename == "evil.jsonl" and file.bytes == len(text.encode())
    assert client.files.content(file.id).read() == text.encode()
    assert client.files.list(purpose="fine-tune", limit=1).data[0].id == file.id
    short = client.files.create(
        file=("a.txt", b"x"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert short.expires_at == short.created_at + 3600
    for one in (file, short):
        assert client.files.delete(one.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.content(one.id)
    assert len(list(client.files.list(limit=2))) == before
    for change, param in (
        ({"purpose": "evals"}, "purpose"),
        ({"expires_after": {"anchor": "created_at", "seconds": 60}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "created_at"}}, "expires_after"),
    ):
        with pytest.raises(openai.BadRequestError) as error:
            client.files.create(**{"file": ("a.txt", b"x"), "purpose": "user_data"} | change)
        assert error.value.param == param


def test_jobs_are_listed_newest_first_by_metadata_and_page(client, tuned):
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"class": "15"})] == [tuned.id]
    ids = [job.id for job in client.fine_tuning.jobs.list(limit=2)]
    times = [client.fine_tuning.jobs.retrieve(id).created_at for id in ids]
    assert times == sorted(times, reverse=True) and len(set(ids)) == len(ids)


def test_models(client, tuned):
    names = [model.id for model in client.models.list()]
    assert {BASE, "gpt-4.1-mini", tuned.fine_tuned_model} <= set(names) and not any("ckpt" in name for name in names)
    assert client.models.retrieve(BASE).owned_by == "afina-local"
    for name, kind in ((BASE, openai.PermissionDeniedError), ("ft:nope", openai.NotFoundError)):
        with pytest.raises(kind):
            client.models.delete(name)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "banana"}, 400, "model_not_available"),
        ({"model": "gpt-4.1-nano-2025-04-14"}, 400, "model_not_available"),  # retired
        ({"training_file": "file-nope"}, 400, "file_not_found"),
        ({"suffix": "x" * 65}, 400, None),
        ({"seed": -1}, 400, None),
        ({"method": method(n_epochs=51)}, 400, None),
        ({"method": method("dpo", beta=3)}, 400, None),
        ({"method": {"type": "reinforcement", "reinforcement": {"grader": {}}}}, 400, "unsupported_method"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, 400, "integration_not_available"),
        ({"metadata": {"k" * 65: "v"}}, 400, None),
    ],
)
def test_refusals(client, change, status, code):
    file = upload(client, "")
    with pytest.raises(openai.APIStatusError) as error:
        client.fine_tuning.jobs.create(**{"model": BASE, "training_file": file.id, **change})
    assert (error.value.status_code, error.value.code) == (status, code)


def test_every_door_wants_the_key_and_no_answer_shows_it(client):
    key = client.api_key
    stranger = openai.OpenAI(api_key="sk-local-other", max_retries=0)
    for call in (stranger.models.list, stranger.files.list, stranger.fine_tuning.jobs.list):
        with pytest.raises(openai.AuthenticationError) as error:
            call()
        assert key not in str(error.value)
    for path in ("fine_tuning/jobs/ftjob-x/nothing", "files/..%2F..%2Fstate.sqlite", "uploads"):
        with pytest.raises(openai.APIStatusError) as error:
            client.get(path, cast_to=object)
        assert 400 <= error.value.status_code < 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["messages", "stop", "temperature", "top_p", "n", "seed", "max_tokens", "stream", "stream_options", "tools"]
JOB_KEYS = [
    "training_file",
    "hyperparameters",
    "method",
    "suffix",
    "seed",
    "metadata",
    "integrations",
    "validation_file",
]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), JSON),
    st.dictionaries(st.sampled_from(JOB_KEYS), JSON),
    st.binary(max_size=40),
)
def test_bad_requests_get_nothing_but_a_four_hundred(client, chat, job, raw):
    def post(path, body):
        url = str(client.base_url) + path
        headers = {"Authorization": f"Bearer {client.api_key}", "Content-Type": "application/json"}
        return client._client.post(url, content=body, headers=headers).status_code

    assert 400 <= post("chat/completions", json.dumps({"model": "nope", **chat}).encode()) < 500
    assert 400 <= post("chat/completions", json.dumps({"model": BASE, **chat, "messages": "x"}).encode()) < 500
    assert 400 <= post("fine_tuning/jobs", json.dumps({"model": "nope", **job}).encode()) < 500
    assert 400 <= post("fine_tuning/jobs", json.dumps({"model": BASE, "training_file": "nope", **job}).encode()) < 500
    assert 400 <= post("chat/completions", raw) < 500
    assert 400 <= post("files", raw) < 500


@pytest.mark.parametrize(
    "body", ["[" * 900 + "]" * 900, '{"a":' * 5000 + "1" + "}" * 5000, "NaN", '{"n": 1e999}', '"\\ud800"']
)
def test_json_that_is_none_is_refused(client, body):
    headers = {"Authorization": f"Bearer {client.api_key}", "Content-Type": "application/json"}
    for path in ("chat/completions", "fine_tuning/jobs"):
        assert client._client.post(str(client.base_url) + path, content=body, headers=headers).status_code == 400


def test_a_rate_that_blows_up_fails_the_job_and_says_so(client):
    file = upload(client, chat_lines(10))
    values = method(n_epochs=4, batch_size=2, learning_rate_multiplier=1e30)
    job = finish(client, client.fine_tuning.jobs.create(model=BASE, training_file=file.id, method=values))
    assert (job.status, job.error.code) == ("failed", "training_diverged")


def test_every_kind_of_response_was_held_to_its_contract(client, tuned):
    """Last: a model is deleted, and nothing that the twin answers went by unchecked."""
    assert client.models.delete(tuned.fine_tuned_model).deleted
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(tuned.fine_tuned_model)
    assert checked == {schema for _, _, schema, _ in CONTRACTS}
