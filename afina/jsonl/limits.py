"""Moved to `afina.prices`, which has every dated price and limit; its names stay here for one release."""

from afina.prices import MODELS

READ_ON = min(model.read_on for model in MODELS)
