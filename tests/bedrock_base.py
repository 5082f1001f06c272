"""The twin of Bedrock with what its jobs need: clients, a bucket with data, a role; several tests speak to one."""

from __future__ import annotations

import json
import time

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cloud_base import converse_lines

BASE = "amazon.nova-micro-v1:0:128k"
BUCKET = "afina-curso"


class Cloud:
    """The clients and what the jobs need."""

    def __init__(self):
        once = Config(retries={"total_max_attempts": 1})
        names = {"s3": "s3", "iam": "iam", "sts": "sts", "bedrock": "bedrock", "runtime": "bedrock-runtime"}
        for name, service in names.items():
            setattr(self, name, boto3.client(service, config=once))
        self.s3.create_bucket(Bucket=BUCKET)
        for key, lines in (("train.jsonl", 10), ("valid.jsonl", 3)):
            self.s3.put_object(Bucket=BUCKET, Key=f"data/{key}", Body=converse_lines(lines).encode())
        self.role = self.make_role("afina", "bedrock.amazonaws.com", ["s3:GetObject", "s3:ListBucket", "s3:PutObject"])

    def make_role(self, name, service, actions, condition=None):
        account = self.sts.get_caller_identity()["Account"]
        arn = f"arn:aws:bedrock:us-east-1:{account}:model-customization-job/*"
        condition = condition or {"StringEquals": {"aws:SourceAccount": account}, "ArnEquals": {"aws:SourceArn": arn}}
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": service},
            "Action": "sts:AssumeRole",
            "Condition": condition,
        }
        text = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=text)["Role"]["Arn"]
        here = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": here}]}
        self.iam.put_role_policy(RoleName=name, PolicyName="s3", PolicyDocument=json.dumps(policy))
        return role

    def request(self, name, **change):
        return {
            "jobName": f"job-{name}",
            "customModelName": f"model-{name}",
            "roleArn": self.role,
            "baseModelIdentifier": BASE,
            "customizationType": "FINE_TUNING",
            "hyperParameters": {"epochCount": "2"},
            "trainingDataConfig": {"s3Uri": f"s3://{BUCKET}/data/train.jsonl"},
            "outputDataConfig": {"s3Uri": f"s3://{BUCKET}/out"},
        } | change

    def create(self, name, **change):
        return self.bedrock.create_model_customization_job(**self.request(name, **change))["jobArn"]

    def finish(self, arn):
        seen = []
        for _ in range(2400):
            job = self.bedrock.get_model_customization_job(jobIdentifier=arn)
            phases = tuple(phase["status"] for phase in job["statusDetails"].values())
            if not seen or seen[-1] != phases:
                seen.append(phases)
            if job["status"] not in ("InProgress", "Stopping"):
                return job, seen
            time.sleep(0.05)
        raise AssertionError(f"still {job['status']}")


def code_of(call, *args, **values):
    with pytest.raises(ClientError) as error:
        call(*args, **values)
    return error.value.response["Error"]["Code"], error.value.response["ResponseMetadata"]["HTTPStatusCode"]
