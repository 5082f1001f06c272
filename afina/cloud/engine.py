"""Moved to `afina.cloud.train`; the old name stays for one release."""

from afina.cloud.train import *  # noqa: F403
from afina.cloud.train import JobRun as Run  # noqa: F401
