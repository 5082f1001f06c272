"""Fine-tuning jobs elsewhere: the same verbs for OpenAI's protocol (`afina.jobs.openai`) and Bedrock (`afina.jobs.bedrock`).

    submit → watch → metrics → clean_up

Without AFINA_CLOUD they only speak to the twins of `afina.cloud`. With it, a job starts after its estimate was typed back,
always has a deadline, and what it creates is in the ledger before the service answers. Also `afina jobs list|clean`.
"""

from afina.jobs.cleaning import clean_ledger
from afina.jobs.consent import CLOUDS, allow, check_data, cloud, confirm, confirm_spend, is_local_url
from afina.jobs.watch import Hiccup, JobEnded, View, sparkline, wait
from afina.prices import PROVIDERS, Provider

__all__ = [
    "CLOUDS", "PROVIDERS", "READ_ON", "Hiccup", "JobEnded", "Provider", "View", "allow", "check_data", "clean", "clean_ledger",
    "cloud", "confirm", "confirm_spend", "is_local_url", "sparkline", "wait",
]  # fmt: skip

READ_ON = min(provider.source.read_on for provider in PROVIDERS.values())
clean = clean_ledger  # its name in earlier releases
