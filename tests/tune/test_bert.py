"""BERT's room: errors, masks, freezing, saving, and the truth of the shipped encoder's card. Lesson 13 measures the rest."""

import ast
import inspect
import json
import re

import numpy as np
import pytest
import torch
from transformers import BertTokenizerFast, DataCollatorWithPadding

from afina.errors import CourseError
from afina.runtime import course_root
from afina.tune import bert
from workshop.notebooks import build

FOLDER = course_root() / "models" / "bert-pt"
NAMES = ("positivo", "negativo", "neutro")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizerFast.from_pretrained(FOLDER)


@pytest.fixture
def model():
    return bert.classifier(FOLDER)


@pytest.fixture(scope="module")
def few():
    texts, labels = bert.read_reviews("train")
    return texts[:64], labels[:64]


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "labels", "said"),
    [
        (["ótimo", "  "], ["positivo", "neutro"], "linha 2: o texto está vazio"),
        (["ótimo", None], ["positivo", "neutro"], "linha 2: o texto está vazio"),
        (["a", "b"], ["positivo", "alegre"], 'linha 2: o rótulo "alegre" não está entre positivo, negativo, neutro'),
        (["a", "b"], ["neutro", "neutro"], 'só há a classe "neutro"'),
        (["a", "b"], ["neutro"], "há 2 textos e 1 rótulos"),
        ([], [], "não há nenhum exemplo"),
    ],
)
def test_bad_examples_are_refused_with_their_place(tokenizer, model, texts, labels, said):
    with pytest.raises(CourseError, match=re.escape(said)) as error:
        bert.fine_tune(model, tokenizer, (texts, labels))
    assert error.value.remedy


def test_all_problems_come_at_once():
    with pytest.raises(CourseError, match=r"linha 1: .*; linha 3: ") as error:
        bert.check_examples(["", "b", "c"], ["neutro", "neutro", "alegre"])
    assert "e mais" not in str(error.value)
    with pytest.raises(CourseError, match="e mais 4"):
        bert.check_examples([""] * 9)


def test_a_long_text_is_cut_only_when_asked(tokenizer, model):
    limit = model.config.max_position_embeddings
    texts = ["O som é bom.", "muito " * 100 + "bom"]
    with pytest.raises(CourseError, match=rf"linha 2: 103 tokens, e o modelo lê até {limit}.*truncation=True"):
        bert.predict(model, tokenizer, texts)
    assert bert.predict(model, tokenizer, texts, truncation=True).shape == (2, 3)


def test_a_folder_without_model_a_wrong_split_and_patience_without_validation_say_so(tokenizer, model, few, tmp_path):
    with pytest.raises(CourseError, match="make models"):
        bert.classifier(tmp_path)
    with pytest.raises(CourseError, match='não há divisão "teste"'):
        bert.read_reviews("teste")
    with pytest.raises(CourseError, match="parada antecipada sem validação"):
        bert.fine_tune(model, tokenizer, few, patience=1)
    with pytest.raises(CourseError, match="2 camadas, e foram pedidas 3"):
        bert.freeze(model, 3)


# --- behaviour -------------------------------------------------------------------------------------------------------


def test_padding_never_changes_the_logits(tokenizer, model):
    rows = bert.encode(["O som é bom.", "A tela é ruim, mas a bateria não é nada fraca."], tokenizer, 64)
    model.eval()
    with torch.no_grad():
        together = model(**tokenizer.pad(rows, return_tensors="pt")).logits
        to_the_end = model(**tokenizer.pad(rows, padding="max_length", max_length=64, return_tensors="pt")).logits
        alone = torch.cat([model(**tokenizer.pad([row], return_tensors="pt")).logits for row in rows])
        ids = tokenizer.pad(rows, return_tensors="pt")["input_ids"]
        unmasked = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    assert torch.allclose(together, alone, atol=1e-5) and torch.allclose(to_the_end, alone, atol=1e-5)
    assert not torch.allclose(unmasked, alone, atol=1e-3)  # without the mask, padding is read as text


def test_predictions_keep_the_order_of_the_texts(tokenizer, model, few):
    texts = few[0][:9]
    together = bert.predict(model, tokenizer, texts)
    one_by_one = np.concatenate([bert.predict(model, tokenizer, [text]) for text in texts])
    assert np.allclose(together, one_by_one, atol=1e-5) and np.allclose(together.sum(1), 1, atol=1e-5)


def test_frozen_weights_stay_bit_identical_and_the_others_learn(tokenizer, model, few):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainable, total = bert.freeze(model, 1)
    assert 0 < trainable < total
    bert.fine_tune(model, tokenizer, few, epochs=2)
    for name, value in model.state_dict().items():
        frozen = name.startswith(("bert.embeddings", "bert.encoder.layer.0."))
        assert torch.equal(value, before[name]) == frozen, name


def test_saved_and_reloaded_it_says_the_same(tokenizer, model, few, tmp_path):
    bert.fine_tune(model, tokenizer, few, epochs=1)
    model.save_pretrained(tmp_path)
    again = bert.classifier(tmp_path)
    assert again.config.id2label == dict(enumerate(NAMES))
    assert np.array_equal(bert.predict(again, tokenizer, few[0]), bert.predict(model, tokenizer, few[0]))


def test_early_stopping_brings_back_the_best_weights(tokenizer, few):
    model = bert.classifier(FOLDER)
    held_out = tuple(column[:60] for column in bert.read_reviews("validation"))
    tuned = bert.fine_tune(model, tokenizer, few, held_out, epochs=20, patience=2)
    scores = [row["eval_accuracy"] for row in tuned.history if "eval_accuracy" in row]
    assert len(scores) < 20 and scores.index(max(scores)) == len(scores) - 3
    assert bert.accuracy(model, tokenizer, held_out) == pytest.approx(max(scores))


def test_training_says_nothing_on_either_stream(tokenizer, model, few, capfd):
    bert.fine_tune(model, tokenizer, few, epochs=1)
    assert capfd.readouterr() == ("", "")


def test_the_loop_by_hand_has_the_losses_of_trainer(tokenizer, few):
    tuned = bert.fine_tune(
        bert.classifier(FOLDER), tokenizer, few, epochs=1, sampling="sequential", warmup_steps=0, logging_steps=1
    )
    model = bert.classifier(FOLDER)
    rows = bert.labelled_rows(few, tokenizer, model)
    by_hand = bert.train_by_hand(model, rows, DataCollatorWithPadding(tokenizer), 1e-3)
    assert by_hand == pytest.approx([row["loss"] for row in tuned.history if "loss" in row], abs=1e-5)


def test_some_steps_by_hand_are_written(tmp_path):
    bert.write_steps(tmp_path / "losses.json", steps=2)
    told = json.loads((tmp_path / "losses.json").read_text(encoding="utf-8"))
    assert told["processes"] == 1 and len(told["losses"]) == 2


def test_the_lesson_teaches_the_package_loop():
    lesson = build(course_root() / "notebooks" / "src" / "13_bert_finetuning.py", None)
    cell = next(cell.source for cell in lesson.cells if "def train_by_hand" in cell.source)
    taught = next(node for node in ast.parse(cell).body if isinstance(node, ast.FunctionDef))
    ours = ast.parse(inspect.getsource(bert.train_by_hand)).body[0]
    assert ast.dump(taught) == ast.dump(ours)
