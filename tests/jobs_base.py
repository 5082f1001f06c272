"""What the tests of the jobs share: files of examples, a real-looking account that refuses, errors."""

from types import SimpleNamespace

import pytest

from afina.errors import CourseError
from afina.jobs import bedrock

NOVA = "amazon.nova-micro-v1:0:128k"


def held_out(path):
    """The last lines of a file moved to a file of their own: the validator wants no line in both."""
    *rest, one, other = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(rest), encoding="utf-8")
    beside = path.with_name("valid_" + path.name)
    beside.write_text(one + other, encoding="utf-8")
    return beside


def raises(match, call, *args, **kwargs) -> CourseError:
    with pytest.raises(CourseError, match=match) as caught:
        call(*args, **kwargs)
    return caught.value


def real_aws():
    def refuse(*args, **kwargs):
        raise AssertionError("a real account was called")

    client = SimpleNamespace(**dict.fromkeys(
        ("create_bucket", "upload_file", "create_role", "create_provisioned_model_throughput"), refuse
    ))  # fmt: skip
    place = ("us-east-1", "123456789012", "aws", "https://bedrock.us-east-1.amazonaws.com")
    return bedrock.AwsClients(client, client, client, client, client, *place)
