"""Moved to `afina.scale.train` and `afina.scale.job`; this name stays for one release."""

from afina.scale.job import *  # noqa: F403
from afina.scale.train import *  # noqa: F403
