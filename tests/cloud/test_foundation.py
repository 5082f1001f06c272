"""Which model trains where, and with what."""

import pytest

from afina.cloud.foundation import HYPERPARAMETERS, MODELS, find_base, foundation_models, read_hyperparameters
from afina.cloud.shapes import AwsError

NOVA, LLAMA = "amazon.nova-micro-v1:0:128k", "meta.llama3-1-8b-instruct-v1:0:128k"


def test_a_base_trains_in_its_region_only():
    assert find_base(NOVA, "us-east-1").id == NOVA
    assert find_base(f"arn:aws:bedrock:us-west-2::foundation-model/{LLAMA}", "us-west-2").id == LLAMA
    for name, region in (
        (NOVA, "us-west-2"),
        (LLAMA, "us-east-1"),
        ("x", "us-east-1"),
        (NOVA.rpartition(":")[0], "us-east-1"),
    ):
        with pytest.raises(AwsError, match="cannot be fine-tuned"):
            find_base(name, region)


def test_hyperparameters_come_as_text_and_keep_their_ranges():
    assert read_hyperparameters(NOVA, {}) == {k: d for k, (_, _, d) in HYPERPARAMETERS["amazon"].items()}
    assert read_hyperparameters(LLAMA, {"learningRate": "1e-3", "epochCount": "7"})["learningRate"] == 0.001
    for given in (
        {"epochCount": "6"},
        {"epochCount": "1.5"},
        {"learningRate": "nan"},
        {"learningRate": "-1"},
        {"banana": "1"},
    ):
        with pytest.raises(AwsError, match="Hyperparameter") as error:
            read_hyperparameters(NOVA, given)
        assert error.value.code == "ValidationException"


def test_what_a_region_shows():
    east, west = (list(foundation_models(region)) for region in ("us-east-1", "us-west-2"))
    for views, provider in ((east, "Amazon"), (west, "Meta")):
        assert {view["providerName"] for view in views if view["customizationsSupported"]} == {provider}
        assert {view["providerName"] for view in views if "ON_DEMAND" in view["inferenceTypesSupported"]} == {
            "Amazon",
            "Meta",
        }
        assert all(view["modelName"].startswith("local ") for view in views)
    assert len(MODELS) == len([view for view in east if not view["customizationsSupported"]])
