"""Who is asked: AFINA_CLOUD, the twin that is open, a person at the keyboard."""

import pytest
from jobs_base import raises

from afina.jobs import bedrock, ledger, openai
from afina.jobs.cleaning import clean_ledger
from afina.jobs.consent import confirm


@pytest.mark.parametrize("room", [openai, bedrock])
def test_without_a_twin_and_without_afina_cloud_nothing_is_called(room, no_twin):
    raises("não há gêmeo", room.connect)


def test_the_wrong_room_the_wrong_name_and_what_is_missing(no_twin, monkeypatch):
    cases = {"banana": "não conheço", "aws": "bedrock", "openai": "chave", "nebius": "chave", "azure": "endereço"}
    for name, match in cases.items():
        monkeypatch.setenv("AFINA_CLOUD", name)
        raises(match, openai.connect)
    monkeypatch.setenv("AFINA_CLOUD", "nebius")
    raises("não é o Bedrock", bedrock.connect)


def test_real_services_are_refused_while_the_twin_is_open(twin, monkeypatch):
    monkeypatch.setenv("AFINA_CLOUD", "openai")
    raises("o gêmeo está aberto", openai.connect)
    monkeypatch.setenv("AFINA_CLOUD", "aws")
    raises("o gêmeo está aberto", bedrock.connect)


def test_a_person_types_the_amount(monkeypatch, capsys):
    for typed, right in ((" 0,27 ", True), ("0,26", False), ("", False)):
        asked = []
        monkeypatch.setattr("builtins.input", lambda prompt, typed=typed, asked=asked: asked.append(prompt) or typed)
        if right:
            confirm("Treinar: US$ 0,27.", "0,27")
        else:
            raises("não confere", confirm, "Treinar: US$ 0,27.", "0,27")
        assert asked == ['Para confirmar, digite "0,27": '] and "Treinar: US$ 0,27." in capsys.readouterr().out


def test_cleaning_real_accounts_asks_first(monkeypatch):
    entry = ledger.note("openai-model", "ft:x", "openai", "https://api.openai.com", id="ft:x")
    raises("ninguém confirmou", clean_ledger, [entry])
    monkeypatch.setenv("AFINA_CONFIRM", "sim")
    error = raises("não confere", clean_ledger, [entry])
    assert "openai: modelo ajustado ft:x" in str(error) and ledger.entries() == [entry]
