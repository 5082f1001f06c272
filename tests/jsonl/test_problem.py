"""Problems: their text, what collects them, and the checks that every format shares."""

from afina.jsonl.problem import KINDS, Findings, Problem, brief, list_problem, text_problem, type_name, unknown_keys


def test_a_problem_says_place_finding_and_remedy():
    problem = Problem("t.jsonl", 3, "messages[0].content", "type", "error", "encontrei 3.", "Troque-o.")
    assert str(problem) == "erro   t.jsonl, linha 3, messages[0].content: encontrei 3. Troque-o."
    assert str(Problem("t.jsonl", 0, "", "bom", "warning", "x.", "")) == "aviso  t.jsonl: x."


def test_findings_keep_the_first_and_three_of_each_kind_and_count_all():
    findings = Findings(4)
    for line in range(10):
        findings.note("t", line, "json", "", "x", "y")
    for line in range(5):
        findings.note("t", line, "type", "", "x", "y", warning=True)
    findings.count("leak", "error", 0)
    assert [p.kind for p in findings.kept] == ["json"] * 4 + ["type"] * 3
    assert findings.counts == {"json": 10, "type": 5} and findings.severities == {"error": 10, "warning": 5}


def test_values_are_shown_short_and_whole_in_utf8():
    assert brief("a" * 80) == '"' + "a" * 58 + "…" and brief({"é": 1}) == '{"é": 1}'
    assert brief("\ud800") == '"\\ud800"'
    assert [type_name(value) for value in (None, {}, [], "", True, 1, 1.5)] == [
        "null", "um objeto", "uma lista", "um texto", "true/false", "um número", "um número"]  # fmt: skip


def test_shared_checks_name_field_and_kind():
    said = []

    def say(kind, field, found, remedy, warning=False):
        assert kind in KINDS and found and remedy
        said.append((kind, field, remedy))

    unknown_keys({"contnt": 1, "content": 2}, ("role", "content"), "m.", say)
    assert said.pop() == ("unknown_key", "m.contnt", 'Você quis dizer "content"?')
    assert text_problem({"a": "ok"}, "a", "", say) == "ok" and list_problem({"a": [1]}, "a", "", say, "x") == [1]
    assert said == []
    for row in ({}, {"a": 3}, {"a": " "}):
        assert text_problem(row, "a", "", say) == ""
    for row in ({}, {"a": 3}, {"a": []}):
        assert list_problem(row, "a", "", say, "x") == []
    assert [kind for kind, *_ in said] == ["missing_key", "type", "empty_content"] * 2
