"""Fine-tuning jobs elsewhere: the same verbs for OpenAI's protocol (`afina.jobs.openai`) and Bedrock (`afina.jobs.bedrock`).

    submit → watch → metrics → clean_up

Without AFINA_CLOUD they only speak to the twins of `afina.cloud`. With it, a job starts after its estimate was typed back,
always has a deadline, and what it creates is in the ledger before the service answers. Also `afina jobs list|clean`.
"""

from afina.jobs.consent import confirm_spend
from afina.jobs.watch import JobEnded
from afina.prices import PROVIDERS

READ_ON = min(provider.source.read_on for provider in PROVIDERS.values())
