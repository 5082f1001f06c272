"""A file in figures: tokens by role, the longest example, the system prompts."""

import json

import pytest

from afina.jsonl import chat_example, validate, write_jsonl


def test_summary(tmp_path):
    path = tmp_path / "t.jsonl"
    rows = [chat_example(f"pergunta {i}", "resposta " * (i + 1), system="A" if i % 3 else "B") for i in range(120)]
    write_jsonl(path, rows)
    report = validate(path)
    summary = report.train
    assert report.ok and not report.problems and summary.examples == summary.good == 120
    assert set(summary.tokens_by_role) == {"system", "user", "assistant"}
    assert summary.tokens == pytest.approx(sum(summary.tokens_by_role.values()) + 120 * 15, abs=2)
    assert (summary.longest_line, summary.system_prompts) == (120, 2)
    assert (summary.common_system_prompt, summary.common_system_count) == ("A", 80)
    assert report.cost.tokens == summary.tokens and "US$" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True
    assert list(report.table().columns)[:2] == ["linha", "campo"]
