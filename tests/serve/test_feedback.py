"""Opinions: stored, and exported as chat rows and pairs that the validator takes."""

import json
import sqlite3
import threading

import pytest
from chat_base import user

from afina.cli import main
from afina.errors import CourseError
from afina.serve.feedback import Feedback


def test_feedback_becomes_chat_rows_and_pairs(tmp_path, capsys):
    path = tmp_path / "db" / "feedback.sqlite"
    store = Feedback(path)
    for n in range(12):
        store.add(user(f"Pergunta {n}, coração?"), f"errada {n}", "m", "down", f"certa {n}", id=f"c{n}")
    store.add(user("boa?"), "sim", "m", "up")
    store.add(user("ruim?"), "não sei", "m", "down")
    store.add(user("nada?"), "x", "m")
    store.add(user("vazia?"), "", "m", "up")
    store.add(user("Pergunta 0, coração?"), "outra", "m", "down", "certa de novo")
    store.add(user("Pergunta 1, coração?"), "errada 1", "m", "down", "mais certa", id="c1")  # the same opinion, changed
    store.add([{"role": "system", "content": "Seja breve."}, *user("a"), {"role": "assistant", "content": "b"}, *user("c")],
              "", "m", "down", "resposta")  # fmt: skip
    done = store.export(tmp_path / "out")
    assert done.ok and len(done.reports) == 2 and not any(report.errors for report in done.reports)
    assert done.counts == {"read": 18, "chat": 14, "pairs": 12, "thumb_down_only": 1, "no_opinion": 1, "empty_answer": 1,
                           "replaced": 1}  # fmt: skip
    chat = [json.loads(text) for text in done.chat.read_text(encoding="utf-8").splitlines()]
    pairs = [json.loads(text) for text in done.pairs.read_text(encoding="utf-8").splitlines()]
    answers = {row["messages"][-2]["content"]: row["messages"][-1]["content"] for row in chat}
    assert answers["Pergunta 0, coração?"] == "certa de novo" and answers["Pergunta 1, coração?"] == "mais certa"
    assert answers["boa?"] == "sim" and "ruim?" not in answers and answers["c"] == "resposta"
    preferred = {row["input"]["messages"][-1]["content"]: row for row in pairs}
    assert preferred["Pergunta 5, coração?"]["preferred_output"][0]["content"] == "certa 5"
    assert preferred["Pergunta 5, coração?"]["non_preferred_output"][0]["content"] == "errada 5"
    assert "boa?" not in preferred and "c" not in preferred  # no answer that could lose against the correction
    assert (
        main(["feedback", "list", "--db", str(path)]) == 0
        and main(["feedback", "export", "--db", str(path), "--out", str(tmp_path / "o")]) == 0
    )
    told = capsys.readouterr().out
    assert "18 opiniões lidas: 14 exemplos de chat, 12 pares" in told and "1, polegar para baixo, sem correção" in told


def test_too_little_feedback_is_told_by_the_validator(tmp_path, capsys):
    store = Feedback(tmp_path / "f.sqlite")
    folder = ["--db", str(store.path), "--out", str(tmp_path / "out")]
    assert main(["feedback", "export", *folder]) == 1 and "Nada a exportar" in capsys.readouterr().err
    store.add(user("a?"), "b", "m", "down", "c")
    assert main(["feedback", "export", *folder]) == 1 and "exemplos de menos" in capsys.readouterr().out
    assert main(["feedback", "list", "--db", str(tmp_path / "other.sqlite")]) == 2
    assert "não há opiniões" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"answer": None}, "answer"),
        ({"rating": "5"}, "rating"),
        ({"correction": " "}, "correction"),
        ({"correction": "b "}, "correction"),
        ({"id": ""}, "id"),
    ],
)
def test_an_opinion_that_could_not_teach_is_refused(changes, where, tmp_path):
    store = Feedback(tmp_path / "f.sqlite")
    with pytest.raises(CourseError) as error:
        store.add(**{"messages": user("a?"), "answer": "b", "model": "m", "rating": "down"} | changes)
    assert error.value.where.startswith(where) and store.rows() == []


def test_a_file_that_is_no_store_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("minhas notas " * 100)
    with pytest.raises(CourseError, match="não consigo guardar"):
        Feedback(path)
    assert path.read_text() == "minhas notas " * 100


@pytest.mark.parametrize("name", ["chat.jsonl", "dpo.jsonl"])
def test_an_export_replaces_and_removes_only_what_an_export_wrote(name, tmp_path, capsys):
    store, out = Feedback(tmp_path / "f.sqlite"), tmp_path / "out"
    out.mkdir()
    (out / name).write_text("meu", encoding="utf-8")
    store.add(user("a?"), "b", "m", "down", "c", id="x")
    assert main(["feedback", "export", "--db", str(store.path), "--out", str(out)]) == 2
    assert str(out / name) in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == [name] and (out / name).read_text(encoding="utf-8") == "meu"
    (out / name).unlink()
    store.export(out)
    store.add(user("a?"), "b", "m", "up", id="x")  # no pair now: the earlier export's own file goes
    assert store.export(out).pairs is None and not (out / "dpo.jsonl").exists()
    (out / name).write_text("meu, depois", encoding="utf-8")
    with pytest.raises(CourseError, match="não é como uma exportação"):
        store.export(out)
    assert (out / name).read_text(encoding="utf-8") == "meu, depois"


@pytest.mark.parametrize("verb", ["list", "export"])
def test_reading_makes_no_store(verb, tmp_path, capsys):
    empty, other = tmp_path / "vazio.txt", tmp_path / "other.sqlite"
    empty.touch()
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    before = other.read_bytes()
    for path in (empty, other):
        assert main(["feedback", verb, "--db", str(path)]) == 2
        assert "não consigo ler opiniões aqui" in capsys.readouterr().err
    assert empty.read_bytes() == b"" and other.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.sqlite", "vazio.txt"]


@pytest.mark.parametrize("messages", ["{", "5", "[]", '[{"role": "user"}]'])
def test_a_damaged_opinion_is_told_with_its_store(messages, tmp_path, capsys):
    store = Feedback(tmp_path / "f.sqlite")
    store.add(user("a?"), "b", "m", "up")
    with sqlite3.connect(store.path) as db:
        db.execute("UPDATE feedback SET messages = ?", (messages,))
    db.close()
    assert main(["feedback", "list", "--db", str(store.path)]) == 2
    said = capsys.readouterr().err
    assert str(store.path) in said and "estragada" in said


def test_many_threads_may_write_at_once(tmp_path):
    store = Feedback(tmp_path / "f.sqlite")
    threads = [
        threading.Thread(target=lambda n=n: [store.add(user(f"{n} {i}"), "b", "m", "up") for i in range(10)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.rows()) == 80
