"""The report: the same findings as a text, a table and plain types."""

import json

import pytest
from jsonl_base import OK

from afina.jsonl import chat_example, validate, write_jsonl


@pytest.fixture
def report(tmp_path):
    train, validation = tmp_path / "train.jsonl", tmp_path / "validation.jsonl"
    write_jsonl(train, [chat_example(f"p{i}", "r", system="Seja breve.") for i in range(12)])
    validation.write_bytes(b"{\n" + OK)
    return validate(train, validation)


def test_the_text_has_verdict_problems_and_figures(report):
    lines = report.text().splitlines()
    assert lines[0] == "✗ 1 erro, 1 aviso" and not report.ok
    assert any(line.endswith("JSON inválido") for line in lines)
    assert all(str(problem) in lines for problem in report.problems)
    assert "formato openai-chat, limites de gpt-4.1-mini-2025-04-14 (tabela lida em 2026-11-20)" in lines
    assert '  instruções   1 diferente; o mais comum (12×): "Seja breve."' in lines
    assert lines[-3] == "vazamento      0 linhas de validação também no treino; 0 perguntas com outra resposta"
    assert lines[-1].startswith("custo          US$ ")


def test_fewer_problems_may_be_asked_for_and_the_rest_is_counted(report):
    text = report.text(1)
    assert str(report.problems[0]) in text and str(report.problems[1]) not in text
    assert "… e mais 1 problema do mesmo tipo" in text


def test_table_and_plain_types_hold_every_problem(report):
    assert len(report.table()) == len(report.problems) == 2
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["ok"] is False and plain["cost"]["usd"] == report.cost.usd
    assert [problem["kind"] for problem in plain["problems"]] == [problem.kind for problem in report.problems]
