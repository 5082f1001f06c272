"""The foundation models that Bedrock's twin knows: where each trains and with which hyperparameters, and how they are shown."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from afina import prices
from afina.cloud.shapes import AwsError, must

MODELS = [model for model in prices.MODELS if model.service == "bedrock"]
TABLE = tomllib.loads(Path(__file__).with_name("bedrock.toml").read_text(encoding="utf-8"))
HYPERPARAMETERS: dict[str, dict[str, tuple[float, float, float]]] = TABLE["hyperparameters"]


def base_arn(model: str, region: str) -> str:
    return f"arn:aws:bedrock:{region}::foundation-model/{model}"


def _maker(model: str) -> str:
    return model.split(".")[0]


def find_base(name: str, region: str) -> prices.Model:
    """The model to train behind an id or ARN, which must be trainable in this region."""
    name = name.rsplit("foundation-model/", 1)[-1]
    for model in MODELS:
        if model.id == name and TABLE["region"][_maker(name)] == region:
            return model
    ask = "list_foundation_models(byCustomizationType='FINE_TUNING')"
    raise AwsError(f"The model {name[:80]} cannot be fine-tuned in {region}: ask {ask}.")


def read_hyperparameters(model: str, given: dict[str, str]) -> dict[str, float]:
    table = HYPERPARAMETERS[_maker(model)]
    values = {name: default for name, (_, _, default) in table.items()}
    for name, text in given.items():
        must(name in table, f"Hyperparameter {name[:40]} is not one of {', '.join(table)}.")
        low, high, _ = table[name]
        kind, form = ("", r"\d*\.?\d+(?:[eE]-?\d{1,2})?") if name == "learningRate" else ("an integer ", r"\d{1,6}")
        right = re.fullmatch(form, text) and low <= float(text) <= high
        must(right, f"Hyperparameter {name} must be {kind}from {low:g} to {high:g}.")
        values[name] = float(text)
    return values


def foundation_models(region: str) -> Iterator[dict]:
    """The models this twin knows in a region: those that train there, and the ids that answer everywhere."""
    for model in MODELS:
        for id, tunable in ((model.id, True), (model.id.rpartition(":")[0], False)):
            if not tunable or TABLE["region"][_maker(id)] == region:
                yield TABLE["shown"] | {
                    "modelArn": base_arn(id, region),
                    "modelId": id,
                    "modelName": "local " + re.sub(r"(-instruct)?-v\d.*", "", id.split(".")[1]),
                    "providerName": _maker(id).capitalize(),
                    "customizationsSupported": ["FINE_TUNING"] if tunable else [],
                    "inferenceTypesSupported": ["PROVISIONED"] if tunable else ["ON_DEMAND"],
                }
