"""Python imports this at start-up when this folder is on PYTHONPATH: the guard is armed before a notebook's first cell, and the
garbage collector is told to wait."""

import gc

from afina.runtime import arm_network_guard

arm_network_guard()
# Importing torch and transformers makes half a million objects that stay, and the collector would walk them again and again
# meanwhile.
gc.set_threshold(20_000)
