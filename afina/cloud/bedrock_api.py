"""Moved to `afina.cloud.bedrock`, `shapes` and `converse`; the old name stays for one release."""

from afina.cloud.bedrock import *  # noqa: F403
