"""What several tests of data/ share: its files read, their splits, and the plainest classifier."""

import gzip
import json

from afina.runtime import course_root

DATA = course_root() / "data"


def jsonl(name):
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def split(rows, name):
    """Texts and labels of one split."""
    return [r["text"] for r in rows if r["split"] == name], [r["label"] for r in rows if r["split"] == name]


def tfidf(rows, **options):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1_000, **options)).fit(*split(rows, "train"))
