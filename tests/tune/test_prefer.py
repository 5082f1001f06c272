"""Tuning by preferences."""

import math

import pytest
from tune_base import QUICK, ROWS, changed, load

from afina.errors import CourseError
from afina.tune import prefer

pytestmark = pytest.mark.usefixtures("one_thread")


def test_dpo_lowers_its_loss_and_prefers_the_chosen(tuned, base):
    rows = [{"prompt": r["prompt"], "chosen": r["completion"], "rejected": "No idea."} for r in ROWS]
    model, tokenizer = load(base)
    trained = prefer.train_dpo(model, tokenizer, rows, changed(max_steps=8))
    assert trained.losses[0] == pytest.approx(math.log(2), rel=1e-4)  # it begins as its own reference
    assert trained.losses[-1] < 0.6 and trained.history[-1]["rewards/accuracies"] == 1
    assert list(model.peft_config) == ["default"]
    again = prefer.train_dpo(model, tokenizer, rows, QUICK)
    assert again.losses[0] == pytest.approx(math.log(2), rel=1e-4)


def test_dpo_rows_are_checked_and_need_an_adapter(base):
    with pytest.raises(CourseError, match='linha 1: falta "chosen"'):
        prefer.train_dpo(*load(base), [{"prompt": "a", "rejected": "b"}], QUICK)
    with pytest.raises(CourseError, match="precisa de um adaptador"):
        prefer.train_dpo(*load(base, lora=None), [{"prompt": "a", "chosen": "b", "rejected": "c"}], QUICK)
