"""Each patched or private piece of a library is still needed; where a test here fails, the piece may go."""

import os

import boto3
from moto.iam.responses import IamResponse

from afina import compat


def test_boto3_still_keeps_the_credentials_it_read_first(monkeypatch):
    def key():
        return boto3.client("s3", region_name="us-east-1")._request_signer._credentials.access_key

    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ONE")
    assert key() == "ONE"
    os.environ["AWS_ACCESS_KEY_ID"] = "TWO"
    assert key() == "ONE", "boto3 reads the variables again by itself: new_boto_session is no longer needed"
    compat.new_boto_session()
    assert key() == "TWO"


def test_moto_still_simulates_no_policy():
    asked = {name for name in dir(IamResponse) if "simulate" in name}
    assert not asked, (
        "moto answers SimulatePrincipalPolicy: cloud/iam.py may ask it, and moto_roles is no longer needed"
    )
    assert not list(compat.moto_roles("999999999999"))
