"""The Bedrock twin, spoken to by boto3, which checks requests itself and parses every response by botocore's shapes.

The twin holds each of its responses to those shapes before it is sent, and answers 500 to a breach: so does every call here.
"""

import json
import os
import re
import time
from urllib.parse import quote

import boto3
import pytest
from bedrock_base import BASE, BUCKET, Cloud, code_of
from botocore.exceptions import ClientError
from cloud_base import converse_lines, tiny_base
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.cloud import local_cloud
from afina.cloud.bedrock import Bedrock
from afina.cloud.store import Store

ASK = [{"role": "user", "content": [{"text": "mouse 3"}]}]


@pytest.fixture(scope="module")
def cloud():
    with local_cloud(base=tiny_base(), show=False):
        yield Cloud()


@pytest.fixture(scope="module")
def trained(cloud):
    check = {"validators": [{"s3Uri": f"s3://{BUCKET}/data/valid.jsonl"}]}
    arn = cloud.create("whole", validationDataConfig=check, clientRequestToken="once")
    assert cloud.create("whole", validationDataConfig=check, clientRequestToken="once") == arn  # idempotent
    job, phases = cloud.finish(arn)
    return job | {"phases": phases}


def wait_ready(get, status):
    for _ in range(200):
        if get()["status"] == status:
            return
        assert get()["status"] in ("Creating", status)
        time.sleep(0.05)
    raise AssertionError("never ready")


def test_a_job_goes_through_its_phases_and_leaves_metrics_in_s3(cloud, trained):
    assert trained["status"] == "Completed", trained.get("failureMessage")
    assert re.fullmatch(
        rf"arn:aws:bedrock:us-east-1:\d{{12}}:model-customization-job/{BASE}/[a-z0-9]{{12}}", trained["jobArn"]
    )
    assert trained["phases"][-1] == ("Completed",) * 3
    order = ["NotStarted", "InProgress", "Completed"]
    for phases in trained["phases"]:  # each phase starts only when the one before it has ended
        places = [order.index(status) for status in phases]
        assert places == sorted(places, reverse=True)
    short = trained["jobArn"].rsplit("/", 1)[1]
    found = cloud.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"out/model-customization-job-{short}/")["Contents"]
    texts = {
        one["Key"].rsplit("/", 1)[1]: cloud.s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in found
    }
    lines = texts["step_wise_training_metrics.csv"].decode().splitlines()
    assert lines[0] == "step_number,epoch_number,training_loss,perplexity" and len(lines) == 21
    assert float(lines[-1].split(",")[2]) == pytest.approx(trained["trainingMetrics"]["trainingLoss"])
    assert [line.split(",")[1] for line in lines[1:]] == ["0"] * 10 + ["1"] * 10
    assert len(texts["validation_metrics.csv"].decode().splitlines()) == 3


def test_the_model_is_found_by_name_and_arn(cloud, trained):
    model = cloud.bedrock.get_custom_model(modelIdentifier=trained["outputModelArn"])
    assert model["modelName"] == "model-whole" and model["jobArn"] == trained["jobArn"]
    assert cloud.bedrock.get_custom_model(modelIdentifier="model-whole")["modelArn"] == model["modelArn"]
    names = [one["modelName"] for one in cloud.bedrock.list_custom_models(nameContains="whole")["modelSummaries"]]
    assert names == ["model-whole"]
    by_name = cloud.bedrock.get_model_customization_job(jobIdentifier="job-whole")
    assert by_name["jobArn"] == trained["jobArn"]


def test_deploy_converse_stream_invoke_and_clean_up(cloud, trained):
    model = trained["outputModelArn"]
    arn = cloud.bedrock.create_custom_model_deployment(modelDeploymentName="d", modelArn=model)[
        "customModelDeploymentArn"
    ]
    wait_ready(lambda: cloud.bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=arn), "Active")
    still = {"maxTokens": 8, "temperature": 0}
    mine = cloud.runtime.converse(modelId=arn, messages=ASK, inferenceConfig=still)
    base = cloud.runtime.converse(modelId="us.amazon.nova-micro-v1:0", messages=ASK, inferenceConfig=still)
    assert mine["output"] != base["output"] and mine["usage"]["outputTokens"] <= 8
    assert mine["ResponseMetadata"]["HTTPHeaders"]["x-afina-local"] == "true"
    events = list(cloud.runtime.converse_stream(modelId=arn, messages=ASK, inferenceConfig=still)["stream"])
    text = "".join(event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event)
    assert text == mine["output"]["message"]["content"][0]["text"]
    assert events[-1]["metadata"]["usage"] == mine["usage"]
    body = json.dumps({"messages": ASK, "inferenceConfig": {"max_new_tokens": 8, "temperature": 0}})
    answer = json.loads(cloud.runtime.invoke_model(modelId=arn, body=body)["body"].read())
    assert answer["output"] == mine["output"]
    assert code_of(cloud.bedrock.delete_custom_model, modelIdentifier=model) == ("ConflictException", 400)
    cloud.bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier=arn)
    assert code_of(cloud.runtime.converse, modelId=arn, messages=ASK) == ("ValidationException", 400)
    assert not cloud.bedrock.list_custom_model_deployments()["modelDeploymentSummaries"]


def test_provisioned_throughput_serves_and_a_commitment_holds(cloud, trained):
    make = cloud.bedrock.create_provisioned_model_throughput
    model = trained["outputModelArn"]
    arn = make(modelUnits=1, provisionedModelName="hourly", modelId=model)["provisionedModelArn"]
    wait_ready(lambda: cloud.bedrock.get_provisioned_model_throughput(provisionedModelId=arn), "InService")
    assert cloud.runtime.converse(modelId=arn, messages=ASK, inferenceConfig={"maxTokens": 3})["output"]
    assert len(cloud.bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"]) == 1
    assert code_of(cloud.bedrock.delete_custom_model, modelIdentifier=model)[0] == "ConflictException"
    cloud.bedrock.delete_provisioned_model_throughput(provisionedModelId=arn)
    kept = make(modelUnits=1, provisionedModelName="m", modelId=model, commitmentDuration="OneMonth")[
        "provisionedModelArn"
    ]
    assert code_of(cloud.bedrock.delete_provisioned_model_throughput, provisionedModelId=kept)[0] == "ConflictException"


def test_who_may_do_what_is_really_read(cloud):
    account = cloud.sts.get_caller_identity()["Account"]
    other = {"StringEquals": {"aws:SourceAccount": "999999999999"}}
    every = ["s3:*"]
    for name, service, actions, condition, words in (
        ("lambda-only", "lambda.amazonaws.com", every, None, "assume"),
        ("other-account", "bedrock.amazonaws.com", every, other, "assume"),
        ("read-only", "bedrock.amazonaws.com", ["s3:GetObject", "s3:ListBucket"], None, "PutObject"),
    ):
        role = cloud.make_role(name, service, actions, condition)
        with pytest.raises(ClientError, match=words):
            cloud.create(name, roleArn=role)
    with pytest.raises(ClientError, match="assume"):
        cloud.create("nobody", roleArn=f"arn:aws:iam::{account}:role/nobody")
    with pytest.raises(ClientError, match="does not exist"):
        cloud.create("nowhere", trainingDataConfig={"s3Uri": "s3://nowhere-at-all/x.jsonl"})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"jobName": "bad name!"}, "ValidationException"),
        ({"customModelName": "x" * 64}, "ValidationException"),
        ({"hyperParameters": {"epochCount": "50"}}, "ValidationException"),
        ({"hyperParameters": {"banana": "1"}}, "ValidationException"),
        ({"hyperParameters": {"learningRate": "nan"}}, "ValidationException"),
        ({"baseModelIdentifier": "amazon.titan-text-express-v1"}, "ValidationException"),
        ({"baseModelIdentifier": "meta.llama3-1-8b-instruct-v1:0:128k"}, "ValidationException"),  # us-west-2 only
        ({"customizationType": "CONTINUED_PRE_TRAINING"}, "ValidationException"),
        ({"jobName": "job-whole"}, "ConflictException"),
        ({"customModelName": "model-whole"}, "ConflictException"),
        ({"clientRequestToken": "once"}, "ConflictException"),  # with other parameters
    ],
)
def test_refusals(cloud, trained, change, code):
    assert code_of(cloud.create, "refused", **change) == (code, 400)


def test_bad_data_fails_the_job_with_a_message(cloud):
    put = cloud.s3.put_object
    put(Bucket=BUCKET, Key="data/few.jsonl", Body=converse_lines(5).encode())
    put(Bucket=BUCKET, Key="data/chat.jsonl", Body=b'{"messages": [{"role": "user", "content": "hi"}]}\n' * 9)
    for name, words in (("few", "must have at least 8"), ("chat", "Line 1"), ("gone", "NoSuchKey")):
        arn = cloud.create(name, trainingDataConfig={"s3Uri": f"s3://{BUCKET}/data/{name}.jsonl"})
        job, _ = cloud.finish(arn)
        assert job["status"] == "Failed" and words in job["failureMessage"]
        assert job["statusDetails"]["validationDetails"]["status"] == "Failed"
        assert job["statusDetails"]["trainingDetails"]["status"] == "NotStarted"


def test_stop_list_and_not_found(cloud, trained):
    arn = cloud.create("long", hyperParameters={"epochCount": "5"})
    cloud.bedrock.stop_model_customization_job(jobIdentifier=arn)
    job, _ = cloud.finish(arn)
    assert job["status"] == "Stopped" and "outputModelArn" not in job
    assert code_of(cloud.bedrock.stop_model_customization_job, jobIdentifier=arn)[0] == "ConflictException"
    rows = cloud.bedrock.list_model_customization_jobs
    assert [one["jobName"] for one in rows(statusEquals="Stopped")["modelCustomizationJobSummaries"]] == ["job-long"]
    pages = cloud.bedrock.get_paginator("list_model_customization_jobs").paginate(PaginationConfig={"PageSize": 1})
    names = [one["jobName"] for page in pages for one in page["modelCustomizationJobSummaries"]]
    assert len(names) == len(set(names)) and names[-1] == "job-whole" and names[0] == "job-long"
    missing = ("ResourceNotFoundException", 404)
    assert code_of(cloud.bedrock.get_model_customization_job, jobIdentifier="nope") == missing
    assert code_of(cloud.bedrock.get_custom_model, modelIdentifier="nope") == missing


def test_foundation_models_by_region_and_the_training_id_does_not_answer(cloud):
    found = cloud.bedrock.list_foundation_models(byCustomizationType="FINE_TUNING")["modelSummaries"]
    assert BASE in [one["modelId"] for one in found] and not any(one["modelId"].startswith("meta.") for one in found)
    west = boto3.client("bedrock", region_name="us-west-2")
    found = west.list_foundation_models(byCustomizationType="FINE_TUNING")["modelSummaries"]
    assert found and all(one["modelId"].startswith("meta.") for one in found)
    assert west.get_foundation_model(modelIdentifier=found[0]["modelId"])["modelDetails"]["modelName"].startswith(
        "local"
    )
    assert code_of(cloud.runtime.converse, modelId=BASE, messages=ASK)[0] == "ValidationException"
    body = json.dumps({"prompt": "mouse 3", "max_gen_len": 4, "temperature": 0.5})
    answer = cloud.runtime.invoke_model(modelId="meta.llama3-1-8b-instruct-v1:0", body=body)["body"].read()
    assert json.loads(answer)["generation_token_count"] <= 4


@pytest.mark.parametrize(
    ("change", "shown", "phases"),
    [
        ({"status": "validating_files"}, "InProgress", ("InProgress", "NotStarted", "NotStarted")),
        ({"status": "running"}, "InProgress", ("Completed", "Completed", "InProgress")),
        ({"status": "delivering"}, "InProgress", ("Completed", "Completed", "InProgress")),
        ({"status": "stopping", "stopped_in": "queued"}, "Stopping", ("Completed", "Stopping", "NotStarted")),
        ({"status": "cancelled", "stopped_in": "running"}, "Stopped", ("Completed", "Completed", "Stopped")),
    ],
)
def test_the_phases_of_a_job(tmp_path, change, shown, phases):
    store = Store(tmp_path)
    job = {
        "id": "j", "service": "bedrock", "region": "us-east-1", "arn": "arn", "model": BASE, "given": {},
        "created_at": time.time(), "finished_at": None,
        "asked": {
            "jobName": "n", "customModelName": "m", "trainingDataConfig": {"s3Uri": "s3://b/t"}, "roleArn": "r",
            "outputDataConfig": {"s3Uri": "s3://gone/o"},
        },
    }  # fmt: skip
    store.add("job", "j", job | change)
    bedrock = Bedrock(store, lambda *_: (404, b""), say=iter, wake=lambda: None)

    def seen():
        view = bedrock.api.handlers["GetModelCustomizationJob"]({"jobIdentifier": "n"}, "us-east-1")
        return view["status"], tuple(phase["status"] for phase in view["statusDetails"].values())

    assert seen() == (shown, phases)
    if change["status"] == "delivering":  # its bucket has gone
        folder = tmp_path / "jobs" / "j"
        folder.mkdir(parents=True)
        table = [{"step": 1, "epoch": 1.0, "train_loss": 2.0, "valid_loss": ""}]
        (folder / "metrics.json").write_text(json.dumps(table), encoding="utf-8")
        bedrock.deliver(store.get("job", "j"))
        assert seen() == ("Failed", ("Completed", "Completed", "Failed")) and store.all("custom_model") == []
        assert "Could not write the results to s3://gone/" in store.get("job", "j")["error"]["message"]
    store.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    "jobName",
    "customModelName",
    "baseModelIdentifier",
    "hyperParameters",
    "trainingDataConfig",
    "clientRequestToken",
]
PATHS = ["/custom-models/{}", "/model-customization-jobs/{}", "/model/{}/converse", "/model/{}/invoke", "/foundation-models/{}",
         "/provisioned-model-throughput/{}", "/model-customization/custom-model-deployments/{}", "/{}"]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), JSON), st.sampled_from(PATHS), st.text(max_size=20),
    st.sampled_from(["GET", "POST", "DELETE", "PUT"]), st.binary(max_size=30), JSON,
)  # fmt: skip
def test_bad_requests_get_nothing_but_a_four_hundred(cloud, change, path, word, verb, raw, messages):
    import urllib3

    key = os.environ["AWS_ACCESS_KEY_ID"]
    scope = f"AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/bedrock/aws4_request, Signature=x"

    def send(verb, path, body):
        url = cloud.bedrock.meta.endpoint_url + path
        return urllib3.request(verb, url, body=body, headers={"Authorization": scope}, redirect=False).status

    bad = cloud.request("bad", roleArn="nobody") | change
    assert 400 <= send("POST", "/model-customization-jobs", json.dumps(bad)) < 500
    assert 400 <= send("POST", "/model/amazon.nova-micro-v1%3A0/converse", json.dumps({"messages": messages})) < 500
    place = path.format(quote(word or "x", safe=""))
    assert 400 <= send(verb, place, raw) < 500
