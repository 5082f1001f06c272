"""Requests and answers are held to botocore's own model of the service, and only its operations are taken."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import Client
from werkzeug.wrappers import Response

from afina.cloud.shapes import FAST, SLOW, Api, AwsError, fit, instant, iso, service_model

JOB_NAME = service_model("bedrock").shape_for("JobName")
CREATE = service_model("bedrock").operation_model("CreateModelCustomizationJob").input_shape
GOOD = {
    "jobName": "j", "customModelName": "m", "roleArn": "arn:aws:iam::123456789012:role/r",
    "baseModelIdentifier": "amazon.nova-micro-v1:0:128k", "trainingDataConfig": {"s3Uri": "s3://abc/t"},
    "outputDataConfig": {"s3Uri": "s3://abc/o"},
}  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.text("a-. !", max_size=63))
def test_job_names_are_judged_by_the_services_own_pattern_but_quickly(name):
    assert SLOW in JOB_NAME.metadata["pattern"]
    small = name[:12]  # the service's pattern takes exponential time on "-----…!"
    right = re.fullmatch(JOB_NAME.metadata["pattern"], small) is not None
    assert (re.fullmatch(JOB_NAME.metadata["pattern"].replace(SLOW, FAST), small) is not None) == right
    if re.fullmatch("[a-zA-Z0-9][a-zA-Z0-9+.-]*", name):
        fit(JOB_NAME, name)
    else:
        with pytest.raises(ValueError, match="failed to satisfy"):
            fit(JOB_NAME, name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"jobName": None}, "'jobName' .* not be null"),
        ({"jobName": 3}, "be a string"),
        ({"customModelName": "x" * 64}, "less than or equal to 63"),
        ({"trainingDataConfig": "x"}, "'trainingDataConfig' .* be an object"),
        ({"outputDataConfig": {"s3Uri": "http://x"}}, r"'outputDataConfig.s3Uri' .* pattern"),
        ({"hyperParameters": [1]}, "be a map"),
        ({"hyperParameters": {"epochCount": 2}}, "'hyperParameters.epochCount' .* be a string"),
        ({"jobTags": {}}, "be a list"),
        ({"jobTags": [{"key": "k", "value": "v"}, {"key": ""}]}, "'jobTags.2.member"),
        ({"customizationType": "X"}, "enum value set"),
    ],
)
def test_each_breach_is_named_with_its_place(change, words):
    fit(CREATE, GOOD)
    with pytest.raises(ValueError, match=words):
        fit(CREATE, GOOD | change)


@pytest.mark.parametrize("value", [True, "1", float("nan"), float("inf"), 2, -1, 10**400])
def test_a_number_must_be_one_and_in_its_range(value):
    settings_ = service_model("bedrock-runtime").shape_for("InferenceConfiguration")
    fit(settings_, {"temperature": 0.5, "maxTokens": 3})
    with pytest.raises(ValueError, match="temperature"):
        fit(settings_, {"temperature": value})


def test_a_shape_takes_what_it_names():
    shape = service_model("bedrock").operation_model("ListCustomModels").output_shape
    arn = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abcdefghijkl"
    base = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0:128k"
    named = {
        "modelArn": arn,
        "modelName": "m",
        "creationTime": iso(0),
        "baseModelArn": base,
        "baseModelName": "amazon.nova",
    }
    facts = {"modelSummaries": [named | {"jobName": "of another view", "ownerAccountId": None}], "more": 1}
    assert fit(shape, facts) == {"modelSummaries": [named]}


def test_times():
    assert instant(iso(1_700_000_000.25)) == 1_700_000_000.25 == instant("2023-11-14T22:13:20.250")
    assert instant("2023-11-14T19:13:20-03:00") == 1_700_000_000 and instant("banana") is None


def test_an_operation_is_found_asked_answered_and_held_to_its_shape():
    seen = {}

    def models(asked, region):
        seen.update(asked, region=region)
        return {"modelSummaries": [], "nextToken": asked["nextToken"]}

    def refuse(asked, region):
        raise AwsError(asked["modelIdentifier"], "ResourceNotFoundException")

    handlers = {
        "ListCustomModels": models, "GetCustomModel": refuse, "InvokeModel": lambda asked, _: Response(asked["body"]),
        "ListFoundationModels": lambda *_: {"modelSummaries": [{"modelArn": "no ARN"}]},
    }  # fmt: skip
    api = Api(("bedrock", "bedrock-runtime"), handlers)
    client = Client(lambda environ, start: api(environ, start, "us-east-1"))
    answer = client.get("/custom-models?nextToken=t&maxResults=7&isOwned=TRUE&banana=1")
    assert answer.json == {"modelSummaries": [], "nextToken": "t"} and answer.headers["x-amzn-requestid"]
    assert seen == {"nextToken": "t", "maxResults": 7, "isOwned": True, "region": "us-east-1"}
    arn = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abcdefghijkl"
    answer = client.get(f"/custom-models/{arn}")
    assert (answer.status_code, answer.json) == (404, {"message": arn})
    assert answer.headers["x-amzn-errortype"] == "ResourceNotFoundException"
    assert client.post("/model/x/invoke", data=b"\xff").data == b"\xff"
    with pytest.raises(ValueError, match="ListFoundationModels"):  # a bug of the twin must be loud
        client.get("/foundation-models")
    for call, path, body, code in (
        (client.get, "/nowhere", b"", "UnknownOperation"), (client.get, "/guardrails", b"", "UnknownOperation"),
        (client.get, "/custom-models?maxResults=x", b"", "Validation"),
        (client.post, "/model-customization-jobs", b"x" * (5 << 20), "UnknownOperation"),
        (client.post, "/model/x/invoke", b"x" * (5 << 20), "Validation"),
    ):  # fmt: skip
        assert call(path, data=body).headers["x-amzn-errortype"] == f"{code}Exception", path


def test_a_body_must_be_an_object():
    api = Api(("bedrock",), {"CreateModelCustomizationJob": lambda asked, _: pytest.fail("it came through")})
    client = Client(lambda environ, start: api(environ, start, "us-east-1"))
    for body in (b"{", b"[]", b"\xff", b'{"a": NaN}', b'{"jobName":' + b"[" * 5000 + b"]" * 5000 + b"}"):
        answer = client.post("/model-customization-jobs", data=body)
        assert answer.headers["x-amzn-errortype"] == "SerializationException", body[:20]
    assert "not be null" in client.post("/model-customization-jobs", data=json.dumps({"jobName": "j"})).json["message"]
