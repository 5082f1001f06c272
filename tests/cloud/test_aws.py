"""The AWS side's front door: keys, services, sizes, and what moto remembers over a kill."""

import io
import os

import boto3
import pytest
import urllib3
from bedrock_base import code_of
from cloud_base import tiny_base

from afina.cloud import local_cloud


@pytest.fixture(scope="module")
def cloud():
    with local_cloud(base=tiny_base(), show=False) as cloud:
        yield cloud


def test_every_door_wants_the_key(cloud):
    stranger = {"aws_access_key_id": "LOCALOTHER", "aws_secret_access_key": "x"}
    for service, call, values in (
        ("s3", "list_buckets", {}), ("iam", "list_roles", {}), ("bedrock", "list_custom_models", {}),
    ):  # fmt: skip
        assert code_of(getattr(boto3.client(service, **stranger), call), **values)[1] == 403
    assert code_of(boto3.client("sqs").list_queues)[1] == 400  # a service the twin does not have


def test_a_request_that_is_too_large_and_a_door_of_motos_own(cloud):
    scope = f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/20260101/us-east-1/s3/aws4_request"
    wire = urllib3.HTTPConnectionPool("127.0.0.1", int(cloud.url.rpartition(":")[2]))
    sent = {"Authorization": scope, "Content-Length": str(1 << 30)}
    answer = wire.request("PUT", "/bucket/key", headers=sent, body=io.BytesIO(b""), retries=False)
    assert answer.status == 413 and b"EntityTooLarge" in answer.data
    answer = wire.request("GET", "/moto-api/data.json", headers={"Authorization": scope}, retries=False)
    assert answer.status == 400 and answer.headers["x-amzn-errortype"] == "UnknownOperationException"


def test_buckets_and_roles_outlive_a_kill(tmp_path):
    """moto's memory is played again at the next start; an upload in parts too, whose id a replay would not meet."""
    big = os.urandom(9 << 20)
    with local_cloud(tmp_path, base=tiny_base(), show=False) as cloud:
        s3, iam = boto3.client("s3"), boto3.client("iam")
        s3.create_bucket(Bucket="curso")
        s3.upload_fileobj(io.BytesIO(big), "curso", "com espaço/é.bin")
        for key in ("a+b&c.txt", "apagado"):
            s3.put_object(Bucket="curso", Key=key, Body=b"1")
        s3.delete_object(Bucket="curso", Key="apagado")
        role = iam.create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        cloud.process.kill()
        cloud.process.wait()
    with local_cloud(tmp_path, base=tiny_base(), show=False):
        s3, iam = boto3.client("s3"), boto3.client("iam")
        keys = [one["Key"] for one in s3.list_objects_v2(Bucket="curso")["Contents"]]
        assert keys == ["a+b&c.txt", "com espaço/é.bin"]
        assert s3.get_object(Bucket="curso", Key="com espaço/é.bin")["Body"].read() == big
        assert iam.get_role(RoleName="r")["Role"]["Arn"] == role
