"""Messages: the shares of spam, no text twice, and a task that is neither trivial nor hopeless."""

from collections import Counter

import pytest
from course_data import split, tfidf

from workshop.make.portuguese import PT


def test_message_splits(messages):
    assert Counter(r["split"] for r in messages) == {"train": 2_800, "validation": 400, "test": 800}
    for name in ("train", "validation", "test"):
        labels = split(messages, name)[1]
        assert labels.count("spam") == round(0.13 * len(labels))
    assert len({r["text"] for r in messages}) == len(messages)
    assert len({*PT["messages"]["spam_train"], *PT["messages"]["normal_train"]}) == 56  # no body of both kinds


def test_spam_is_neither_trivial_nor_hopeless(messages):
    from sklearn.metrics import f1_score

    model = tfidf(messages, class_weight="balanced")
    texts, labels = split(messages, "test")
    assert f1_score(labels, model.predict(texts), pos_label="spam") == pytest.approx(0.77, abs=0.03)
