"""Python imports this at start-up when this folder is on PYTHONPATH: the guard is armed before a notebook's first cell."""

import gc

from afina.runtime import arm_network_guard

arm_network_guard()
# Importing torch and transformers makes half a million objects that stay; at the usual threshold of 700 the collector walks
# them eight times meanwhile, a sixth of the import.
gc.set_threshold(20_000, 10, 10)
