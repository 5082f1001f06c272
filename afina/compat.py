"""Every patched or private piece of a library, in one place; each has a test that fails when it is no longer needed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any


def new_boto_session() -> None:
    """boto3.client() keeps the credentials it read first, in a session it shares: have it read the variables again."""
    boto3: Any = sys.modules.get("boto3")
    if boto3 is not None:
        boto3.DEFAULT_SESSION = None


def moto_roles(account: str) -> Iterable:
    """moto's IAM roles with all their policies: it simulates no policy, and its answers give one policy a request."""
    from moto.iam.models import iam_backends

    return iam_backends[account]["aws"].roles.values()
