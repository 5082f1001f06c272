"""The table of prices and limits: every entry is dated and sourced, and no price is invented."""

import itertools
import re
from datetime import date

import pytest

from afina import prices
from afina.errors import CourseError
from afina.prices import find_model
from afina.runtime import course_root


@pytest.mark.parametrize(("name", "found"), [
    ("gpt-4.1", "gpt-4.1-2025-04-14"), ("GPT-4.1-mini ", "gpt-4.1-mini-2025-04-14"),
    ("amazon.nova-2-lite-v1:0", "amazon.nova-2-lite-v1:0:256k"),
])  # fmt: skip
def test_model_names(name, found):
    assert find_model(name).id == found


@pytest.mark.parametrize("name", ["", "gpt", "banana", "amazon.nova"])
def test_unknown_models_are_refused_with_the_list(name):
    with pytest.raises(CourseError, match=r"gpt-4\.1-mini"):
        find_model(name)


def test_the_table_of_models_is_dated_and_complete():
    for form in prices.FORMATS:
        assert prices.takes(prices.default_model(form), form)
    assert all(model.read_on == "2026-11-20" and model.limits.first_hand for model in prices.MODELS)
    nova, nova2 = find_model("amazon.nova-lite-v1:0"), find_model("amazon.nova-2-lite-v1:0")
    assert (nova.min_examples, nova2.min_examples, find_model("gpt-4.1").min_examples) == (8, 200, 10)


def test_a_figure_without_a_source_is_none():
    for model in prices.MODELS:
        assert (model.price is None) == (model.source is None), model.id
    for price in prices.PRICES:
        assert (price.usd is None) == (price.source is None), price.what
    assert all(machine.source and machine.usd_an_hour for machine in prices.MACHINES)


def test_every_source_has_a_page_and_a_day():
    assert len(prices.SOURCES) > 12
    for source in prices.SOURCES.values():
        assert source.page and date.fromisoformat(source.read_on)


def test_sentences_say_the_prices_of_the_table():
    assert "US$ 1,95 por mês (lista de 2026-08-02)" in prices.NOTES["bedrock_storage"]
    for sentence in (prices.NOTES["provisioned"], prices.NOTES["provisioned_trap"]):
        assert "US$ 60,50 por hora" in sentence and "2026-08-02" in sentence


def test_a_price_stands_once():
    """No figure of the table is written a second time in the package, neither as a number nor inside a sentence."""
    again = re.compile(r"60[.,]50\b|US\$ 1,95\b|= 1\.95\b|0\.0000166667")
    found = [
        path.name
        for path in (course_root() / "afina").rglob("*.py")
        if path.name != "prices.py" and again.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_second_hand_prices_say_so():
    assert str(prices.DATABASE) == "preço não verificado"
    assert "não verificado" in str(prices.STORAGE) and "não verificado" not in str(prices.GATEWAY)
    assert str(prices.FUNCTION_TIME).startswith("US$ 0,0000166667 por GB")


def test_the_table_of_providers_is_complete():
    for name, service in prices.PROVIDERS.items():
        assert name == service.name and service.source and service.note
        assert bool(service.base_url) != bool(service.url_variable)
    keys = [service.key_variable for service in prices.PROVIDERS.values()]
    assert all(a != b for a, b in itertools.combinations(keys, 2))
