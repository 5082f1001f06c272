"""Python imports this at start-up when this folder is on PYTHONPATH: the guard is armed before a notebook's first cell."""

from afina.runtime import arm_network_guard

arm_network_guard()
