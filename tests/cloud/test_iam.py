"""What roles allow, by policies in every form that IAM takes."""

import json
from types import SimpleNamespace

import pytest

from afina.cloud import iam

JOB = f"arn:aws:bedrock:us-east-1:{iam.ACCOUNT}:model-customization-job/m/abc"


def role(*statements, trust=None, managed=()):
    policies = {"p": {"Statement": list(statements)}}
    more = {str(n): SimpleNamespace(document=json.dumps({"Statement": one})) for n, one in enumerate(managed)}
    return SimpleNamespace(policies=policies, managed_policies=more, assume_role_policy_document=trust)


def test_uris():
    assert iam.split_uri("s3://bucket/a/b.jsonl") == ("bucket", "a/b.jsonl") and iam.split_uri("s3://b") == ("b", "")


def test_a_role_that_is_not_there():
    assert iam.find_role("arn:aws:iam::123456789012:role/nobody-has-this-name") is None


@pytest.mark.parametrize(
    ("statement", "right"),
    [
        ({}, True),
        ({"Effect": "Deny"}, False),
        ({"Principal": {"Service": ["lambda.amazonaws.com", "bedrock.amazonaws.com"]}}, True),
        ({"Principal": {"Service": "lambda.amazonaws.com"}}, False),
        ({"Principal": "*"}, False),
        ({"Action": ["sts:TagSession"]}, False),
        ({"Condition": {"StringEquals": {"aws:SourceAccount": iam.ACCOUNT}}}, True),
        ({"Condition": {"StringEquals": {"aws:SourceAccount": ["1", iam.ACCOUNT]}}}, True),
        ({"Condition": {"StringEquals": {"aws:SourceAccount": "9*"}}}, False),
        ({"Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:bedrock:us-east-1:*:model-customization-job/*"}}}, True),
        ({"Condition": {"ArnEquals": {"aws:SourceArn": "arn:aws:bedrock:us-west-2:*"}}}, False),
        ({"Condition": {"Bool": {"aws:Unknown": "true"}}}, False),
    ],
)
def test_trust(statement, right):
    trust = {"Effect": "Allow", "Principal": {"Service": "bedrock.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = {"Statement": trust | statement}
    assert iam.trusts_bedrock(role(trust=document), JOB) is right
    assert iam.trusts_bedrock(role(trust=json.dumps(document)), JOB) is right
    assert not iam.trusts_bedrock(role(trust="not JSON"), JOB)


def test_allowed_is_what_some_policy_allows_and_none_denies():
    read = {"Effect": "Allow", "Action": ["s3:Get*", "S3:LISTBUCKET"], "Resource": "arn:aws:s3:::b*"}
    secret = {"Effect": "Deny", "Action": "s3:*", "Resource": ["arn:aws:s3:::b/secret/*"]}
    mine = role(read, secret)
    assert iam.allows(mine, "s3:GetObject", "arn:aws:s3:::b/x") and iam.allows(mine, "s3:ListBucket", "arn:aws:s3:::b")
    assert not iam.allows(mine, "s3:PutObject", "arn:aws:s3:::b/x")
    assert not iam.allows(mine, "s3:GetObject", "arn:aws:s3:::b/secret/x")
    assert not iam.allows(mine, "s3:GetObject", "arn:aws:s3:::other/x")
    assert iam.allows(role(managed=[read]), "s3:GetObject", "arn:aws:s3:::b/x") and not iam.allows(role(), "s3:x", "y")
