"""Tuning ready-made models: BERT (`bert`), and the small foundation models of `models/` (`base`)."""

import logging

# bitsandbytes, which transformers loads by itself, warns on every CPU that an optional compiled kernel is absent.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
