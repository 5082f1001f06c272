"""The foundation models that Bedrock's twin knows: where each trains and with which hyperparameters, and how they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from afina.cloud.shapes import invalid
from afina.jsonl import limits

MODELS = [model for model in limits.MODELS if model.service == "bedrock"]
REGIONS = {"amazon": "us-east-1", "meta": "us-west-2"}  # where the family trains: custom-model-fine-tuning.html
# name -> (least, most, default): docs.aws.amazon.com/bedrock/latest/userguide/custom-models-hp.html
HYPERPARAMETERS = {
    "amazon": {
        "epochCount": (1, 5, 2), "learningRate": (1e-6, 1e-4, 1e-5), "learningRateWarmupSteps": (0, 100, 10),
        "batchSize": (1, 1, 1),
    },
    "meta": {"epochCount": (1, 10, 5), "learningRate": (5e-6, 0.1, 1e-4), "batchSize": (1, 1, 1)},
}  # fmt: skip


def base_arn(model: str, region: str) -> str:
    return f"arn:aws:bedrock:{region}::foundation-model/{model}"


def find_base(name: str, region: str) -> limits.Model:
    """The model to train behind an id or ARN, which must be trainable in this region."""
    name = name.rsplit("foundation-model/", 1)[-1]
    for model in MODELS:
        if model.id == name and REGIONS[name.split(".")[0]] == region:
            return model
    ask = "list_foundation_models(byCustomizationType='FINE_TUNING')"
    raise invalid(f"The model {name[:80]} cannot be fine-tuned in {region}: ask {ask}.")


def read_hyperparameters(model: str, given: dict[str, str]) -> dict[str, float]:
    table = HYPERPARAMETERS[model.split(".")[0]]
    values: dict[str, float] = {name: default for name, (_, _, default) in table.items()}
    for name, text in given.items():
        if name not in table:
            raise invalid(f"Hyperparameter {name[:40]} is not one of {', '.join(table)}.")
        low, high, _ = table[name]
        whole = name != "learningRate"
        form = r"\d{1,6}" if whole else r"\d*\.?\d+(?:[eE]-?\d{1,2})?"
        if not re.fullmatch(form, text) or not low <= float(text) <= high:
            raise invalid(f"Hyperparameter {name} must be {'an integer ' if whole else ''}from {low:g} to {high:g}.")
        values[name] = float(text)
    return values


def foundation_models(region: str) -> Iterator[dict]:
    """The models this twin knows in a region: those that train there, and the ids that answer everywhere."""
    for model in MODELS:
        provider = model.id.split(".")[0]
        for id, tunable in ((model.id, True), (model.id.rpartition(":")[0], False)):
            if not tunable or REGIONS[provider] == region:
                yield {
                    "modelArn": base_arn(id, region),
                    "modelId": id,
                    "modelName": "local " + re.sub(r"(-instruct)?-v\d.*", "", id.split(".")[1]),
                    "providerName": provider.capitalize(),
                    "inputModalities": ["TEXT"],
                    "outputModalities": ["TEXT"],
                    "responseStreamingSupported": True,
                    "customizationsSupported": ["FINE_TUNING"] if tunable else [],
                    "inferenceTypesSupported": ["PROVISIONED"] if tunable else ["ON_DEMAND"],
                    "modelLifecycle": {"status": "ACTIVE"},
                }
