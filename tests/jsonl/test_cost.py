"""Cost is arithmetic: tokens, epochs and a price that is never invented."""

import pytest

from afina.errors import CourseError
from afina.jsonl.cost import default_epochs, estimate, in_dollars
from afina.prices import MODELS, find_model


def test_cost_is_tokens_times_epochs_times_price():
    answer = estimate(1_000_000, "gpt-4.1", epochs=2)
    assert (answer.trained_tokens, answer.usd) == (2_000_000, 50.0)
    assert "US$ 50,00" in answer.line and "developers.openai.com" in str(answer)
    assert "2027-01-14" in str(answer)  # the wind-down is part of the answer


def test_a_price_without_a_source_is_not_invented():
    for model in MODELS:
        assert (model.price is None) == (model.source is None), model.id
    answer = estimate(1000, "amazon.nova-pro-v1:0")
    assert answer.usd is None and "preço não verificado" in str(answer) and answer.to_dict()["usd"] is None
    assert "60,50" in str(answer)  # the hosting trap


@pytest.mark.parametrize(("examples", "epochs"), [(10, 10), (3, 25), (100, 3), (8000, 3), (20_000, 1), (0, 3)])
def test_automatic_epochs_follow_the_cookbook(examples, epochs):
    assert default_epochs(find_model("gpt-4.1-mini"), examples)[0] == epochs


def test_bedrock_epochs_are_the_services_default():
    assert estimate(10, "amazon.nova-micro-v1:0:128k").epochs == 2
    assert estimate(10, "meta.llama3-1-8b-instruct-v1:0").epochs == 5


@pytest.mark.parametrize("epochs", [0, 51, 1.5, True, "3"])
def test_wrong_epochs_are_refused(epochs):
    with pytest.raises(CourseError, match="épocas"):
        estimate(10, "gpt-4.1-mini", epochs=epochs)


@pytest.mark.parametrize("tokens", [-1, True, 2.0, "train.jsonl"])
def test_what_is_no_number_of_tokens_is_refused(tokens):
    with pytest.raises(CourseError, match="tokens"):
        estimate(tokens, "gpt-4.1-mini")


def test_amounts_are_brazilian():
    amounts = [in_dollars(usd) for usd in (0, 0.0114, 1234.5, None)]
    assert amounts == ["US$ 0,00", "US$ 0,0114", "US$ 1.234,50", "preço não verificado"]
