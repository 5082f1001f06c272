"""Moved to `afina.prices`, which has every dated price and limit; these names stay here for one release."""

from afina.prices import (  # noqa: F401
    COMPLETION,
    CONVERSE,
    FORMATS,
    MODELS,
    MORE_HELPS,
    OPENAI_FILE_BYTES,
    Model,
    default_model,
    find_model,
    takes,
)

READ_ON = min(model.read_on for model in MODELS)
