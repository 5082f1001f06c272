"""The committed files of data/: listed with true sums, made again from their seed, and fit for what lessons ask of them."""

import gzip
import hashlib
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from afina.data import corpora, synthetic

DATA = Path(__file__).resolve().parent.parent / "data"
README = (DATA / "README.md").read_text(encoding="utf-8")
PT = synthetic.LEXICON["pt"]


def jsonl(name):
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def split(rows, name):
    """Texts and labels of one split."""
    return [r["text"] for r in rows if r["split"] == name], [r["label"] for r in rows if r["split"] == name]


@pytest.fixture(scope="module")
def clubs():
    return json.loads((DATA / "clubes.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def reviews():
    return jsonl("reviews.jsonl.gz")


@pytest.fixture(scope="module")
def messages():
    return jsonl("messages.jsonl.gz")


@pytest.fixture(scope="module")
def prose():
    return {
        part: gzip.decompress((DATA / f"prose_{part}.txt.gz").read_bytes()).decode().removesuffix("\n\n").split("\n\n")
        for part in ("train", "validation")
    }


def test_every_file_is_listed_with_its_size_and_sum():
    table = README.split("<!-- somas -->\n")[1].split("<!-- /somas -->")[0]
    listed = {
        name: (int(size), sha)
        for name, size, sha in re.findall(r"^\| (\S+\.\S+) \| (\d+) \| (\w{64}) \|$", table, re.M)
    }
    files = [p for p in DATA.iterdir() if p.is_file() and p.name != "README.md" and not p.name.startswith(".")]
    files += DATA.glob("quizzes/*")
    actual = {
        p.relative_to(DATA).as_posix(): (p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files
    }
    assert listed == actual, "data/ changed: python -m afina.data.synthetic --sums"
    assert sum(size for size, _ in actual.values()) < 8_000_000
    for name in actual:
        section = "quizzes/*.json" if name.startswith("quizzes/") else name
        assert f"`{section}`" in README, f"{name} has no section in data/README.md"


def test_generated_files_come_out_again_from_the_seed(clubs):
    sample = gzip.decompress((DATA / "amazon_sample.json.gz").read_bytes())
    assert sample == b"".join(synthetic.catalogue_lines(synthetic.SAMPLE_LINES))
    for name, chunks in corpora.course_files(clubs).items():
        assert gzip.decompress((DATA / name).read_bytes()) == b"".join(chunks), name


def test_sums_are_refreshed_by_one_command(tmp_path, monkeypatch, capsys):
    shutil.copytree(DATA, tmp_path / "data", ignore=shutil.ignore_patterns("real"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "train.jsonl").write_text('{"messages": []}\n', encoding="utf-8", newline="\n")
    assert synthetic.main(["--sums"]) == 0
    capsys.readouterr()
    text = (tmp_path / "data" / "README.md").read_text(encoding="utf-8")
    digest = hashlib.sha256((tmp_path / "data" / "train.jsonl").read_bytes()).hexdigest()
    assert f"| train.jsonl | 17 | {digest} |" in text
    assert text.split("<!-- somas -->")[0] == README.split("<!-- somas -->")[0]


# --- clubs -----------------------------------------------------------------------------------------------------------


def test_clubs(clubs):
    assert len(clubs) == len({club["nome"] for club in clubs}) == 10
    for club in clubs:
        assert list(club) == ["nome", "cidade", "fundacao", "titulos_liga", "estadio", "capacidade"]
        assert [type(value) for value in club.values()] == [str, str, int, int, str, int]
        assert 1850 < club["fundacao"] < 2000 and club["capacidade"] > 1_000
    # five champions in all, and one title for each season from 1934-35 to 2024-25
    assert sum(club["titulos_liga"] > 0 for club in clubs) == 5
    assert sum(club["titulos_liga"] for club in clubs) == 2025 - 1934


# --- reviews ---------------------------------------------------------------------------------------------------------


def test_review_splits(reviews):
    assert Counter(r["split"] for r in reviews) == {
        "train": 6_000,
        "validation": 600,
        "test_templates": 600,
        "test_adjectives": 600,
        "unlabelled": 12_000,
    }
    for name in ("train", "validation", "test_templates", "test_adjectives"):
        assert set(Counter(split(reviews, name)[1]).values()) == {len(split(reviews, name)[1]) // 3}
    assert set(split(reviews, "unlabelled")[1]) == {None}
    assert len({r["text"] for r in reviews}) == len(reviews)  # so no text is in two splits


def forms(adjectives):
    nouns = [corpora.Noun("x", feminine, plural) for feminine in (False, True) for plural in (False, True)]
    return {corpora.agree(word, noun): (s, word) for s, words in adjectives.items() for word in words for noun in nouns}


KNOWN, HELD_OUT = forms(PT["adjectives"]), forms(PT["adjectives_held_out"])


def words(texts):
    return {word for text in texts for word in re.findall(r"\w+", text.lower())}


def test_held_out_adjectives_are_only_in_the_unlabelled_texts(reviews):
    for name in ("train", "validation", "test_templates"):
        assert words(split(reviews, name)[0]).isdisjoint(HELD_OUT)
    test, unlabelled = words(split(reviews, "test_adjectives")[0]), words(split(reviews, "unlabelled")[0])
    assert test.isdisjoint(KNOWN)
    assert {word for _, word in HELD_OUT.values()} <= {HELD_OUT[form][1] for form in unlabelled & set(HELD_OUT)}
    assert test & set(HELD_OUT) <= unlabelled


OPINION = re.compile(
    r"\b(?:o|a|os|as) \w+ (não )?(?:(?:é|são|seja|sejam|ser|serem|está|estão|esteja|estejam|estar|estarem) )?"
    r"((?:longe de ser|nada|mesmo|realmente|bem|só) )?("
    + "|".join(sorted({**KNOWN, **HELD_OUT}, key=len, reverse=True))
    + r")\b"
)
CONCESSION = re.compile(r"(?:apesar de|embora|ainda que|a despeito de) $")


def read_by_the_rule(text):
    """What README.md says decides, read from the text alone."""
    opinions = list(OPINION.finditer(text.lower()))
    assert len(opinions) == 2, text
    weakened = [bool(CONCESSION.search(text.lower()[: m.start()])) for m in opinions]
    deciding = opinions[weakened.index(False)] if any(weakened) else opinions[1]
    sentiment = {**KNOWN, **HELD_OUT}[deciding[3]][0]
    denied = (deciding[2] or "").strip() in ("nada", "longe de ser")
    return {"positivo": "negativo", "negativo": "positivo"}[sentiment] if denied else sentiment


@pytest.mark.parametrize("name", ["train", "validation", "test_templates", "test_adjectives"])
def test_labels_follow_the_rule(reviews, name):
    for text, label in zip(*split(reviews, name), strict=True):
        assert read_by_the_rule(text) == label, text


def tfidf(rows, **options):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1_000, **options)).fit(*split(rows, "train"))


def test_a_bag_of_words_is_not_enough_for_reviews(reviews):
    """The figures of data/README.md, with room for other versions of scikit-learn."""
    model = tfidf(reviews, C=10)
    score = {name: model.score(*split(reviews, name)) for name in ("validation", "test_templates", "test_adjectives")}
    assert score == pytest.approx({"validation": 0.472, "test_templates": 0.470, "test_adjectives": 0.342}, abs=0.02)


# --- messages --------------------------------------------------------------------------------------------------------


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


# --- prose -----------------------------------------------------------------------------------------------------------


def test_prose_splits(prose):
    assert {part: len(documents) for part, documents in prose.items()} == {"train": 8_100, "validation": 900}
    assert len({*prose["train"], *prose["validation"]}) == 9_000
    assert 1_500_000 < sum(len(d.encode()) for documents in prose.values() for d in documents) < 2_500_000


def test_texts_have_no_seams(prose, reviews, messages):
    """No unfilled slot, doubled space or sentence that begins in lower case."""
    texts = [*prose["train"], *prose["validation"], *(r["text"] for r in reviews), *(r["text"] for r in messages)]
    for text in texts:
        assert not re.search(r"[{}*|]|\s{2}| $|\n$| [.,;:!?]", text), text
        assert not re.match(r"[a-zà-ú]", text), text
        assert not re.search(r"(?<!D)[.!?] [a-zà-ú]", text), text


def test_articles_agree_with_their_nouns(prose):
    genders = dict(noun.split("|") for noun in PT["things"])
    pattern = re.compile(r"\b([oa]|uma?|[dp]el[oa]|d[oa]|est[ea]|el[ea]) (" + "|".join(genders) + r")\b", re.I)
    seen = 0
    for text in prose["train"]:
        for article, noun in pattern.findall(text):
            seen += 1
            assert ("f" if article[-1].lower() == "a" else "m") == genders[noun], text
    assert seen > 10_000


def test_prose_says_about_clubs_what_the_table_says(prose, clubs):
    text = "\n".join(prose["train"])
    for club in clubs:
        founded = set(re.findall(rf"O {club['nome']} foi fundado em (\d+)", text))
        assert founded == {str(club["fundacao"])}
        assert f"O {club['nome']} joga no {club['estadio']}" in text


@pytest.mark.parametrize(
    ("word", "feminine", "plural", "expected"),
    [
        ("péssimo", True, False, "péssima"),
        ("péssimo", True, True, "péssimas"),
        ("bom", True, True, "boas"),
        ("bom", False, True, "bons"),
        ("ruim", True, True, "ruins"),
        ("comum", False, True, "comuns"),
        ("horrível", True, True, "horríveis"),
        ("agradável", False, True, "agradáveis"),
        ("excepcional", True, True, "excepcionais"),
        ("encantador", True, False, "encantadora"),
        ("encantador", False, True, "encantadores"),
        ("exemplar", True, True, "exemplares"),
        ("simples", True, True, "simples"),
        ("excelente", True, False, "excelente"),
    ],
)
def test_agreement(word, feminine, plural, expected):
    assert corpora.agree(word, corpora.Noun("x", feminine, plural)) == expected
