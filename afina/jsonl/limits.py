"""Moved to `afina.prices`, which has every dated price and limit; what the lessons took from here stays for one release."""

from afina.prices import MODELS

READ_ON = min(model.read_on for model in MODELS)
