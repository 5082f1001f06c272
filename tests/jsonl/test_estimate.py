"""The estimate of a file, by the function and by the command."""

import json

import pytest

from afina import cli
from afina.errors import CourseError
from afina.jsonl import chat_example, cost, estimate, validate, write_jsonl
from afina.jsonl.estimate import cost_table, estimates


def test_command_line(tmp_path, capsys):
    path = tmp_path / "t.jsonl"
    write_jsonl(path, [chat_example(f"pergunta {i}", "resposta") for i in range(20)])
    assert cli.main(["estimate", str(path), "--model", "gpt-4.1", "--epochs", "2", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["epochs"] == 2 and answer["usd"] == pytest.approx(answer["tokens"] * 2 * 25 / 1e6)
    assert cli.main(["estimate", str(path)]) == 0
    out = capsys.readouterr().out
    assert "gpt-4.1-mini-2025-04-14" in out and "gpt-4.1-nano" not in out  # the retired one is not offered


def test_a_file_and_its_number_of_tokens_cost_the_same(tmp_path):
    path = tmp_path / "t.jsonl"
    write_jsonl(path, [chat_example(f"pergunta {i}", "resposta") for i in range(20)])
    report = validate(path)
    of_file = estimate(path, "gpt-4.1-mini", epochs=2)
    assert of_file.tokens == report.train.tokens and of_file.examples == 20
    by_hand = cost.estimate(
        report.train.tokens, "gpt-4.1-mini", epochs=2, examples=20, tokens_label=report.tokens_label
    )
    assert of_file == by_hand == estimate(report.train.tokens, "gpt-4.1-mini", epochs=2, examples=20)


def test_models_come_by_price_and_those_without_one_last(tmp_path):
    path = tmp_path / "t.jsonl"
    write_jsonl(path, [chat_example(f"pergunta {i}", "resposta") for i in range(20)])
    answers = estimates(path)
    prices = [answer.usd for answer in answers]
    assert prices == sorted(prices, key=lambda usd: (usd is None, usd or 0)) and len(prices) > 1
    lines = cost_table(path, answers).splitlines()
    assert len(lines) == len(answers) + 2 and lines[0].startswith(f"{path}: 20 exemplos")
    assert [answer.model for answer in answers] == [line.split()[0] for line in lines[1:-1]]
    assert estimates(path, "gpt-4.1", epochs=2) == [estimate(path, "gpt-4.1", epochs=2)]


def test_what_is_neither_file_nor_tokens_is_refused(tmp_path):
    for source in (-1, True, tmp_path / "nada.jsonl"):
        with pytest.raises(CourseError):
            estimate(source, "gpt-4.1-mini")


@pytest.mark.parametrize("content", [b"", b"\n", b"{\n", bytes(range(256))])
def test_a_file_without_an_example_costs_nothing_that_could_be_told(tmp_path, content):
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    for ask in (lambda: estimate(path, "gpt-4.1-mini"), lambda: estimates(path)):
        with pytest.raises(CourseError, match="nenhum exemplo"):
            ask()
