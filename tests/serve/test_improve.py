"""The attendant's questions and exam, and an adapter that goes on learning from where it was saved. Lesson 17 measures the rest."""

import itertools

import pytest
import torch

from afina.data.shop import shop_products
from afina.errors import CourseError
from afina.runtime import course_root
from afina.serve import improve
from afina.serve.improve import ASKED, KINDS, TAUGHT
from afina.tune import export, sft

BASE = course_root() / "models" / "llama-base"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_questions_are_repeatable_and_different():
    once, twice = (improve.questions("marca", 50, 3) for _ in range(2))
    assert once == twice
    assert len(dict(once)) == 50
    assert once != improve.questions("marca", 50, 4)


def test_the_answer_copies_from_the_title():
    for kind in KINDS:
        for question, answer in improve.questions(kind, 30, 5):
            start = KINDS[kind][2].split("{}")[0]
            value = answer.removeprefix(start).removesuffix(".")
            assert value and value.lower() in question.lower(), (question, answer)


def test_no_title_of_the_exam_is_one_of_the_training():
    exam = improve.make_exam(20)
    assert list(exam) == [*TAUGHT, ASKED]
    held_out = {question.split("? ", 1)[1] for pairs in exam.values() for question, _ in pairs}
    taught = {question.split("? ", 1)[1] for kind in KINDS for question, _ in improve.questions(kind, 200, 3)}
    assert not held_out & taught
    offered = itertools.islice(shop_products(improve.EXAM_SEED, "test"), 200)
    assert held_out <= {title for title, _ in offered}


def test_an_unknown_kind_is_refused():
    with pytest.raises(CourseError, match="color, material"):
        improve.questions("price", 1, 1)


def test_score_counts_exact_answers(monkeypatch):
    exam = {"color": [("a", "It is red."), ("b", "It is blue.")], "cor": [("c", "A cor é red.")]}
    said = ["It is red.</s>", " It is blue.", "It is red.</s>"]
    monkeypatch.setattr(improve, "generate", lambda *_: said)
    monkeypatch.setattr(improve, "prompt_text", lambda _, messages: messages[0]["content"])
    tokenizer = type("T", (), {"eos_token": "</s>"})
    assert improve.score(None, tokenizer, exam) == {"color": 1.0, "cor": 0.0}


def test_an_adapter_goes_on_learning_from_where_it_was_saved(tmp_path):
    model, tokenizer = sft.load_for_sft(BASE, 128, False, sft.LoraSettings(r=4, alpha=4))
    rows = improve.as_rows(improve.questions("marca", 32, 3), tokenizer)
    assert rows[0]["prompt"].startswith("### Instruction:\nQual é a marca?")
    settings = sft.replace(improve.SETTINGS, max_steps=3)
    first = sft.train(model, tokenizer, rows, settings).losses
    folder = export.save(model, tokenizer, tmp_path / "adapter")
    again, tokenizer = export.reopen(folder, to_train=True)
    learn, every = sft.trainable(again)
    assert 0 < learn < every / 5
    assert sft.train(again, tokenizer, rows, settings).losses[0] < first[0]
    kept, _ = export.reopen(folder)
    assert sft.trainable(kept)[0] == 0
