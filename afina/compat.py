"""Every patched or private piece of a library, in one place; each has a test that fails when it is no longer needed."""

from __future__ import annotations

import sys


def new_boto_session() -> None:
    """boto3.client() keeps the credentials it read first, in a session it shares: have it read the variables again."""
    if "boto3" in sys.modules:
        sys.modules["boto3"].DEFAULT_SESSION = None
